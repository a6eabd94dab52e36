use netlink_packet_core::{Emitable, Parseable};

use super::*;
use crate::guard::routes::{planned_routes, planned_rules};
use crate::guard::sample::plan;

#[test]
fn each_planned_route_reads_back_from_its_bytes() {
    for route in planned_routes(&plan(), Some(7)) {
        let message = write_route(&route);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);

        let read = RouteMessage::parse(&bytes).unwrap();

        assert!(is_our_route(&read));
        assert_eq!(read_route(&read), Some(route));
    }
}

#[test]
fn each_planned_rule_reads_back_from_its_bytes() {
    for rule in planned_rules(&plan()) {
        let message = write_rule(&rule);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);

        let read = RuleMessage::parse(&bytes).unwrap();

        assert!(is_our_rule(&read));
        assert_eq!(read_rule(&read), Some(rule));
    }
}

#[test]
fn a_rule_narrowed_by_somebody_does_not_count_as_ours() {
    let rule = planned_rules(&plan()).remove(0);
    let mut message = write_rule(&rule);
    message.attributes.push(RuleAttribute::FwMark(1));

    assert_eq!(read_rule(&message), None);
}

#[test]
fn a_route_led_elsewhere_does_not_count_as_ours() {
    let routes = planned_routes(&plan(), Some(7));
    let through = routes
        .iter()
        .find(|route| route.way != Way::Unreachable)
        .unwrap();
    let mut message = write_route(through);
    message.attributes.push(RouteAttribute::Gateway(
        "198.51.100.254".parse::<IpAddr>().unwrap().into(),
    ));

    assert_eq!(read_route(&message), None);
}

#[test]
fn a_pods_route_is_known_from_the_guards() {
    let mut pod = RouteMessage::default();
    pod.header.address_family = AddressFamily::Inet;
    pod.header.destination_prefix_length = 32;
    pod.header.kind = RouteType::Unicast;
    pod.header.protocol = OUR_PROTOCOL;

    assert!(is_host_route(&pod));
    assert_eq!(read_route(&pod), None);
}
