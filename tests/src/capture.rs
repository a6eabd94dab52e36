//! What Eve sees on a wire: real `tcpdump`, its raw file, and what was in it.
//!
//! `tcpdump` reads through the kernel's ring, which copies each packet: in a lab on one kernel a
//! plain packet socket shares memory with the packets and reports leaks that never were.

mod canary;
mod pcap;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

pub use canary::Canary;
pub use pcap::{Packet, packets};
pub use wire::{Datagram, Wire};

use crate::lab::{Lab, Place, Process, Segmentation};
use crate::wait;

/// How long the file must not grow to be called complete.
const QUIET: Duration = Duration::from_millis(250);

/// Size of the ring in KiB: some 80 000 frames of 1 500 bytes, or 2 000 super-packets.
const RING: &str = "131072";

/// How long `tcpdump` may take to start or to catch up.
const LIMIT: Duration = Duration::from_secs(20);

/// A running capture on one link.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts `tcpdump` on a link and returns once it listens.
    ///
    /// # Errors
    /// When `tcpdump` does not start.
    pub fn start(lab: &Lab, place: &Place, link: &str) -> Result<Self> {
        Self::start_filtered(lab, place, link, "")
    }

    /// Starts `tcpdump` with a filter, for what else a wire carries.
    ///
    /// # Errors
    /// When `tcpdump` does not start.
    pub fn start_filtered(lab: &Lab, place: &Place, link: &str, filter: &str) -> Result<Self> {
        let file = free_name(lab.folder(), &format!("{}-{link}", place.name()))?;
        let path = file.display().to_string();
        let length = longest_frame(lab, link).to_string();
        let options = ["-i", link, "-n", "-s", &length, "-U", "--immediate-mode"];
        let mut arguments: Vec<&str> = options.to_vec();
        arguments.extend(["-B", RING, "-Z", "root", "-w", &path]);
        if !filter.is_empty() {
            arguments.push(filter);
        }
        let role = file.file_stem().and_then(|stem| stem.to_str());
        let tcpdump = place.spawn(role.unwrap_or("tcpdump"), "tcpdump", &arguments)?;
        tcpdump.wait_for_log("listening on", LIMIT)?;
        Ok(Self { tcpdump, file })
    }

    /// Starts Eve's capture of everything that crosses the switch.
    ///
    /// # Errors
    /// When `tcpdump` does not start.
    pub fn on_switch(lab: &Lab) -> Result<Self> {
        Self::start(lab, lab.switch(), "br0")
    }

    /// Waits until `tcpdump` has caught up, ends it and returns what it wrote.
    ///
    /// # Errors
    /// When packets were lost to the capture: it proves nothing then.
    pub fn stop(self) -> Result<Recording> {
        self.settle()?;
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait()?;
        self.lost_nothing()?;
        Ok(Recording { file: self.file })
    }

    /// What was written so far, once `tcpdump` has caught up.
    ///
    /// # Errors
    /// When `tcpdump` has ended, or packets were lost to the capture: it proves nothing then.
    pub fn so_far(&self) -> Result<Recording> {
        self.settle()?;
        let told = || losses(&self.tcpdump.log()).count();
        let before = told();
        // It then says what it saw and lost, as at its end.
        self.tcpdump.signal(Signal::SIGUSR1)?;
        wait::until("tcpdump to say what it lost", LIMIT, || told() > before)?;
        self.lost_nothing()?;
        Ok(Recording {
            file: self.file.clone(),
        })
    }

    fn lost_nothing(&self) -> Result<()> {
        let log = self.tcpdump.log();
        ensure!(
            losses(&log).last() == Some("0"),
            "tcpdump lost packets, so its file proves nothing: {log}"
        );
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        let mut last = (0, std::time::Instant::now());
        wait::until("tcpdump to catch up", LIMIT * 3, || {
            let size = std::fs::metadata(&self.file).map_or(0, |about| about.len());
            if size != last.0 {
                last = (size, std::time::Instant::now());
            }
            last.1.elapsed() > QUIET
        })
    }
}

/// A finished capture.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
}

impl Recording {
    /// The raw file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How often a canary is in the raw file, at any offset.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self, canary: &Canary) -> Result<usize> {
        canary.count_in(&self.file)
    }

    /// What kinds of packets are in it.
    ///
    /// # Errors
    /// When the file is no capture.
    pub fn wire(&self) -> Result<Wire> {
        wire::classify(&self.packets()?)
    }

    /// Its packets.
    ///
    /// # Errors
    /// When the file is no capture.
    pub fn packets(&self) -> Result<Vec<Packet>> {
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("read capture {}", self.file.display()))?;
        packets(&bytes)
    }
}

/// How many packets it lost, as often as it told.
fn losses(log: &str) -> impl Iterator<Item = &str> {
    let told = log.match_indices(" packets dropped by kernel");
    told.filter_map(|(at, _)| log.get(..at)?.split_whitespace().last())
}

/// Each slot of the ring is as long as the longest frame: few long ones are soon full.
fn longest_frame(lab: &Lab, link: &str) -> u32 {
    let wires = lab.wires();
    if link == "br0" && wires.segmentation == Segmentation::Off {
        wires.mtu + 64
    } else {
        // A super-packet and its headers.
        65_536 + 64
    }
}

fn free_name(folder: &Path, stem: &str) -> Result<PathBuf> {
    (0..)
        .map(|number| folder.join(format!("{stem}-{number}.pcap")))
        .find(|path| !path.exists())
        .context("no free name for a capture")
}

#[cfg(test)]
mod tests {
    use super::losses;

    #[test]
    fn what_tcpdump_lost_is_the_whole_number_however_often_it_told() {
        let log = "listening on br0\ntcpdump: 7 packets captured, 9 packets received by filter, 0 packets dropped \
            by kernel\n7 packets captured\n10 packets dropped by kernel\n";

        assert_eq!(losses(log).collect::<Vec<_>>(), ["0", "10"]);
    }
}
