//! What is kept of the objects of one kind: bounded, whoever wrote them. Pure; `watches.rs` fills
//! it.
//!
//! A list that is read anew replaces the shelf only when it is complete, so one that breaks off
//! takes nothing away; and what stands on the shelf goes before newcomers, so a flood of objects
//! pushes out none that was there. Places are kept for what is awaited, so it keeps none of that
//! out either.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::published::{Refusal, RefusedEntry};

/// Most objects without content that are named one by one; the rest is one entry (a guess: more
/// than anybody reads).
const MAX_NAMED: usize = 1_000;
/// Most names that are remembered as done with. They matter only until the watch has caught up.
const MAX_DONE: usize = 1_024;

/// What is kept of an object of one kind.
pub(super) trait Kept: Clone + PartialEq + Send + 'static {
    /// The kind's plural.
    const KIND: &'static str;
    /// Most objects.
    const MOST: usize;
    /// Most bytes of all objects together.
    const MOST_BYTES: usize;
    /// Most objects of one crowd.
    const MOST_OF_CROWD: usize = usize::MAX;

    /// How large it is, roughly.
    fn bytes(&self) -> usize;

    /// Whose it is and how old, where one writer may have only so many; the newest are kept.
    fn crowd(&self) -> Option<(String, i64)> {
        None
    }
}

/// What was found in an object: something to keep, something to refuse, both, or neither.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found<E> {
    pub(super) entry: Option<E>,
    pub(super) refused: Option<Refusal>,
}

impl<E> Found<E> {
    pub(super) const NOTHING: Self = Self {
        entry: None,
        refused: None,
    };

    pub(super) const fn refused(reason: Refusal) -> Self {
        Self {
            entry: None,
            refused: Some(reason),
        }
    }

    const fn is_nothing(&self) -> bool {
        self.entry.is_none() && self.refused.is_none()
    }
}

#[derive(Debug)]
struct Slot<E> {
    found: Found<E>,
    round: u64,
}

/// The objects of one kind by name.
#[derive(Debug)]
pub(super) struct Shelf<E> {
    slots: BTreeMap<String, Slot<E>>,
    /// Names for which there is a place at any time.
    awaited: BTreeSet<String>,
    /// Counts the lists, so that a complete one tells what was not in it.
    round: u64,
    entries: usize,
    bytes: usize,
    crowds: HashMap<String, BTreeSet<(i64, String)>>,
    done: VecDeque<String>,
    /// Something had to be left out, and whether there has been room since.
    left_out: bool,
    room: bool,
    unnamed: bool,
}

impl<E: Kept> Default for Shelf<E> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            awaited: BTreeSet::new(),
            round: 0,
            entries: 0,
            bytes: 0,
            crowds: HashMap::new(),
            done: VecDeque::new(),
            left_out: false,
            room: false,
            unnamed: false,
        }
    }
}

impl<E: Kept> Shelf<E> {
    /// An empty shelf with a place for each of these names, far fewer than there are places.
    pub(super) fn awaiting(names: impl Iterator<Item = String>) -> Self {
        Self {
            awaited: names.collect(),
            ..Self::default()
        }
    }

