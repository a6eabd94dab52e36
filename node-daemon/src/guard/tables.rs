//! The two nftables tables as they were loaded, and as they are.
//!
//! Whether somebody changed them is told in two steps: the ruleset's generation number costs one
//! small question; only when it moved are our tables listed and compared with what nft listed
//! right after they were loaded.

use cni_protocol::contract::GUARD_TABLE;

use super::GuardError;
use super::counters::{DropCounts, DropTotals, Part};
use super::plan::{GuardPlan, NAT_TABLE};
use super::ruleset;
use crate::io::guard as tools;
use crate::io::netlink::netfilter::Netfilter;

const TABLES: [(&str, Part); 2] = [(GUARD_TABLE, Part::GuardTable), (NAT_TABLE, Part::NatTable)];

/// What is asked of the kernel's ruleset.
pub(super) trait Nftables {
    /// Counts each change to the ruleset, whoever makes it.
    fn generation(&mut self) -> Result<u32, GuardError>;
    /// The packets counted by the named counters of a table.
    fn counters(&mut self, table: &str) -> Result<DropCounts, GuardError>;
    /// Loads rules in one transaction.
    fn load(&mut self, ruleset: &str) -> Result<(), GuardError>;
    /// Lists a table; `None` when there is none, or when it cannot be told.
    fn list(&mut self, table: &str) -> Result<Option<String>, GuardError>;
}

impl Nftables for Netfilter {
    fn generation(&mut self) -> Result<u32, GuardError> {
        Ok(self.ruleset_generation()?)
    }

    fn counters(&mut self, table: &str) -> Result<DropCounts, GuardError> {
        Ok(Netfilter::counters(self, table)?)
    }

    fn load(&mut self, ruleset: &str) -> Result<(), GuardError> {
        Ok(tools::load(ruleset)?)
    }

    fn list(&mut self, table: &str) -> Result<Option<String>, GuardError> {
        Ok(tools::list_table(table)?)
    }
}

/// What is known of the tables.
#[derive(Default)]
pub(super) struct Tables {
    loaded: Option<Loaded>,
    dropped: DropTotals,
}

struct Loaded {
    ruleset: String,
    /// Absent when the tables could not be seen as they were loaded; they are then loaded again.
    reference: Option<Reference>,
}

/// The tables as they were loaded.
struct Reference {
    generation: u32,
    listings: [String; 2],
}

impl Tables {
    /// Loads the plan's rules unless they are there; notes which table was gone or changed.
    pub(super) fn restore(
        &mut self,
        plan: &GuardPlan,
        nftables: &mut impl Nftables,
        repaired: &mut Vec<Part>,
    ) -> Result<(), GuardError> {
        let wanted = ruleset::render(plan);
        let generation = nftables.generation()?;
        let Some(reference) = self
            .loaded
            .as_mut()
            .filter(|loaded| loaded.ruleset == wanted)
            .and_then(|loaded| loaded.reference.as_mut())
        else {
            return self.load(wanted, nftables);
        };
        if reference.generation == generation {
            return Ok(());
        }
        let damaged = damaged(&reference.listings, &list(nftables)?);
        if damaged.is_empty() {
            reference.generation = generation;
            return Ok(());
        }
        repaired.extend(damaged);
        self.load(wanted, nftables)
    }

    fn load(&mut self, ruleset: String, nftables: &mut impl Nftables) -> Result<(), GuardError> {
        // The count of the moment between this and the transaction is lost; packets are not let by.
        self.see_counters(nftables)?;
        nftables.load(&ruleset)?;
        self.dropped.table_replaced();
        let loaded = self.loaded.insert(Loaded {
            ruleset,
            reference: None,
        });
        let generation = nftables.generation()?;
        let [guard, nat] = list(nftables)?;
        let listings = [
            guard.ok_or(GuardError::TableNotSeen(GUARD_TABLE))?,
            nat.ok_or(GuardError::TableNotSeen(NAT_TABLE))?,
        ];
        // A change in between may be in the listings, which then are no measure of later ones.
        if nftables.generation()? == generation {
            loaded.reference = Some(Reference {
                generation,
                listings,
            });
        }
        Ok(())
    }

    /// Packets dropped so far.
    pub(super) fn dropped(
        &mut self,
        nftables: &mut impl Nftables,
    ) -> Result<DropCounts, GuardError> {
        self.see_counters(nftables)?;
        Ok(self.dropped.totals())
    }

