use super::*;
use crate::guard::sample::plan;

const EXPECTED_FRONT: &str = "\
define tun = \"sotto0\"
define pod_links = 21331
define tunnel_ports = 51820-51820
add table inet sotto_guard
delete table inet sotto_guard
table inet sotto_guard {
  set pods4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.244.0.0/16 }; }
  set pods6 { type ipv6_addr; flags interval; auto-merge; elements = { fd00:10:244::/56 }; }
  set own4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.244.1.0/24 }; }
  set services4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.96.0.0/12 }; }
  set nodes4 { type ipv4_addr; elements = { 198.51.100.1, 198.51.100.2 }; }
  set own6 { type ipv6_addr; flags interval; auto-merge; elements = { fd00:10:244:1::/64 }; }
  set services6 { type ipv6_addr; flags interval; auto-merge; elements = { fd96::/112 }; }
  set nodes6 { type ipv6_addr; elements = { 2001:db8::1, 2001:db8::2 }; }
}
";

const EXPECTED_NAT: &str = "\
add table inet sotto_nat
delete table inet sotto_nat
table inet sotto_nat {
  set pods4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.244.0.0/16 }; }
  set pods6 { type ipv6_addr; flags interval; auto-merge; elements = { fd00:10:244::/56 }; }
  chain into_tunnel {
    ip saddr != @pods4 snat ip to 10.244.1.0
    ip6 saddr != @pods6 snat ip6 to fd00:10:244:1::
  }
}
";

#[test]
fn the_ruleset_is_the_plan_in_front_of_the_chains() {
    let expected = [EXPECTED_FRONT, GUARD_CHAINS, EXPECTED_NAT, NAT_CHAINS].concat();

    assert_eq!(render(&plan()), expected);
}

#[test]
fn equal_plans_give_the_same_bytes_whatever_the_order_of_the_nodes() {
    let mut shuffled = plan();
    shuffled.nodes.reverse();
    shuffled.nodes.extend(plan().nodes);

    assert_eq!(render(&shuffled), render(&plan()));
}

#[test]
fn a_family_without_ranges_has_empty_sets_and_no_source_to_translate_to() {
    let mut plan = plan();
    let only_v4 =
        |text: &str| node_identity::PodRanges::try_new(vec![text.parse().unwrap()]).unwrap();
    plan.cluster = only_v4("10.244.0.0/16");
    plan.own = only_v4("10.244.1.0/24");
    plan.tun_addresses.truncate(1);

    let text = render(&plan);

    assert!(text.contains("  set pods6 { type ipv6_addr; flags interval; auto-merge; }\n"));
    assert!(!text.contains("snat ip6"));
}

#[test]
fn every_set_that_a_chain_names_is_declared() {
    let text = render(&plan());

    for word in [GUARD_CHAINS, NAT_CHAINS].concat().split_whitespace() {
        if let Some(set) = word.strip_prefix('@') {
            assert!(text.contains(&format!("  set {set} {{")), "{set}");
        }
    }
}

#[test]
fn removal_works_whether_or_not_the_tables_are_there() {
    assert_eq!(
        render_removal(),
        "add table inet sotto_guard\ndelete table inet sotto_guard\n\
         add table inet sotto_nat\ndelete table inet sotto_nat\n"
    );
}