    /// A new list begins. It shows by itself what is done with.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.done.clear();
        self.left_out = false;
        self.room = false;
        self.unnamed = false;
    }

    /// The list is complete: what was not in it is gone. Tells whether anything was.
    pub(super) fn complete(&mut self) -> bool {
        let round = self.round;
        let stale = |slot: &Slot<E>| slot.round < round;
        let gone: Vec<String> = self
            .slots
            .iter()
            .filter(|(_, slot)| stale(slot))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            self.remove(name);
        }
        !gone.is_empty()
    }

    /// Puts an object in place of what had its name. Tells whether anything changed.
    pub(super) fn put(&mut self, name: &str, found: Found<E>) -> bool {
        if self.done.iter().any(|done| done == name) {
            return false;
        }
        let old = self.take(name).map(|slot| slot.found);
        let found = self.fit(name, found);
        let changed = match &old {
            Some(old) => *old != found,
            None => !found.is_nothing(),
        };
        if found.is_nothing() {
            self.room |= old.is_some_and(|old| old.entry.is_some());
        } else {
            self.place(name, found);
        }
        changed
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.done.retain(|done| done != name);
        let gone = self.take(name);
        self.room |= gone.as_ref().is_some_and(|slot| slot.found.entry.is_some());
        gone.is_some()
    }

    /// The object has nothing more to say, whatever the watch still brings.
    pub(super) fn done_with(&mut self, name: &str) {
        self.remove(name);
        if self.done.len() >= MAX_DONE {
            self.done.pop_front();
        }
        self.done.push_back(name.to_owned());
    }

    /// Whether something was left out for which there is room by now: only a new list brings it.
    pub(super) const fn wants_list(&self) -> bool {
        self.left_out && self.room
    }

    pub(super) fn entry(&self, name: &str) -> Option<&E> {
        self.slots.get(name)?.found.entry.as_ref()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &E)> {
        let slots = self.slots.iter();
        slots.filter_map(|(name, slot)| Some((name.as_str(), slot.found.entry.as_ref()?)))
    }

    /// What was passed over, by name.
    pub(super) fn refused(&self) -> impl Iterator<Item = RefusedEntry> {
        let named = self.slots.iter().filter_map(|(name, slot)| {
            let reason = slot.found.refused?;
            Some(RefusedEntry {
                name: format!("{}/{}", E::KIND, name.escape_debug()),
                reason,
            })
        });
        let rest = self.unnamed.then(|| RefusedEntry {
            name: format!("{}/", E::KIND),
            reason: Refusal::TooMany,
        });
        named.chain(rest)
    }

    /// Leaves out what there is no room for.
    fn fit(&mut self, name: &str, mut found: Found<E>) -> Found<E> {
        if let Some(entry) = &found.entry
            && !(self.has_room(name, entry) && self.heads_its_crowd(name, entry))
        {
            self.left_out = true;
            found = Found::refused(Refusal::TooMany);
        }
        let named = self.slots.len().saturating_sub(self.entries);
        if found.entry.is_none() && found.refused.is_some() && named >= MAX_NAMED {
            self.unnamed = true;
            return Found::NOTHING;
        }
        found
    }

    fn has_room(&self, name: &str, entry: &E) -> bool {
        let is_absent = |awaited: &&String| *awaited != name && self.entry(awaited).is_none();
        let kept_free = self.awaited.iter().filter(is_absent).count();
        self.entries + kept_free < E::MOST
            && self.bytes.saturating_add(entry.bytes()) <= E::MOST_BYTES
    }

    /// Whether it is among the newest of its crowd. The oldest makes way.
    fn heads_its_crowd(&mut self, name: &str, entry: &E) -> bool {
        let Some((crowd, made)) = entry.crowd() else {
            return true;
        };
        let Some(others) = self.crowds.get(&crowd) else {
            return true;
        };
        let oldest = others.first().cloned();
        match oldest {
            Some(oldest) if others.len() >= E::MOST_OF_CROWD => {
                if oldest > (made, name.to_owned()) {
                    return false;
                }
                self.take(&oldest.1);
                self.left_out = true;
                let found = self.fit(&oldest.1, Found::refused(Refusal::TooMany));
                if !found.is_nothing() {
                    self.place(&oldest.1, found);
                }
                true
            }
            Some(_) | None => true,
        }
    }

    fn take(&mut self, name: &str) -> Option<Slot<E>> {
        let slot = self.slots.remove(name)?;
        if let Some(entry) = &slot.found.entry {
            self.entries = self.entries.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(entry.bytes());
            if let Some((crowd, made)) = entry.crowd()
                && let Some(members) = self.crowds.get_mut(&crowd)
            {
                members.remove(&(made, name.to_owned()));
                if members.is_empty() {
                    self.crowds.remove(&crowd);
                }
            }
        }
        Some(slot)
    }

    fn place(&mut self, name: &str, found: Found<E>) {
        if let Some(entry) = &found.entry {
            self.entries += 1;
            self.bytes = self.bytes.saturating_add(entry.bytes());
            if let Some((crowd, made)) = entry.crowd() {
                let members = self.crowds.entry(crowd).or_default();
                members.insert((made, name.to_owned()));
            }
        }
        let round = self.round;
        self.slots.insert(name.to_owned(), Slot { found, round });
    }
}

#[cfg(test)]
mod tests;
