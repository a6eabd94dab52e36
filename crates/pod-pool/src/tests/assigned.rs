//! Addresses that another plugin assigned.

use super::*;

/// Reserves what another plugin assigned and keeps the link, as an ADD does.
fn assign(node: &mut Node, pod: &str, addresses: &[&str]) -> Result<Vec<IpAddr>, PoolError> {
    let addresses: Vec<_> = addresses.iter().map(|it| it.parse().unwrap()).collect();
    let inode = pod.bytes().fold(1, |sum, byte| sum * 7 + u64::from(byte));
    let held = node.reserve_as(inode, pod, Some(&addresses))?;
    node.kernel.links.insert(pod.into());
    Ok(held.reservation().unwrap().addresses.clone())
}

#[test]
fn what_another_plugin_assigned_is_reserved_and_given_to_nobody_else() {
    let mut node = Node::with_ranges(
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
        &["10.244.1.1", "fd00:10:244:1::1"],
    );

    let given = assign(&mut node, "a", &["fd00:10:244:1::2", "10.244.1.2"]).unwrap();

    assert!(given[0].is_ipv4(), "IPv4 comes first: {given:?}");
    assert_eq!(
        node.attach("b").unwrap(),
        ["10.244.1.3", "fd00:10:244:1::3"]
    );
    let again = assign(&mut node, "c", &["10.244.1.3"]);
    assert!(matches!(again, Err(PoolError::Taken(_))), "{again:?}");
    node.kernel.routes.insert("10.244.1.9".parse().unwrap());
    let routed = assign(&mut node, "d", &["10.244.1.9"]);
    assert!(matches!(routed, Err(PoolError::Taken(_))), "{routed:?}");
    assert_eq!(node.held_count(), 2, "a refusal reserves nothing");
}

#[test]
fn an_address_that_is_not_the_nodes_to_give_is_refused() {
    let mut node = Node::with_ranges(
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
        &["10.244.1.1", "fd00:10:244:1::1"],
    );
    for (address, part) in [
        ("10.244.2.2", "outside"),
        ("192.168.1.1", "outside"),
        ("fd00:10:244:2::2", "outside"),
        ("10.244.1.1", "tunnel device"),
        ("fd00:10:244:1::1", "tunnel device"),
        ("10.244.1.0", "end"),
        ("10.244.1.255", "end"),
        ("fd00:10:244:1::", "end"),
    ] {
        let error = assign(&mut node, "a", &[address]).unwrap_err().to_string();

        assert!(error.contains(address) && error.contains(part), "{error}");
    }
    for several in [
        &[][..],
        &["10.244.1.2", "10.244.1.3"],
        &["fd00:10:244:1::2"; 2],
    ] {
        let error = assign(&mut node, "a", several).unwrap_err();

        assert!(matches!(error, PoolError::NotOneOfEach(_)), "{error}");
    }
    assert_eq!(node.held_count(), 0);
}

#[test]
fn an_assigned_address_does_not_wait_for_its_rest() {
    let mut node = Node::with_five_addresses();
    assign(&mut node, "a", &["10.244.1.2"]).unwrap();
    node.detach("a");

    assert_eq!(node.attach("b").unwrap(), ["10.244.1.3"], "ours rest");
    assert!(assign(&mut node, "c", &["10.244.1.2"]).is_ok());
}
