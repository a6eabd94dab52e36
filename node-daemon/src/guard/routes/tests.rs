use super::*;
use crate::guard::sample::plan;

fn describe(route: &Route) -> String {
    let way = match &route.way {
        Way::Unreachable => "unreachable".to_owned(),
        Way::Tun {
            device,
            source,
            mtu,
        } => format!("device {device} from {source} mtu {mtu}"),
    };
    format!(
        "{} {} metric {} {way}",
        route.table, route.destination, route.metric
    )
}

fn describe_rule(rule: &Rule) -> String {
    let mut text = rule.preference.to_string();
    if let Some(from) = rule.from {
        text.push_str(&format!(" from {from}"));
    }
    if let Some(to) = rule.to {
        text.push_str(&format!(" to {to}"));
    }
    if let Some(interface) = &rule.from_interface {
        text.push_str(&format!(" iif {interface}"));
    }
    match rule.verdict {
        RuleVerdict::Prohibit => text.push_str(" prohibit"),
        RuleVerdict::Goto(preference) => text.push_str(&format!(" goto {preference}")),
        RuleVerdict::Lookup {
            table,
            suppress_prefix_length: None,
        } => {
            text.push_str(&format!(" lookup {table}"));
        }
        RuleVerdict::Lookup {
            table,
            suppress_prefix_length: Some(length),
        } => {
            text.push_str(&format!(" lookup {table} suppress {length}"));
        }
    }
    text
}

#[test]
fn the_pod_range_leads_into_the_tunnel_and_behind_it_nowhere() {
    let routes: Vec<_> = planned_routes(&plan(), Some(7))
        .iter()
        .map(describe)
        .collect();

    assert_eq!(
        routes,
        [
            "254 10.244.0.0/16 metric 50 device 7 from 10.244.1.0 mtu 1420",
            "254 10.244.0.0/16 metric 4278198272 unreachable",
            "254 10.244.1.0/24 metric 4278198272 unreachable",
            "254 fd00:10:244::/56 metric 50 device 7 from fd00:10:244:1:: mtu 1420",
            "254 fd00:10:244::/56 metric 4278198272 unreachable",
            "254 fd00:10:244:1::/64 metric 4278198272 unreachable",
            "5077 0.0.0.0/0 metric 50 device 7 from 10.244.1.0 mtu 1420",
            "5077 0.0.0.0/0 metric 4278198272 unreachable",
            "5077 10.244.1.0/24 metric 4278198272 unreachable",
            "5077 ::/0 metric 50 device 7 from fd00:10:244:1:: mtu 1420",
            "5077 ::/0 metric 4278198272 unreachable",
            "5077 fd00:10:244:1::/64 metric 4278198272 unreachable",
        ]
    );
}

#[test]
fn without_a_tun_device_the_pod_range_is_unreachable() {
    let routes = planned_routes(&plan(), None);

    assert_eq!(routes.len(), 8);
    assert!(routes.iter().all(|route| route.way == Way::Unreachable));
}

#[test]
fn rules_come_in_an_order_that_refuses_before_it_allows() {
    let rules: Vec<_> = planned_rules(&plan())
        .iter()
        .filter(|rule| rule.family == Family::Ipv4)
        .map(describe_rule)
        .collect();

    assert_eq!(
        rules,
        [
            "100 to 10.244.0.0/16 lookup 254 suppress 15",
            "101 to 10.244.0.0/16 lookup 5077",
            "102 from 10.244.1.0/24 to 10.96.0.0/12 lookup 5077",
            "93 from 10.244.0.0/16 prohibit",
            "92 from 10.244.1.0/24 goto 100",
            "91 from 10.244.0.0/16 iif sotto0 goto 100",
            "90 from 10.244.0.0/16 iif lo goto 100",
        ]
    );
}

#[test]
fn both_families_get_the_same_number_of_rules() {
    let rules = planned_rules(&plan());
    let v4 = rules
        .iter()
        .filter(|rule| rule.family == Family::Ipv4)
        .count();

    assert_eq!(rules.len(), 2 * v4);
}

#[test]
fn a_node_that_owns_the_whole_cluster_range_plans_no_route_twice() {
    let mut plan = plan();
    plan.own = plan.cluster.clone();
    let routes = planned_routes(&plan, Some(7));

    let mut unique = routes.clone();
    unique.dedup();

    assert_eq!(routes, unique);
}

#[test]
fn what_is_missing_is_what_is_planned_and_not_there() {
    assert_eq!(missing(&[1, 2, 3], &[2, 9]), [1, 3]);
}
