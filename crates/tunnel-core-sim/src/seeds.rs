//! Runs a test with many seeds, and says how to run one of them alone.
//!
//! `SEEDS=100000` sets how many in all (the default is some thousands), `SEED=7` runs only that one,
//! `TRACE=1` prints what happens. boringtun draws its own randomness, so a seed repeats the course
//! of a run, not its bytes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::log;

/// Seeds of all tests together, unless `SEEDS` says otherwise.
const DEFAULT: u64 = 3_000;

/// Runs `test` with its share of the seeds, at least one: `share` of 1000.
///
/// # Panics
/// With the first seed that fails, which is printed with the command that runs it.
pub fn run(name: &str, share: u64, test: impl Fn(u64)) {
    log::listen();
    let only = number("SEED");
    let count = number("SEEDS").unwrap_or(DEFAULT) * share / 1000;
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 0..count.max(1),
    };
    for seed in seeds {
        let _ = log::take_errors();
        let result = catch_unwind(AssertUnwindSafe(|| {
            test(seed);
            let errors = log::take_errors();
            assert!(errors.is_empty(), "logged at ERROR: {errors:?}");
        }));
        if let Err(panic) = result {
            eprintln!(
                "\nseed {seed} failed; this runs it alone, with a trace:\n  \
                 SEED={seed} TRACE=1 cargo test --release --manifest-path \
                 crates/tunnel-core-sim/Cargo.toml {name}\n"
            );
            resume_unwind(panic);
        }
    }
}

/// Whether what happens is to be printed.
#[must_use]
pub fn trace() -> bool {
    number("TRACE").is_some_and(|it| it > 0)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("read {variable}: {value} is no number")))
}
