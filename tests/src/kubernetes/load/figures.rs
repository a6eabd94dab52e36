//! What a load was measured to cost, and the table of several.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::board::{Board, Spent};
use super::sample::Sample;

const REQUESTS: &str = "apiserver_request_total";
const EVENT_BYTES: &str = "apiserver_watch_events_sizes_sum";
const IDENTITIES: &str = r#"resource="nodeidentities""#;
/// Requests that are not worth a row: together they are in the sum.
const SELDOM: f64 = 0.02;

/// What one load came to.
#[derive(Debug)]
pub struct Figures {
    pub(super) nodes: usize,
    pub(super) join: Join,
    pub(super) rest: Rest,
    pub(super) change: Change,
    pub(super) envelopes_write: usize,
    pub(super) status_write: usize,
    pub(super) worst_status_write: usize,
    pub(super) turned_away: f64,
    pub(super) faults: BTreeMap<String, usize>,
}

/// All daemons start at once.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) certified: Duration,
    pub(super) known: Duration,
    pub(super) ledger: usize,
    requests: f64,
    link: f64,
    spent: Spent,
    envelopes: u64,
    server: f64,
    controller: f64,
    daemons: f64,
}

/// Nothing happens.
#[derive(Debug)]
pub(super) struct Rest {
    requests: BTreeMap<String, f64>,
    event_bytes: f64,
    link: f64,
    watches: f64,
    server: f64,
    etcd: f64,
    controller: f64,
    memory_of_daemon: f64,
    memory_of_server: f64,
    memory_of_controller: f64,
    busy: f64,
}

/// Keys change, one at a time.
#[derive(Debug)]
pub(super) struct Change {
    each: Vec<f64>,
    last: Vec<f64>,
    events: f64,
    event_bytes: f64,
    link: f64,
    server: f64,
}

impl Join {
    pub(super) fn new(certified: Duration, known: Duration) -> Self {
        Self {
            certified,
            known,
            ledger: 0,
            requests: 0.0,
            link: 0.0,
            spent: Spent::default(),
            envelopes: 0,
            server: 0.0,
            controller: 0.0,
            daemons: 0.0,
        }
    }

    pub(super) fn measure(&mut self, from: &Sample, until: &Sample, board: &Board) {
        (self.spent, self.envelopes) = board.spent();
        self.requests = until.sum(REQUESTS, &[]) - from.sum(REQUESTS, &[]);
        self.link = until.received_since(from);
        let processor = |role| until.processor(role) - from.processor(role);
        self.server = processor("API server");
        self.controller = processor("controller");
        self.daemons = processor("daemons");
    }
}

impl Rest {
    pub(super) fn between(from: &Sample, until: &Sample, start: &Sample, nodes: usize) -> Self {
        let seconds = until.at.duration_since(from.at).as_secs_f64();
        let before = from.requests();
        let requests = until.requests().into_iter().map(|(what, count)| {
            let before = before.get(&what).copied().unwrap_or_default();
            (what, (count - before) / seconds)
        });
        let rate = |from: f64, until: f64| (until - from) / seconds;
        let busy = |role| rate(from.processor(role), until.processor(role));
        let daemons = until.memory("daemons") - start.memory("daemons");
        Self {
            requests: requests.filter(|(_, rate)| *rate > 0.0).collect(),
            event_bytes: rate(from.sum(EVENT_BYTES, &[]), until.sum(EVENT_BYTES, &[])),
            link: until.received_since(from) / seconds,
            watches: until.sum("apiserver_longrunning_requests", &[IDENTITIES]),
            server: busy("API server"),
            etcd: busy("etcd"),
            controller: busy("controller"),
            memory_of_daemon: daemons / float(nodes),
            memory_of_server: until.memory("API server"),
            memory_of_controller: until.memory("controller"),
            busy: load_average(),
        }
    }
}

impl Change {
    pub(super) fn new(
        each: Vec<Duration>,
        last: Vec<Duration>,
        from: &Sample,
        until: &Sample,
        changes: usize,
    ) -> Self {
        let of_change = |from: f64, until: f64| (until - from) / float(changes);
        let of_events = |name| {
            let labels = &[IDENTITIES];
            of_change(from.sum(name, labels), until.sum(name, labels))
        };
        Self {
            each: sorted(each),
            last: sorted(last),
            events: of_events("apiserver_watch_events_sizes_count"),
            event_bytes: of_events(EVENT_BYTES),
            link: until.received_since(from) / float(changes),
            server: of_change(from.processor("API server"), until.processor("API server")),
        }
    }
}

