//! Accepts in the FORWARD chain of hosts where another program drops by policy (Docker does).
//!
//! A drop there is final: no accept of ours at another priority helps. The accepts are made with
//! `iptables`, because a native nft rule in that chain makes `iptables` refuse to list it.

use cni_protocol::contract::POD_LINK_GROUP;

use super::plan::Family;

/// The program for a family's chain.
pub(crate) fn program(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    }
}

/// Reads `iptables -S FORWARD`: whether the chain drops what nobody accepts.
pub(crate) fn drops_by_policy(listing: &str) -> bool {
    listing.lines().any(|line| line.trim() == "-P FORWARD DROP")
}

/// The four accepts: pods' links and the tun device, as source and as destination.
pub(crate) fn accepts(tun: &str) -> [Vec<String>; 4] {
    let group = format!("{POD_LINK_GROUP:#x}");
    [
        ["-m", "devgroup", "--src-group", group.as_str()].as_slice(),
        &["-m", "devgroup", "--dst-group", group.as_str()],
        &["-i", tun],
        &["-o", tun],
    ]
    .map(|selector| {
        let comment = ["-m", "comment", "--comment", "sotto", "-j", "ACCEPT"];
        selector
            .iter()
            .chain(&comment)
            .map(|word| (*word).to_owned())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_chain_that_drops_by_policy_gets_accepts() {
        assert!(drops_by_policy(
            "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"
        ));
        assert!(!drops_by_policy("-P FORWARD ACCEPT\n"));
        assert!(!drops_by_policy(""));
    }

    #[test]
    fn pods_and_tun_are_accepted_in_both_directions() {
        let accepts = accepts("sotto0").map(|words| words.join(" "));

        assert_eq!(
            accepts,
            [
                "-m devgroup --src-group 0x5353 -m comment --comment sotto -j ACCEPT",
                "-m devgroup --dst-group 0x5353 -m comment --comment sotto -j ACCEPT",
                "-i sotto0 -m comment --comment sotto -j ACCEPT",
                "-o sotto0 -m comment --comment sotto -j ACCEPT",
            ]
        );
    }
}
