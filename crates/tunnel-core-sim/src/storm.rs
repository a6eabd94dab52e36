//! Misfortunes by chance, as a seed has them: for a while everything goes wrong, then all is mended.

use std::time::Duration;

use crate::certified::Certificate;
use crate::mallory::Act;
use crate::network::Weather;
use crate::sim::{Keys, Sim};

/// The latest that a statement reaches anybody.
const LATEST_STATEMENT: Duration = Duration::from_secs(1800);

/// After a storm envelopes that were refused, because a clock was wrong, are read again.
const AFTERMATH: Duration = Duration::from_secs(60);

/// How far a clock is set wrong, in seconds.
const CLOCK_STEP: i64 = 3600;

/// New generations of one node whose statements are late: more would end the first of them, which
/// the others still use.
const LATE_GENERATIONS: usize = 2;

/// Lets misfortunes happen for so long, one each `every` on average; then mends everything.
pub fn weather(sim: &mut Sim, duration: Duration, every: Duration) {
    let mut late = vec![0; sim.nodes.len()];
    sim.trouble();
    let count = (duration.as_secs_f64() / every.as_secs_f64()).ceil() as usize;
    for _ in 0..count {
        let at = sim.between(Duration::ZERO, duration);
        plan(sim, at, duration - at, &mut late);
    }
    sim.run(duration);
    clear(sim);
    sim.run(AFTERMATH);
    sim.calm();
}

fn clear(sim: &mut Sim) {
    sim.network.heal();
    sim.attack(None);
    sim.copies_to_every_lane = false;
    for node in 0..sim.nodes.len() {
        sim.nodes[node].clock_error = 0;
        sim.stall(node, Duration::ZERO);
    }
}

/// Plans one misfortune at a time, which is over when the rest of the storm is.
fn plan(sim: &mut Sim, at: Duration, rest: Duration, late: &mut [usize]) {
    let nodes = sim.nodes.len() as u32;
    let node = sim.below(nodes) as usize;
    let other = (node + 1 + sim.below(nodes - 1) as usize) % nodes as usize;
    let length = sim.between(Duration::from_secs(1), Duration::from_secs(200));
    match sim.below(12) {
        0 | 1 => sim.after(at, change_weather),
        2 => cut(sim, at, length, &[(node, other), (other, node)]),
        3 => cut(sim, at, length, &[(node, other)]),
        4 => restart(sim, at, node, Keys::Kept, rest),
        5 => restart(sim, at, node, Keys::Lost, rest),
        6 | 7 if late[node] < LATE_GENERATIONS => {
            late[node] += 1;
            rotate(sim, at, node);
        }
        6 | 7 => sim.after(at, move |sim| {
            sim.rotate(node, Certificate::Kept, |_| Duration::from_secs(1));
        }),
        8 => sim.after(at, move |sim| {
            let step = [-CLOCK_STEP, 0, CLOCK_STEP][sim.below(3) as usize];
            sim.nodes[node].clock_error = step;
        }),
        9 => sim.after(at, move |sim| {
            let length = sim.between(Duration::from_millis(100), Duration::from_secs(30));
            sim.stall(node, length);
        }),
        10 => attack(sim, at, length),
        _ => match sim.below(3) {
            0 => sim.after(at, move |sim| sim.copy_memory(node)),
            1 => sim.after(at, |sim| sim.copies_to_every_lane ^= true),
            _ => sim.after(at, move |sim| sim.admit_again(node)),
        },
    }
}

fn change_weather(sim: &mut Sim) {
    sim.network.weather = Weather {
        loss: [0, 20, 100, 400][sim.below(4) as usize],
        repetition: sim.below(100),
        delay: Duration::from_millis(sim.below(50).into()),
        jitter: Duration::from_millis(sim.below(500).into()),
    };
}

fn cut(sim: &mut Sim, at: Duration, length: Duration, ways: &[(usize, usize)]) {
    for (from, to) in ways.iter().copied() {
        sim.after(at, move |sim| sim.network.cut(from, to));
        sim.after(at + length, move |sim| sim.network.mend(from, to));
    }
}

fn restart(sim: &mut Sim, at: Duration, node: usize, keys: Keys, rest: Duration) {
    let longest = Duration::from_secs(if sim.below(8) == 0 { 600 } else { 40 });
    let down_for = sim.between(Duration::from_millis(50), longest).min(rest);
    sim.after(at, move |sim| {
        if sim.nodes[node].is_up() {
            sim.restart(node, down_for, keys);
        }
    });
}

/// Statements reach some at once, others half an hour later.
fn rotate(sim: &mut Sim, at: Duration, node: usize) {
    let certificate = match sim.below(2) {
        0 => Certificate::RENEWED,
        _ => Certificate::Kept,
    };
    let nodes = 0..sim.nodes.len();
    let delays = nodes.map(|_| match sim.below(3) {
        0 => Duration::from_millis(100),
        1 => sim.between(Duration::ZERO, Duration::from_secs(90)),
        _ => sim.between(Duration::ZERO, LATEST_STATEMENT),
    });
    let delays: Vec<_> = delays.collect();
    sim.after(at, move |sim| {
        sim.rotate(node, certificate, |to| delays[to])
    });
}

fn attack(sim: &mut Sim, at: Duration, length: Duration) {
    let one = Act::ALL[sim.below(Act::ALL.len() as u32) as usize];
    let acts = match sim.below(2) {
        0 => Act::ALL.to_vec(),
        _ => vec![one],
    };
    let every = sim.between(Duration::from_millis(50), Duration::from_millis(500));
    let length = length.min(Duration::from_secs(60));
    sim.after(at, move |sim| sim.attack(Some((&acts, every))));
    sim.after(at + length, |sim| sim.attack(None));
}
