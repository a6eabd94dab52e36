//! A long run at changing load, with pods coming and going: nothing may leak, be lost or grow. `make soak`.

mod load;
mod sample;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::kubernetes::whole::{ProxyMode, Trio};
use crate::lab::Lab;
use crate::wait;

use load::Load;
use sample::{Part, Sample};

/// Between two looks at memory and descriptors.
const PERIOD: Duration = Duration::from_secs(20);
/// The shortest run that can be judged, in minutes: three looks in each third.
pub const SHORTEST: u64 = 3;
/// A part may be larger in the last third than in the middle one by this share, and this many KiB: an
/// allocator's arenas come and go.
const GROWTH: (f64, u64) = (1.05, 2048);

/// What a run found.
#[derive(Debug)]
pub struct Soak {
    samples: Vec<Sample>,
    pods: usize,
    requests: usize,
    failed: Vec<String>,
    bytes: usize,
}

/// Runs it for a time on a cluster of its own; shorter than [`SHORTEST`] its thirds tell nothing.
///
/// # Errors
/// When the cluster does not come up, or something leaked or was lost.
pub fn run(time: Duration) -> Result<Soak> {
    let lab = Lab::new()?;
    let trio =
        Trio::raise(&lab, ProxyMode::Nftables).map_err(|error| error.context(lab.report()))?;
    let space = trio.cluster.space("soak")?;
    let mut load = Load::start(&space)?;
    let started = Instant::now();
    let mut samples = Vec::new();
    while started.elapsed() < time {
        let look = Instant::now();
        load.churn()?;
        samples.push(Sample::take(&trio, started.elapsed())?);
        println!("{}", samples.last().map(Sample::line).unwrap_or_default());
        trio.nothing_leaked()?;
        wait::let_pass(PERIOD.saturating_sub(look.elapsed()));
    }
    let (requests, failed, bytes) = load.count()?;
    let pods = load.pods();
    drop(space);
    trio.cluster.has_no_namespace("soak")?;
    trio.is_at_rest()?;
    trio.nothing_leaked()?;
    Ok(Soak {
        samples,
        pods,
        requests,
        failed,
        bytes,
    })
}

impl Soak {
    /// Makes sure that no request failed and that no part grew.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn judge(&self) -> Result<()> {
        ensure!(
            self.failed.is_empty(),
            "{} of {} requests failed: {:?}",
            self.failed.len(),
            self.requests,
            self.failed
        );
        ensure!(self.requests > 0 && self.bytes > 0, "there was no traffic");
        for part in Part::ALL {
            let mut processes = self.samples.iter().map(|sample| sample.of(part).process);
            let first = processes.next();
            ensure!(
                processes.all(|process| Some(process) == first),
                "{part} was started anew"
            );
            let (middle, end) = (self.third(1, part), self.third(2, part));
            let allowed = (middle.0 as f64 * GROWTH.0) as u64 + GROWTH.1;
            ensure!(
                end.0 <= allowed,
                "{part} grew from {} to {} KiB",
                middle.0,
                end.0
            );
            ensure!(
                end.1 <= middle.1 + 2,
                "{part} had {} descriptors, then {}",
                middle.1,
                end.1
            );
        }
        Ok(())
    }

    /// Medians of memory and descriptors over a third of the run.
    fn third(&self, which: usize, part: Part) -> (u64, u64) {
        let third = self.samples.len() / 3;
        let samples = self.samples.iter().skip(which * third).take(third.max(1));
        let (mut memory, mut descriptors): (Vec<u64>, Vec<u64>) = samples
            .map(|sample| sample.of(part))
            .map(|size| (size.memory, size.descriptors))
            .unzip();
        (median(&mut memory), median(&mut descriptors))
    }

    /// The figures, as BENCHMARKS.md has them.
    pub fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{} pods came and went, {} requests, {} failed, {} MB in bulk",
                self.pods,
                self.requests,
                self.failed.len(),
                self.bytes / 1_000_000
            ),
            "| resident KiB, descriptors (medians) | first third | middle | last |".to_owned(),
            "| --- | --: | --: | --: |".to_owned(),
        ];
        for part in Part::ALL {
            let cells = [0, 1, 2].map(|which| {
                let (memory, descriptors) = self.third(which, part);
                format!("{memory}, {descriptors}")
            });
            lines.push(format!("| {part} | {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
