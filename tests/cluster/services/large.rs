//! Datagrams larger than any packet, and protocols that nobody translates.

use std::io;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, TOOLS};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

const LIMIT: Duration = Duration::from_secs(60);

/// Prints and returns each datagram to a port, in both families.
pub(super) const ECHO: &str = r#"
use Socket qw(:all); $| = 1;
socket(S, PF_INET6, SOCK_DGRAM, 0) or die $!;
setsockopt(S, IPPROTO_IPV6, IPV6_V6ONLY, 0);
setsockopt(S, SOL_SOCKET, SO_RCVBUF, 4 << 20);
bind(S, pack_sockaddr_in6($ARGV[0], IN6ADDR_ANY)) or die $!;
while (defined(my $who = recv(S, my $what, 65535, 0))) {
  print length $what > 100 ? length $what : $what, "\n"; send(S, $what, 0, $who);
}"#;

/// Sends a text from one port for ever, whatever comes back.
pub(super) const FLOW: &str = r#"
use Socket qw(:all);
my ($from, $to, $port, $text) = @ARGV;
my ($error, $it) = getaddrinfo($to, $port, {socktype => SOCK_DGRAM, flags => AI_NUMERICHOST});
socket(S, $it->{family}, SOCK_DGRAM, 0) or die $!;
bind(S, $it->{family} == PF_INET6 ? pack_sockaddr_in6($from, IN6ADDR_ANY) : pack_sockaddr_in($from, INADDR_ANY)) or die $!;
while (1) { send(S, $text, 0, $it->{addr}); select undef, undef, undef, 0.05 }"#;

/// Sends datagrams of each length to an address and port, and wants them back as they were.
const ASK: &str = r#"
use Socket qw(:all);
my ($to, $port, @lengths) = @ARGV;
my ($error, $it) = getaddrinfo($to, $port, {socktype => SOCK_DGRAM, flags => AI_NUMERICHOST});
socket(S, $it->{family}, SOCK_DGRAM, 0) or die $!;
setsockopt(S, SOL_SOCKET, SO_RCVBUF, 4 << 20);
setsockopt(S, SOL_SOCKET, SO_RCVTIMEO, pack("l!l!", 3, 0));
connect(S, $it->{addr}) or die $!;
for my $length (@lengths) {
  my $what = join "", map { chr int rand 256 } 1 .. $length;
  send(S, $what, 0) or die "send $length: $!";
  recv(S, my $back, 65535, 0) // die "nothing of $length: $!";
  $back eq $what or die "$length: other bytes";
  print "$length\n";
}"#;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = cases![
        datagrams_of_60_kb_arrive_whole_by_address_and_by_service,
        a_protocol_without_a_kernel_s_help_arrives_as_it_was_sent,
    ];
    // A name that says which of the two was tested here.
    cases.extend(if kernel_has_sctp() {
        cases![sctp_is_carried_between_pods_and_by_services]
    } else {
        cases![sctp_is_not_tested_for_this_kernel_has_none_and_a_service_with_it_does_no_harm]
    });
    cases
}

fn datagrams_of_60_kb_arrive_whole_by_address_and_by_service(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("large")?;
        space.shell_pod("client", "alice")?;
        large_datagrams(&space)
    })
}

/// From the pod `client` to a pod on Bob, by its address and by a Service.
pub(super) fn large_datagrams(space: &Space<'_>) -> Result<()> {
    let container = json!({"image": TOOLS, "command": ["perl", "-e", ECHO, "8081"]});
    space.pod("echo", "bob", &container, &json!({}))?;
    space.service("echo", "echo", &json!({}))?;
    for ipv6 in [false, true] {
        let pod = (space.address("echo", ipv6)?, 8081);
        let service = (space.service_address("echo", ipv6)?, 81);
        for (address, port) in [pod, service] {
            let line = format!("perl -e '{ASK}' {address} {port} 1 1392 1393 1473 9000 60000");
            let mut last = String::new();
            let come = wait::until(&format!("datagrams from {address}"), LIMIT, || {
                let done = space.shell("client", &line);
                done.map_err(|error| last = format!("{error:#}")).is_ok()
            });
            come.map_err(|error| error.context(last))?;
        }
    }
    Ok(())
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
