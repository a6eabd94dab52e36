//! What the guard counted: packets dropped by reason, and repairs by what was gone.

use std::collections::BTreeMap;

use serde_json::Value;

/// Packets dropped, by the name of the counter in the ruleset.
pub(crate) type DropCounts = BTreeMap<String, u64>;

/// A part of the guard that can go missing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The nftables table that drops.
    GuardTable,
    /// The nftables table that translates.
    NatTable,
    /// The tun device's state: up, MTU.
    Tun,
    /// An address of the tun device.
    TunAddress,
    /// A route.
    Route,
    /// A policy rule.
    Rule,
    /// A kernel setting.
    Setting,
    /// An accept in another program's FORWARD chain.
    ForwardAccept,
}

impl Part {
    /// The value of the metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::GuardTable => "guard_table",
            Self::NatTable => "nat_table",
            Self::Tun => "tun",
            Self::TunAddress => "tun_address",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Setting => "setting",
            Self::ForwardAccept => "forward_accept",
        }
    }
}

/// Counts that survive the table they are read from: loading a table anew starts it at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DropTotals {
    earlier: DropCounts,
    live: DropCounts,
}

impl DropTotals {
    /// Takes what the table says now.
    pub(crate) fn see(&mut self, live: DropCounts) {
        self.live = live;
    }

    /// Notes that the table is replaced or gone: what was seen last is kept.
    pub(crate) fn table_replaced(&mut self) {
        for (name, packets) in std::mem::take(&mut self.live) {
            add(&mut self.earlier, name, packets);
        }
    }

    /// All packets so far.
    pub(crate) fn totals(&self) -> DropCounts {
        let mut totals = self.earlier.clone();
        for (name, packets) in &self.live {
            add(&mut totals, name.clone(), *packets);
        }
        totals
    }
}

/// Reads the answer of `nft -j list counters`. What has another shape is left out.
pub(crate) fn parse_counters(json: &str) -> DropCounts {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    let objects = document.get("nftables").and_then(Value::as_array);
    objects
        .into_iter()
        .flatten()
        .filter_map(|object| {
            let counter = object.get("counter")?;
            let name = counter.get("name")?.as_str()?;
            Some((name.to_owned(), counter.get("packets")?.as_u64()?))
        })
        .collect()
}

fn add(counts: &mut DropCounts, name: String, packets: u64) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add(packets);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"counter": {"family": "inet", "name": "injected", "table": "sotto_guard", "packets": 3, "bytes": 180}},
        {"counter": {"family": "inet", "name": "spoofed", "table": "sotto_guard", "packets": 0, "bytes": 0}}]}"#;

    #[test]
    fn counters_are_read_by_name() {
        let counts = parse_counters(LISTED);

        assert_eq!(counts.get("injected"), Some(&3));
        assert_eq!(counts.get("spoofed"), Some(&0));
        assert_eq!(counts.len(), 2);
    }

    #[test]
    fn an_answer_of_another_shape_counts_nothing() {
        assert!(parse_counters("").is_empty());
        assert!(parse_counters(r#"{"nftables": 3}"#).is_empty());
        assert!(parse_counters(r#"{"nftables": [{"counter": {"name": 1}}]}"#).is_empty());
    }

    #[test]
    fn totals_never_fall_when_the_table_is_replaced() {
        let mut totals = DropTotals::default();

        totals.see(parse_counters(LISTED));
        totals.table_replaced();
        totals.see(DropCounts::from([("injected".to_owned(), 2)]));

        assert_eq!(totals.totals().get("injected"), Some(&5));
    }
}
