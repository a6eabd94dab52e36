//! Networks of addresses compared with one another.

use ipnetwork::IpNetwork;

/// Whether two networks share an address.
pub(crate) fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    contains(one, other) || contains(other, one)
}

/// Whether every address of `inner` is one of `outer`.
pub(crate) fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

#[cfg(test)]
mod tests {
    use super::{contains, overlap};

    #[test]
    fn networks_overlap_only_when_one_holds_the_other() {
        let net = |text: &str| text.parse().unwrap();

        assert!(overlap(net("10.244.0.0/16"), net("10.244.3.0/24")));
        assert!(overlap(net("10.244.3.0/24"), net("10.0.0.0/8")));
        assert!(!overlap(net("10.244.0.0/16"), net("10.245.0.0/16")));
        assert!(!overlap(net("0.0.0.0/8"), net("::/8")));
        assert!(!contains(net("10.244.3.0/24"), net("10.244.0.0/16")));
    }
}
