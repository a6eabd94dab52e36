//! What was promised and what was seen.

use std::time::Instant;

use serde::Serialize;

/// Who reads the story while it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// A person, at once.
    Terminal,
    /// A machine, at the end.
    Json,
}

/// The story so far.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    sink: Sink,
    #[serde(skip)]
    started: Instant,
    acts: Vec<Act>,
    vantage_points: Vec<Vantage>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Act {
    title: String,
    notes: Vec<String>,
    promises: Vec<Promise>,
}

#[derive(Debug, Serialize)]
struct Promise {
    promise: String,
    seen: String,
    kept: bool,
}

/// A place from which somebody may look at pods' traffic, and what was seen there.
#[derive(Debug, Clone, Serialize)]
pub struct Vantage {
    /// Where.
    pub place: String,
    /// Who can be there.
    pub who: String,
    /// How often the canary was found there.
    pub canaries: usize,
    /// What that means.
    pub verdict: String,
}

impl Report {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            started: Instant::now(),
            acts: Vec::new(),
            vantage_points: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Begins an act.
    pub(super) fn act(&mut self, title: &str) {
        self.acts.push(Act {
            title: title.to_owned(),
            notes: Vec::new(),
            promises: Vec::new(),
        });
        self.print(&format!("\n[{:5.1} s] {title}", self.elapsed()));
    }

    /// Tells what happens.
    pub(super) fn say(&mut self, note: &str) {
        if let Some(act) = self.acts.last_mut() {
            act.notes.push(note.to_owned());
        }
        self.print(&format!("  {}", note.replace('\n', "\n  ")));
    }

    /// Tells what was promised, what was seen, and whether it is the same.
    pub(super) fn promise(&mut self, promise: &str, seen: &str, kept: bool) {
        let mark = if kept { "yes" } else { "NO " };
        self.print(&format!("  {mark}  {promise}: {seen}"));
        if let Some(act) = self.acts.last_mut() {
            act.promises.push(Promise {
                promise: promise.to_owned(),
                seen: seen.to_owned(),
                kept,
            });
        }
    }

    pub(super) fn vantage(&mut self, point: Vantage) {
        self.vantage_points.push(point);
    }

    pub(super) fn finish(&mut self) {
        self.seconds = self.elapsed();
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.broken().is_empty()
    }

    /// The promises that were not kept, with what was seen.
    pub fn broken(&self) -> Vec<String> {
        let promises = self.acts.iter().flat_map(|act| &act.promises);
        promises
            .filter(|promise| !promise.kept)
            .map(|promise| format!("{}: {}", promise.promise, promise.seen))
            .collect()
    }

    /// The table at the end.
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<28} {:<34} {:>8}  {}\n",
            "where one may look", "who can be there", "canaries", "that is"
        );
        for point in &self.vantage_points {
            table.push_str(&format!(
                "{:<28} {:<34} {:>8}  {}\n",
                point.place, point.who, point.canaries, point.verdict
            ));
        }
        table
    }

    /// Seconds from the first word to the last.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn print(&self, line: &str) {
        if self.sink == Sink::Terminal {
            println!("{line}");
        }
    }
}
