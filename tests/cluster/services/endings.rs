//! How a pod's traffic ends: its last packets, and whoever has its address next.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, TOOLS, Trio};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use super::large::{ECHO, FLOW};
use crate::shared;

const LIMIT: Duration = Duration::from_secs(60);

/// Pods that may come between before one has the address again: others' rest ends meanwhile.
const TRIES: usize = 12;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp08_the_last_packets_of_a_pod_that_ends_stay_in_the_tunnel,
        dp09_a_pod_with_a_used_address_hears_nothing_of_the_old_conversations,
    ]
}

/// Sends a text without pause, deaf to SIGTERM, so that it goes on until its end.
const TALK: &str = r#"
use Socket qw(:all); $SIG{TERM} = "IGNORE";
my ($text, @to) = @ARGV;
my @sockets = map {
  my ($error, $it) = getaddrinfo($_, 8081, {socktype => SOCK_DGRAM, flags => AI_NUMERICHOST});
  socket(my $s, $it->{family}, SOCK_DGRAM, 0) or die $!; connect($s, $it->{addr}); $s
} @to;
while (1) { send($_, $text, 0) for @sockets; select undef, undef, undef, 0.001 }"#;

fn dp08_the_last_packets_of_a_pod_that_ends_stay_in_the_tunnel(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let space = trio.cluster.space("ending")?;
        let echo = json!({"image": TOOLS, "command": ["perl", "-e", ECHO, "8081"]});
        space.pod("ear", "bob", &echo, &json!({}))?;
        let to = [space.address("ear", false)?, space.address("ear", true)?];
        let canary = Canary::printable()?;
        let text = String::from_utf8(canary.bytes().to_vec())?;
        let wires = [
            Capture::on_switch(lab)?,
            Capture::start(lab, trio.alice.place()?.as_ref(), "eth0")?,
        ];
        let tun = Capture::start(lab, trio.alice.place()?.as_ref(), "sotto0")?;
        // Ended in its time, and torn away.
        for (name, grace) in [
            ("asked", &["--grace-period=1"][..]),
            ("torn", &["--grace-period=0", "--force"]),
        ] {
            let command = ["perl", "-e", TALK, &text, &to[0], &to[1]];
            let talker = json!({"image": TOOLS, "command": command});
            space.pod(name, "alice", &talker, &json!({}))?;
            let heard = space.kubectl(&["logs", "ear"])?.len();
            wait::until("it to be heard", LIMIT, || {
                let log = space.kubectl(&["logs", "ear"]);
                log.is_ok_and(|log| log.len() > heard + 1000)
            })?;
            space.delete(&[&["pod", name], grace].concat())?;
        }
        for wire in wires {
            let found = wire.stop()?.count(&canary)?;
            ensure!(found == 0, "Eve has {found} of its packets in clear");
        }
        ensure!(tun.stop()?.count(&canary)? > 0, "it sent nothing");
        Ok(())
    })
}

/// Says a line each tenth of a second on one connection, and how that ends.
const CONVERSE: &str = r#"
use Socket qw(:all); $SIG{PIPE} = "IGNORE"; $| = 1;
my ($error, $it) = getaddrinfo($ARGV[0], 7000, {socktype => SOCK_STREAM, flags => AI_NUMERICHOST});
socket(S, $it->{family}, SOCK_STREAM, 0) or die $!; connect(S, $it->{addr}) or die $!;
while (1) { syswrite(S, "old-stream\n") or last; print "."; select undef, undef, undef, 0.1 }
print "over: $!\n"; sleep 600"#;

/// Prints what comes in by any connection to TCP 7000; a stopped process closes none of them.
const LISTEN: &str = r#"
use Socket qw(:all); $| = 1;
socket(S, PF_INET6, SOCK_STREAM, 0) or die $!; setsockopt(S, IPPROTO_IPV6, IPV6_V6ONLY, 0);
bind(S, pack_sockaddr_in6(7000, IN6ADDR_ANY)) or die $!; listen(S, 9);
if (!fork) { while (accept(my $c, S)) { if (!fork) { print $_ while <$c>; exit } } }
exec "perl", "-e", $ARGV[0], "8081";"#;

fn dp09_a_pod_with_a_used_address_hears_nothing_of_the_old_conversations(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("reuse")?;
        listener(&space, "old")?;
        space.service("old", "old", &json!({}))?;
        let address = space.address("old", false)?;
        let service = space.service_address("old", false)?;
        let stream = json!({"image": TOOLS, "command": ["perl", "-e", CONVERSE, &address]});
        space.pod("stream", "alice", &stream, &json!({}))?;
        let command = ["perl", "-e", FLOW, "4445", &service, "81", "old-datagram"];
        let datagrams = json!({"image": TOOLS, "command": command});
        space.pod("datagrams", "alice", &datagrams, &json!({}))?;
        let log = |pod: &str| space.kubectl(&["logs", pod]).unwrap_or_default();
        wait::until("both to be heard", LIMIT, || {
            let log = log("old");
            log.contains("old-stream") && log.contains("old-datagram")
        })?;

        // Torn away: no pod of it says goodbye.
        cut_rest(trio, &address, || {
            space.delete(&["pod", "old", "--grace-period=0", "--force"])
        })?;
        let next = used_again(trio, &space, &address)?;

        wait::until("the old stream to be reset", LIMIT, || {
            log("stream").contains("over: ")
        })?;
        let heard = log(&next);
        ensure!(
            !heard.contains("old-"),
            "{next} heard of its predecessor's conversations: {heard}"
        );
        Ok(())
    })
}

fn listener(space: &Space<'_>, name: &str) -> Result<()> {
    let command = ["perl", "-e", LISTEN, ECHO];
    let container = json!({
        "image": TOOLS, "command": command,
        "readinessProbe": {"tcpSocket": {"port": 7000}, "periodSeconds": 1},
    });
    space.pod(name, "bob", &container, &json!({}))
}

/// Lets an address of Bob's rest no longer than its pod's end takes.
fn cut_rest(trio: &Trio, address: &str, end: impl FnOnce() -> Result<()>) -> Result<()> {
    end()?;
    let bob = trio.bob.place()?;
    wait::until("the address to rest", LIMIT, || {
        let line = format!("rm $(grep -lF '\"{address}\"' /run/sotto/pool/*/resting/*.json)");
        bob.shell(&line).is_ok()
    })
}

/// Makes pods on Bob until one has the address.
fn used_again(trio: &Trio, space: &Space<'_>, address: &str) -> Result<String> {
    for number in 0..TRIES {
        let name = format!("new-{number}");
        listener(space, &name)?;
        if space.address(&name, false)? == address {
            return Ok(name);
        }
    }
    anyhow::bail!("no pod got {address} again: {}", trio.cluster.state())
}
