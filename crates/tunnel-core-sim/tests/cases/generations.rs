//! New tunnel keys while traffic flows, however late the other end learns of them.

use std::time::Duration;

use tunnel_core_sim::certified::Certificate;
use tunnel_core_sim::network::Weather;
use tunnel_core_sim::oracle::MOST_SILENCE;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::{Keys, Sim};

use crate::scene::{ALICE, BOB, just_before, milliseconds, pair, seconds, talking};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

fn certificate(sim: &mut Sim) -> Certificate {
    match sim.below(2) {
        0 => Certificate::RENEWED,
        _ => Certificate::Kept,
    }
}

#[test]
fn kl02_a_thousand_rotations_under_load_lose_nothing() {
    seeds::run("kl02", 0, |seed| {
        let mut sim = talking(seed, milliseconds(400));
        let began = sim.now;

        for rotation in 0..1000 {
            let certificate = certificate(&mut sim);
            sim.rotate(rotation % 2, certificate, |_| milliseconds(500));
            let pause = sim.between(seconds(15), seconds(40));
            sim.run(pause);
        }

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

/// Both ends make new generations; each learns of the other's up to half an hour late.
#[test]
fn kl04_generations_that_change_at_both_ends_lose_nothing_however_late_they_are_learned() {
    seeds::run("kl04_generations", 50, |seed| {
        let mut sim = talking(seed, milliseconds(900));
        sim.network.weather = Weather::WINDY;
        let began = sim.now;
        for node in [ALICE, BOB] {
            for _ in 0..1 + sim.below(3) {
                let at = sim.between(Duration::ZERO, seconds(900));
                let late = match sim.below(3) {
                    0 => sim.between(Duration::ZERO, seconds(5)),
                    1 => sim.between(seconds(40), seconds(80)),
                    _ => sim.between(Duration::ZERO, HALF_AN_HOUR),
                };
                let certificate = certificate(&mut sim);
                sim.after(at, move |sim| sim.rotate(node, certificate, |_| late));
            }
        }

        sim.run(seconds(900) + HALF_AN_HOUR + seconds(300));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
        let agreements = sim.oracle.agreements(ALICE, BOB, began);
        assert!(agreements < 40, "{agreements} in fifty minutes");
    });
}

#[test]
fn kl04_a_generation_that_is_published_before_it_is_used_loses_nothing() {
    seeds::run("kl04_a_generation", 10, |seed| {
        let mut sim = talking(seed, milliseconds(900));
        let began = sim.now;
        let used_after = sim.between(seconds(2), seconds(50));
        let certificate = certificate(&mut sim);
        sim.rotate_late(BOB, certificate, used_after);

        sim.run(seconds(600));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

/// Alice knows of Bob's new generation, Bob does not use it yet, and they have nothing to send under.
#[test]
fn kl04_a_first_agreement_does_not_wait_for_a_generation_that_is_published_but_not_used() {
    seeds::run("kl04_a_first", 10, |seed| {
        let mut sim = pair(seed);
        let began = sim.now;
        let certificate = certificate(&mut sim);
        sim.rotate_late(BOB, certificate, seconds(50));
        sim.run(seconds(5));
        sim.flow(ALICE, BOB, milliseconds(500), 1);

        sim.run(seconds(200));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

/// A crash between any two steps of a rotation.
#[test]
fn kl03_a_crash_at_any_step_of_a_rotation_ends_in_packets_both_ways() {
    seeds::run("kl03", 40, |seed| {
        let mut sim = talking(seed, milliseconds(700));
        sim.trouble();
        let certificate = certificate(&mut sim);
        if sim.below(3) == 0 {
            sim.publish_only(BOB, certificate);
        } else {
            let late = sim.between(Duration::ZERO, seconds(20));
            sim.rotate(BOB, certificate, |_| late);
        }
        let crash = sim.between(Duration::ZERO, seconds(15));
        sim.run(crash);
        let who = sim.below(2) as usize;
        let down_for = sim.between(milliseconds(50), seconds(5));
        sim.restart(who, down_for, Keys::Kept);
        sim.run(down_for);
        // A daemon that finds a newer generation of its own than it has published makes another.
        sim.rotate(BOB, Certificate::Kept, |_| seconds(1));
        sim.run(seconds(20));
        sim.calm();
        let settled = sim.now + MOST_SILENCE;

        sim.run(seconds(400));

        sim.oracle
            .assert_nothing_lost(settled, just_before(sim.now));
    });
}

#[test]
fn kl05_an_expired_certificate_ends_traffic_and_a_new_one_brings_it_back() {
    seeds::run("kl05", 20, |seed| {
        let mut sim = talking(seed, milliseconds(500));
        let life = sim.between(seconds(100), seconds(500));
        sim.rotate(BOB, Certificate::Renewed(life), |_| seconds(1));
        sim.run(life - seconds(2));
        sim.trouble();
        sim.run(seconds(4));
        let came_out = sim.oracle.arrived(BOB, ALICE);

        sim.run(seconds(300));

        assert_eq!(sim.oracle.arrived(BOB, ALICE), came_out);
        let bob = sim.nodes[BOB].identity.uid();
        assert!(!sim.nodes[ALICE].sends_to(bob));
        sim.rotate(BOB, Certificate::RENEWED, |_| seconds(1));
        sim.run(seconds(2));
        sim.calm();
        sim.run(seconds(300));
        assert!(sim.oracle.arrived(BOB, ALICE) > came_out);
    });
}

#[test]
fn a_revoked_node_is_out_of_all_lanes_within_a_second() {
    seeds::run("a_revoked_node", 20, |seed| {
        let mut sim = talking(seed, milliseconds(100));
        sim.trouble();
        sim.revoke(BOB);
        let (out, back) = (
            sim.oracle.arrived(ALICE, BOB),
            sim.oracle.arrived(BOB, ALICE),
        );
        let revoked_at = sim.now;

        sim.run(seconds(300));

        assert_eq!(sim.oracle.arrived(BOB, ALICE), back);
        assert!(sim.oracle.arrived(ALICE, BOB) - out <= 1, "one on its way");
        let bob = sim.nodes[BOB].identity.uid();
        assert!(!sim.nodes[ALICE].knows(bob));
        let sent = sim.oracle.count(
            ALICE,
            tunnel_core_sim::oracle::Kind::Transport,
            revoked_at + seconds(1),
        );
        assert_eq!(sent, 0);
    });
}
