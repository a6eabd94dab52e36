//! What API server, kernel and programs had counted at one moment.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use http::Request;
use kube::Client;

/// Ticks of a processor's second in `/proc/PID/stat`, on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Processes that are looked at, by role.
pub(super) type Roles = BTreeMap<&'static str, i32>;

/// Counters at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    metrics: Vec<(String, f64)>,
    /// Bytes that had reached the daemons' machine before and after the metrics did, which are many.
    link: [f64; 2],
    processes: BTreeMap<&'static str, Process>,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    processor: f64,
    memory: f64,
}

impl Sample {
    /// Reads everything; called on the daemons' machine.
    pub(super) async fn take(client: &Client, roles: &Roles) -> Result<Self> {
        let before = received()?;
        let request = Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await;
        let metrics = text.context("read the API server's metrics")?;
        let processes = roles.iter().map(|(role, pid)| Ok((*role, process(*pid)?)));
        Ok(Self {
            at: Instant::now(),
            metrics: metrics.lines().filter_map(series).collect(),
            link: [before, received()?],
            processes: processes.collect::<Result<_>>()?,
        })
    }

    /// Bytes that reached the daemons between an earlier moment and this one.
    pub(super) fn received_since(&self, earlier: &Self) -> f64 {
        let ([until, _], [_, from]) = (self.link, earlier.link);
        until - from
    }

    /// The sum of a metric's series that have all these labels.
    pub(super) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = |line: &&(String, f64)| {
            let rest = line.0.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let series = self.metrics.iter().filter(of_name);
        let series = series.filter(|(name, _)| labels.iter().all(|label| name.contains(label)));
        series.map(|(_, value)| value).sum()
    }

    /// Requests so far, by verb and resource.
    pub(super) fn requests(&self) -> BTreeMap<String, f64> {
        let mut requests = BTreeMap::new();
        for (name, value) in &self.metrics {
            if let Some(labels) = name.strip_prefix("apiserver_request_total{") {
                let resource = label(labels, "resource").unwrap_or("");
                let part = label(labels, "subresource").filter(|part| !part.is_empty());
                let part = part.map_or_else(String::new, |part| format!("/{part}"));
                let verb = label(labels, "verb").unwrap_or("");
                let resource = if resource.is_empty() {
                    "(none)"
                } else {
                    resource
                };
                *requests
                    .entry(format!("{verb} {resource}{part}"))
                    .or_default() += value;
            }
        }
        requests
    }

    /// Seconds of processor that a program has had.
    pub(super) fn processor(&self, role: &str) -> f64 {
        self.processes.get(role).map_or(0.0, |it| it.processor)
    }

    /// Bytes of memory that a program has.
    pub(super) fn memory(&self, role: &str) -> f64 {
        self.processes.get(role).map_or(0.0, |it| it.memory)
    }
}

fn received() -> Result<f64> {
    let bytes = std::fs::read_to_string("/sys/class/net/eth0/statistics/rx_bytes")?;
    Ok(bytes.trim().parse()?)
}

fn series(line: &str) -> Option<(String, f64)> {
    let wanted = ["apiserver_", "etcd_"];
    if !wanted.iter().any(|prefix| line.starts_with(prefix)) || line.contains("_bucket{") {
        return None;
    }
    let (name, value) = line.rsplit_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = labels.split([',', '{', '}']);
    let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix("=\""))?;
    found.strip_suffix('"')
}

fn process(pid: i32) -> Result<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, after) = stat.rsplit_once(") ").context("a strange /proc/PID/stat")?;
    let mut fields = after.split(' ').skip(11).map(str::parse::<f64>);
    let mut ticks = || fields.next().context("a short /proc/PID/stat");
    let processor = (ticks()?? + ticks()??) / TICKS;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let memory: f64 = memory.context("no VmRSS")?.trim().parse()?;
    Ok(Process {
        processor,
        memory: memory * 1024.0,
    })
}