    /// A table that is gone leaves what was seen of it last.
    fn see_counters(&mut self, nftables: &mut impl Nftables) -> Result<(), GuardError> {
        let counters = nftables.counters(GUARD_TABLE)?;
        if self.loaded.is_some() && !counters.is_empty() {
            self.dropped.see(counters);
        }
        Ok(())
    }
}

fn list(nftables: &mut impl Nftables) -> Result<[Option<String>; 2], GuardError> {
    let [(guard, _), (nat, _)] = TABLES;
    Ok([nftables.list(guard)?, nftables.list(nat)?])
}

fn damaged(loaded: &[String; 2], present: &[Option<String>; 2]) -> Vec<Part> {
    let pairs = loaded.iter().zip(present).zip(TABLES);
    pairs
        .filter(|((loaded, present), _)| present.as_ref() != Some(*loaded))
        .map(|(_, (_, part))| part)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::sample;

    /// A kernel whose tables somebody can take, or change, while they are looked at.
    #[derive(Default)]
    struct Kernel {
        generation: u32,
        tables: Option<String>,
        loads: u32,
        /// Listings that fail from now on.
        unseen: u32,
        /// What somebody does while the tables are listed.
        meanwhile: Option<Option<String>>,
    }

    impl Kernel {
        fn change(&mut self, tables: Option<String>) {
            self.generation += 1;
            self.tables = tables;
        }
    }

    impl Nftables for Kernel {
        fn generation(&mut self) -> Result<u32, GuardError> {
            Ok(self.generation)
        }

        fn counters(&mut self, _: &str) -> Result<DropCounts, GuardError> {
            Ok(DropCounts::new())
        }

        fn load(&mut self, ruleset: &str) -> Result<(), GuardError> {
            self.loads += 1;
            self.change(Some(ruleset.to_owned()));
            Ok(())
        }

        fn list(&mut self, table: &str) -> Result<Option<String>, GuardError> {
            if let Some(tables) = self.meanwhile.take() {
                self.change(tables);
            }
            if self.unseen > 0 {
                self.unseen -= 1;
                return Ok(None);
            }
            Ok(self.tables.as_ref().map(|rules| format!("{table} {rules}")))
        }
    }

    fn look(tables: &mut Tables, kernel: &mut Kernel) -> Result<Vec<Part>, GuardError> {
        let mut repaired = Vec::new();
        let plan = sample::plan();
        tables.restore(&plan, kernel, &mut repaired)?;
        Ok(repaired)
    }

    #[test]
    fn tables_that_could_not_be_listed_after_a_load_are_loaded_again() {
        let (mut tables, mut kernel) = (Tables::default(), Kernel::default());
        kernel.unseen = 2;
        let _ = look(&mut tables, &mut kernel);
        kernel.change(None);

        look(&mut tables, &mut kernel).unwrap();

        assert_eq!(kernel.loads, 2);
        assert!(kernel.tables.is_some(), "a flush is repaired");
    }

    #[test]
    fn a_table_that_is_missing_right_after_a_load_is_a_failure() {
        let (mut tables, mut kernel) = (Tables::default(), Kernel::default());
        kernel.unseen = 1;

        let failure = look(&mut tables, &mut kernel).unwrap_err();

        assert!(matches!(failure, GuardError::TableNotSeen(GUARD_TABLE)));
    }

    #[test]
    fn tables_that_somebody_changes_while_they_are_listed_are_loaded_again() {
        let (mut tables, mut kernel) = (Tables::default(), Kernel::default());
        let spoilt = Some("accept everything".to_owned());
        kernel.meanwhile = Some(spoilt.clone());
        look(&mut tables, &mut kernel).unwrap();
        assert_eq!(kernel.tables, spoilt);

        look(&mut tables, &mut kernel).unwrap();

        assert_ne!(kernel.tables, spoilt);
    }

    #[test]
    fn tables_are_loaded_once_and_again_only_when_somebody_changed_them() {
        let (mut tables, mut kernel) = (Tables::default(), Kernel::default());
        look(&mut tables, &mut kernel).unwrap();
        let loaded = kernel.tables.clone();
        kernel.change(loaded);

        assert_eq!(look(&mut tables, &mut kernel).unwrap(), []);
        assert_eq!(kernel.loads, 1);

        kernel.change(None);
        let both = [Part::GuardTable, Part::NatTable];
        assert_eq!(look(&mut tables, &mut kernel).unwrap(), both);
        assert_eq!(kernel.loads, 2);
    }
}
