//! Protocols that nobody translates.

use std::io;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::TOOLS;
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = cases![a_protocol_without_a_kernel_s_help_arrives_as_it_was_sent,];
    // A name that says which of the two was tested here.
    cases.extend(if kernel_has_sctp() {
        cases![sctp_is_carried_between_pods_and_by_services]
    } else {
        cases![sctp_is_not_tested_for_this_kernel_has_none_and_a_service_with_it_does_no_harm]
    });
    cases
}

fn a_protocol_without_a_kernel_s_help_arrives_as_it_was_sent(_: &Lab) -> Result<()> {
    /// Number of SCTP; the packet is an INIT's beginning.
    const RECEIVE: &str = r#"
use Socket qw(:all); my ($family) = @ARGV; $| = 1;
socket(S, $family == 6 ? PF_INET6 : PF_INET, SOCK_RAW, 132) or die $!; print "listening\n";
recv(S, my $what, 65535, 0); $what = substr $what, 20 if $family == 4; print unpack("H*", $what), "\n"; sleep 600"#;
    const SEND: &str = r#"
use Socket qw(:all);
my ($error, $it) = getaddrinfo($ARGV[0], "", {socktype => SOCK_RAW, protocol => 132, flags => AI_NUMERICHOST});
socket(S, $it->{family}, SOCK_RAW, 132) or die $!;
send(S, pack("H*", $ARGV[1]), 0, $it->{addr}) or die $!;"#;
    const INIT: &str = "100010000000000005e8a0b6010000140badcafe0001000000010001deadbeef";
    shared::with(|_, trio| {
        let space = trio.cluster.space("crafted")?;
        space.shell_pod("client", "alice")?;
        for (name, family) in [("over-4", "4"), ("over-6", "6")] {
            let container = json!({"image": TOOLS, "command": ["perl", "-e", RECEIVE, family]});
            space.pod(name, "bob", &container, &json!({}))?;
            let log = || space.kubectl(&["logs", name]).unwrap_or_default();
            wait::until("the receiver", LIMIT, || log().contains("listening"))?;

            let to = space.address(name, family == "6")?;
            space.shell("client", &format!("perl -e '{SEND}' {to} {INIT}"))?;

            wait::until("the packet", LIMIT, || log().lines().count() > 1)?;
            ensure!(log().ends_with(&format!("{INIT}\n")), "it is {}", log());
        }
        Ok(())
    })
}

fn kernel_has_sctp() -> bool {
    sctp_socket().is_ok()
}

fn sctp_socket() -> io::Result<socket2::Socket> {
    let sctp = Some(socket2::Protocol::from(132));
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, sctp)
}

fn sctp_is_not_tested_for_this_kernel_has_none_and_a_service_with_it_does_no_harm(
    _: &Lab,
) -> Result<()> {
    shared::with(|_, trio| {
        let refusal = sctp_socket().err().map(|error| error.to_string());
        eprintln!("  SCTP is not tested: this kernel says {refusal:?}");
        let space = trio.cluster.space("no-sctp")?;
        space.web("web", "bob")?;
        space.web("client", "alice")?;
        let ports = json!({"ports": [{"port": 80, "targetPort": 8080, "protocol": "SCTP"}]});
        space.service("sctp", "web", &ports)?;
        space.service("web", "web", &json!({}))?;
        super::reach::cluster_ip(trio, &space)
    })
}

fn sctp_is_carried_between_pods_and_by_services(_: &Lab) -> Result<()> {
    use sotto_tests::kubernetes::whole::AGNHOST;
    shared::with(|_, trio| {
        let space = trio.cluster.space("sctp")?;
        let netexec = json!({"image": AGNHOST, "args": ["netexec", "--sctp-port=8082"]});
        space.pod("server", "bob", &netexec, &json!({}))?;
        let ports = json!({"ports": [{"port": 82, "targetPort": 8082, "protocol": "SCTP"}]});
        space.service("server", "server", &ports)?;
        for ipv6 in [false, true] {
            let pod = (space.address("server", ipv6)?, 8082);
            let service = (space.service_address("server", ipv6)?, 82);
            for (index, (address, port)) in [pod, service].into_iter().enumerate() {
                let name = format!("client-{}-{index}", u8::from(ipv6));
                let to = if ipv6 {
                    format!("[{address}]:{port}")
                } else {
                    format!("{address}:{port}")
                };
                let args = ["connect", &to, "--protocol=sctp", "--timeout=30s"];
                let once = json!({"restartPolicy": "OnFailure"});
                space.start(
                    &name,
                    "alice",
                    &json!({"image": AGNHOST, "args": args}),
                    &once,
                )?;
                let done = "--for=jsonpath={.status.phase}=Succeeded";
                space.kubectl(&["wait", "pod", &name, done, "--timeout=60s"])?;
            }
        }
        Ok(())
    })
}
