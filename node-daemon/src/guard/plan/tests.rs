use super::*;
use crate::guard::sample::plan;

fn ranges(text: &str) -> PodRanges {
    PodRanges::try_new(vec![text.parse().unwrap()]).unwrap()
}

#[test]
fn the_sample_plan_holds_together() {
    assert_eq!(plan().check(), Ok(()));
}

#[test]
fn a_plan_before_the_node_knows_its_ranges_holds_together() {
    let mut plan = plan();
    plan.own = PodRanges::default();
    plan.tun_addresses.clear();

    assert_eq!(plan.check(), Ok(()));
}

#[test]
fn an_own_range_outside_the_clusters_is_refused() {
    let mut plan = plan();
    plan.own = ranges("10.9.0.0/24");

    assert_eq!(
        plan.check(),
        Err(PlanError::OwnRangeOutsideCluster("10.9.0.0/24".to_owned()))
    );
}

#[test]
fn a_node_inside_the_pod_range_is_refused() {
    let mut plan = plan();
    let node = "10.244.9.9".parse().unwrap();
    plan.nodes.push(node);

    assert_eq!(plan.check(), Err(PlanError::NodeInsidePodRange(node)));
}

#[test]
fn services_that_overlap_the_pods_are_refused_from_either_side() {
    for service in ["10.244.128.0/20", "10.240.0.0/12", "10.244.0.0/16"] {
        let mut plan = plan();
        let service = service.parse().unwrap();
        plan.services = vec![service];

        assert_eq!(plan.check(), Err(PlanError::ServiceOverlapsPods(service)));
    }
}

#[test]
fn a_tun_address_needs_an_owner_and_each_family_an_address() {
    let mut stray = plan();
    stray.tun_addresses = vec!["10.244.2.0".parse().unwrap()];
    let mut lacking = plan();
    lacking.tun_addresses.truncate(1);

    assert!(matches!(
        stray.check(),
        Err(PlanError::TunAddressOutsideOwnRange { .. })
    ));
    assert_eq!(lacking.check(), Err(PlanError::NoTunAddress("IPv6")));
}

#[test]
fn ports_and_mtu_have_to_make_sense() {
    let mut portless = plan();
    portless.ports = RangeInclusive::new(2, 1);
    let mut narrow = plan();
    narrow.mtu = 1279;

    assert_eq!(portless.check(), Err(PlanError::NoPorts));
    assert_eq!(narrow.check(), Err(PlanError::MtuTooSmall(1279)));
}
