//! What the guard counted: packets dropped by reason, and repairs by what was gone.

use std::collections::BTreeMap;

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
    /// The node's end of a pod's link: up, MTU, route, neighbour, setting.
    PodLink,
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
            Self::PodLink => "pod_link",
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

    /// Notes that the table is replaced: what was seen last is kept.
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

fn add(counts: &mut DropCounts, name: String, packets: u64) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add(packets);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(packets: u64) -> DropCounts {
        DropCounts::from([("injected".to_owned(), packets)])
    }

    #[test]
    fn totals_never_fall_when_the_table_is_replaced() {
        let mut totals = DropTotals::default();

        totals.see(injected(3));
        totals.table_replaced();
        totals.see(injected(2));

        assert_eq!(totals.totals().get("injected"), Some(&5));
    }
}
