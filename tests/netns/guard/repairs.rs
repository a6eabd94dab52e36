//! What another program takes away is back within a second, counted by what it was, and nothing
//! leaks in between.

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, Node};
use sotto_tests::wait;

use super::load::Load;
use super::pair::{Pair, REPAIR_LIMIT};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp15_a_deleted_tun_device_comes_back_and_leaks_nothing,
        dp16_flushed_routes_and_rules_are_back_within_a_second,
        dp17_a_flushed_ruleset_is_back_within_a_second,
        a_changed_device_or_setting_is_put_right,
        a_flow_to_the_outside_survives_deleted_tables,
        a_repair_leaves_other_programs_rules_alone,
    ]
}

/// What another program does, what is counted, and how one sees that it is back.
struct Damage {
    hurt: &'static str,
    label: &'static str,
    back: &'static str,
}

const fn damage(hurt: &'static str, label: &'static str, back: &'static str) -> Damage {
    Damage { hurt, label, back }
}

fn repaired(alice: &Node, label: &str) -> f64 {
    alice
        .metric("sotto_guard_repairs_total", &format!("\"{label}\""))
        .unwrap_or(0.0)
}

/// Does each damage under load: back in time, counted, without a canary on the switch.
fn withstand(lab: &Lab, damages: &[Damage]) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;
    for damage in damages {
        let before = repaired(&pair.alice, damage.label);
        let leaked = load.leaked(lab, || {
            pair.alice.shell(damage.hurt)?;
            wait::until(damage.back, REPAIR_LIMIT, || {
                pair.alice.shell(damage.back).is_ok()
            })?;
            load.stretch()
        });
        let leaked = leaked.with_context(|| damage.hurt)?;
        ensure!(
            leaked == 0,
            "{}: the canary was seen {leaked} times",
            damage.hurt
        );
        wait::until(
            &format!("a count of {}", damage.label),
            REPAIR_LIMIT,
            || repaired(&pair.alice, damage.label) > before,
        )
        .with_context(|| damage.hurt)?;
        load.wait_for_arrivals().with_context(|| damage.hurt)?;
    }
    Ok(())
}

fn dp15_a_deleted_tun_device_comes_back_and_leaks_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;

    let leaked = load.leaked(lab, || {
        pair.alice.run("ip", &["link", "del", "sotto0"])?;
        let there = "ip route show 10.244.0.0/16 | grep -q 'dev sotto0'";
        wait::until("the device and its route", REPAIR_LIMIT, || {
            pair.alice.shell(there).is_ok()
        })?;
        load.wait_for_arrivals()
    })?;

    ensure!(leaked == 0, "the canary was seen {leaked} times");
    Ok(())
}

fn dp16_flushed_routes_and_rules_are_back_within_a_second(lab: &Lab) -> Result<()> {
    withstand(
        lab,
        &[
            damage(
                "ip route flush 10.244.0.0/16",
                "route",
                "ip route show 10.244.0.0/16 | grep -q 'dev sotto0'",
            ),
            damage(
                "ip -6 route flush table 5077",
                "route",
                "ip -6 route show table 5077 | grep -q 'default dev sotto0'",
            ),
            damage(
                "ip rule del pref 93",
                "rule",
                "ip rule show pref 93 | grep -q prohibit",
            ),
            damage(
                "for p in 90 91 92 93 100 101 102; do ip -6 rule del pref $p; done",
                "rule",
                "test $(ip -6 rule | grep -c 'proto 83') = 7",
            ),
            damage(
                "ip rule flush; ip rule add pref 32766 lookup main",
                "rule",
                "test $(ip -4 rule | grep -c 'proto 83') = 7",
            ),
        ],
    )
}

fn dp17_a_flushed_ruleset_is_back_within_a_second(lab: &Lab) -> Result<()> {
    withstand(
        lab,
        &[
            damage(
                "nft flush ruleset",
                "guard_table",
                "nft list table inet sotto_guard",
            ),
            damage(
                "nft flush ruleset",
                "nat_table",
                "nft list table inet sotto_nat",
            ),
            damage(
                "nft flush chain inet sotto_guard leave",
                "guard_table",
                "nft list chain inet sotto_guard leave | grep -q leak_stopped",
            ),
            damage(
                "nft delete element inet sotto_guard pods4 '{ 10.244.0.0/16 }'",
                "guard_table",
                "nft list set inet sotto_guard pods4 | grep -q 10.244.0.0/16",
            ),
            damage(
                "nft delete table inet sotto_nat",
                "nat_table",
                "nft list table inet sotto_nat",
            ),
        ],
    )
}

fn a_changed_device_or_setting_is_put_right(lab: &Lab) -> Result<()> {
    withstand(
        lab,
        &[
            damage(
                "ip link set sotto0 down",
                "tun",
                "ip link show sotto0 | grep -q ',UP'",
            ),
            damage(
                "ip link set sotto0 mtu 1300",
                "tun",
                "ip link show sotto0 | grep -q 'mtu 1420'",
            ),
            damage(
                "ip -4 address flush dev sotto0",
                "tun_address",
                "ip -4 address show dev sotto0 | grep -q 10.244.",
            ),
            damage(
                "sysctl -qw net.ipv4.ip_forward=0",
                "setting",
                "test $(cat /proc/sys/net/ipv4/ip_forward) = 1",
            ),
            damage(
                "sysctl -qw net.ipv4.conf.sotto0.rp_filter=0",
                "setting",
                "test $(cat /proc/sys/net/ipv4/conf/sotto0/rp_filter) = 1",
            ),
        ],
    )
}

/// A flow that began while the tables were gone has no translation; its entry must not keep the
/// pod from the outside once they are back. Somebody else's rule keeps the kernel tracking.
fn a_flow_to_the_outside_survives_deleted_tables(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    pair.alice.shell(
        "nft 'table inet other { chain c { type filter hook prerouting priority 0; ct state new accept; }; }'",
    )?;
    pair.freeze_alice()?;
    pair.alice
        .shell("nft 'delete table inet sotto_guard; delete table inet sotto_nat'")?;
    let ping = ["-c", "1", "-W", "0.2", "-n", "-e", "77", "198.51.100.254"];
    let untranslated = pair.client.run("ping", &ping);
    ensure!(
        untranslated.is_err(),
        "the switch answered a pod's own address"
    );
    pair.alice
        .shell("conntrack -L -p icmp --dst 198.51.100.254 2>/dev/null | grep -q .")?;

    pair.thaw_alice()?;

    wait::until("the same flow to be translated", REPAIR_LIMIT, || {
        pair.client.run("ping", &ping).is_ok()
    })
}

fn a_repair_leaves_other_programs_rules_alone(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    pair.alice.shell(
        "nft 'table ip other { chain c { tcp dport 1 drop; }; }'
        ip rule add pref 95 from 203.0.113.0/24 lookup 95
        ip route add 203.0.113.0/24 via 198.51.100.254 proto static",
    )?;
    let theirs = || {
        pair.alice
            .shell("nft list table ip other; ip rule show pref 95; ip route show 203.0.113.0/24")
    };
    let before = theirs()?;

    pair.alice
        .shell("nft delete table inet sotto_guard; ip rule del pref 101")?;
    wait::until("both repairs", REPAIR_LIMIT, || {
        pair.alice
            .shell("nft list table inet sotto_guard; ip rule show pref 101 | grep -q .")
            .is_ok()
    })?;

    ensure!(theirs()? == before, "somebody else's rules changed");
    Ok(())
}