type Row = (&'static str, fn(&Figures) -> String);

const ROWS: [Row; 34] = [
    ("**All join at once**", |_| String::new()),
    ("all have certificates, s", |it| seconds(it.join.certified)),
    ("all believe all, s", |it| seconds(it.join.known)),
    ("requests", |it| whole(it.join.requests)),
    ("requests a node", |it| of_node(it, it.join.requests, 1.0)),
    ("bytes to the daemons, MB", |it| tenths(it.join.link / 1e6)),
    ("bytes to one daemon, kB", |it| {
        of_node(it, it.join.link, 1e3)
    }),
    ("ledger, bytes", |it| it.join.ledger.to_string()),
    ("ledger, bytes a node", |it| {
        of_node(it, float(it.join.ledger), 1.0)
    }),
    ("API server, processor s", |it| tenths(it.join.server)),
    ("controller, processor s", |it| tenths(it.join.controller)),
    ("all daemons, processor s", |it| tenths(it.join.daemons)),
    ("of which reading and verifying envelopes", |it| {
        seconds(it.join.spent.reading + it.join.spent.verifying)
    }),
    ("one envelope, µs: read, verify", |it| {
        let each = |time: Duration| {
            let envelopes = u32::try_from(it.join.envelopes.max(1)).unwrap_or(u32::MAX);
            (time / envelopes).as_micros()
        };
        let spent = it.join.spent;
        format!("{}, {}", each(spent.reading), each(spent.verifying))
    }),
    ("**At rest**", |_| String::new()),
    ("requests a second", |it| {
        hundredths(it.rest.requests.values().sum())
    }),
    ("requests a minute a node", |it| {
        let all: f64 = it.rest.requests.values().sum();
        hundredths(all * 60.0 / float(it.nodes))
    }),
    ("open watches of NodeIdentity", |it| whole(it.rest.watches)),
    ("watched bytes a second", |it| whole(it.rest.event_bytes)),
    ("bytes a second to one daemon", |it| {
        of_node(it, it.rest.link, 1.0)
    }),
    ("API server, % of a processor", |it| {
        tenths(it.rest.server * 100.0)
    }),
    ("etcd, % of a processor", |it| tenths(it.rest.etcd * 100.0)),
    ("controller, % of a processor", |it| {
        tenths(it.rest.controller * 100.0)
    }),
    ("memory of one daemon's store and peers, MB", |it| {
        hundredths(it.rest.memory_of_daemon / 1e6)
    }),
    ("memory of API server, controller, MB", |it| {
        let (server, controller) = (it.rest.memory_of_server, it.rest.memory_of_controller);
        format!("{:.0}, {:.0}", server / 1e6, controller / 1e6)
    }),
    ("**One node's key changes**", |_| String::new()),
    ("the write, bytes", |it| it.envelopes_write.to_string()),
    ("watched bytes for one watcher", |it| {
        whole(it.change.event_bytes / it.change.events.max(1.0))
    }),
    ("watched bytes in all", |it| whole(it.change.event_bytes)),
    ("bytes to one daemon, TLS and rest included", |it| {
        of_node(it, it.change.link, 1.0)
    }),
    (
        "another node believes it, ms: median, 99 %, longest",
        |it| {
            let each = &it.change.each;
            format!(
                "{:.0}, {:.0}, {:.0}",
                share(each, 0.5),
                share(each, 0.99),
                share(each, 1.0)
            )
        },
    ),
    ("all do, ms: median, longest", |it| {
        let last = &it.change.last;
        format!("{:.0}, {:.0}", share(last, 0.5), share(last, 1.0))
    }),
    ("API server, processor ms", |it| {
        tenths(it.change.server * 1e3)
    }),
    ("status write, bytes: healthy, nothing works", |it| {
        format!("{}, {}", it.status_write, it.worst_status_write)
    }),
];

/// A Markdown table with a column for each load, and what it was measured under.
#[must_use]
pub fn table(loads: &[Figures]) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, cells: Vec<String>| {
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    };
    row(
        "nodes",
        loads.iter().map(|it| it.nodes.to_string()).collect(),
    );
    row("---", loads.iter().map(|_| "--:".to_owned()).collect());
    for (name, cell) in ROWS {
        row(name, loads.iter().map(cell).collect());
    }
    row(
        "**Requests at rest, a second**",
        loads.iter().map(|_| String::new()).collect(),
    );
    let kinds: BTreeSet<&String> = loads
        .iter()
        .flat_map(|it| it.rest.requests.iter())
        .filter(|(_, rate)| **rate >= SELDOM)
        .map(|(kind, _)| kind)
        .collect();
    for kind in kinds {
        let rate = |it: &Figures| it.rest.requests.get(kind).copied().unwrap_or_default();
        row(kind, loads.iter().map(|it| hundredths(rate(it))).collect());
    }
    row(
        "load average when rested",
        loads.iter().map(|it| tenths(it.rest.busy)).collect(),
    );
    for it in loads {
        lines.push(format!(
            "\n{} nodes: {:.0} requests turned away (429); {}",
            it.nodes,
            it.turned_away,
            faults(&it.faults)
        ));
    }
    lines.join("\n")
}

fn faults(faults: &BTreeMap<String, usize>) -> String {
    if faults.is_empty() {
        return "nothing had to be tried again".to_owned();
    }
    let each = faults.iter();
    let each: Vec<String> = each
        .map(|(what, count)| format!("{count} × {what}"))
        .collect();
    format!("tried again: {}", each.join("; "))
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    first.unwrap_or(f64::NAN)
}

fn sorted(times: Vec<Duration>) -> Vec<f64> {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The value that this share of a sorted list does not exceed.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index"
)]
fn share(sorted: &[f64], share: f64) -> f64 {
    let at = (float(sorted.len()) * share).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn float(number: usize) -> f64 {
    number as f64
}

fn of_node(figures: &Figures, value: f64, unit: f64) -> String {
    tenths(value / unit / float(figures.nodes))
}

fn seconds(time: Duration) -> String {
    tenths(time.as_secs_f64())
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

fn hundredths(value: f64) -> String {
    format!("{value:.2}")
}
