//! The two nftables tables as they were loaded, and as they are.
//!
//! Whether somebody changed them is told in two steps: the ruleset's generation number costs one
//! small question; only when it moved are our tables listed and compared with what nft listed
//! right after they were loaded.

use super::GuardError;
use super::counters::{DropCounts, DropTotals, Part};
use super::plan::{GUARD_TABLE, GuardPlan, NAT_TABLE};
use super::ruleset;
use crate::io::guard as tools;
use crate::io::netlink::netfilter::Netfilter;

const TABLES: [(&str, Part); 2] = [(GUARD_TABLE, Part::GuardTable), (NAT_TABLE, Part::NatTable)];

/// What is known of the tables.
#[derive(Default)]
pub(super) struct Tables {
    loaded: Option<Loaded>,
    dropped: DropTotals,
}

struct Loaded {
    ruleset: String,
    generation: u32,
    listings: [Option<String>; 2],
}

impl Tables {
    /// Loads the plan's rules unless they are there; notes which table was gone or changed.
    pub(super) fn restore(
        &mut self,
        plan: &GuardPlan,
        netfilter: &mut Netfilter,
        repaired: &mut Vec<Part>,
    ) -> Result<(), GuardError> {
        let wanted = ruleset::render(plan);
        let generation = netfilter.ruleset_generation()?;
        let Some(loaded) = self
            .loaded
            .as_mut()
            .filter(|loaded| loaded.ruleset == wanted)
        else {
            return self.load(wanted, netfilter);
        };
        if loaded.generation == generation {
            return Ok(());
        }
        let listings = list()?;
        let damaged = damaged(&loaded.listings, &listings);
        if damaged.is_empty() {
            loaded.generation = generation;
            return Ok(());
        }
        repaired.extend(damaged);
        self.load(wanted, netfilter)
    }

    fn load(&mut self, ruleset: String, netfilter: &mut Netfilter) -> Result<(), GuardError> {
        // The count of the moment between this and the transaction is lost; packets are not let by.
        self.see_counters(netfilter)?;
        tools::load(&ruleset)?;
        self.dropped.table_replaced();
        // The generation first: a change in between is then looked at once more.
        let generation = netfilter.ruleset_generation()?;
        let listings = list()?;
        self.loaded = Some(Loaded {
            ruleset,
            generation,
            listings,
        });
        Ok(())
    }

    /// Packets dropped so far.
    pub(super) fn dropped(&mut self, netfilter: &mut Netfilter) -> Result<DropCounts, GuardError> {
        self.see_counters(netfilter)?;
        Ok(self.dropped.totals())
    }

    /// A table that is gone leaves what was seen of it last.
    fn see_counters(&mut self, netfilter: &mut Netfilter) -> Result<(), GuardError> {
        let counters = netfilter.counters(GUARD_TABLE)?;
        if self.loaded.is_some() && !counters.is_empty() {
            self.dropped.see(counters);
        }
        Ok(())
    }
}

fn list() -> Result<[Option<String>; 2], GuardError> {
    let [(guard, _), (nat, _)] = TABLES;
    Ok([tools::list_table(guard)?, tools::list_table(nat)?])
}

fn damaged(loaded: &[Option<String>; 2], present: &[Option<String>; 2]) -> Vec<Part> {
    let pairs = loaded.iter().zip(present).zip(TABLES);
    pairs
        .filter(|((loaded, present), _)| loaded != present)
        .map(|(_, (_, part))| part)
        .collect()
}
