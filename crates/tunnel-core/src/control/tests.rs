use super::*;

mod net;

use net::{ALICE, BOB, Net};

#[test]
fn two_nodes_agree_on_a_transport() {
    let mut net = Net::acquainted(1, [1, 1]);

    net.want(ALICE);
    net.advance(Duration::from_millis(10));

    net.assert_agreed();
}

#[test]
fn nodes_with_different_numbers_of_lanes_agree() {
    let mut net = Net::acquainted(2, [3, 1]);

    net.want(BOB);
    net.advance(Duration::from_millis(10));

    net.assert_agreed();
    let lanes = &net.nodes[ALICE].lanes;
    for ((_, lane), transport) in &lanes.receiving {
        for (sender, _) in &transport.keys {
            assert_eq!(sender.receiver(3), *lane, "a lane holds its own keys only");
        }
    }
}
