use std::collections::BTreeMap;

use chacha20::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{Found, Kept, MAX_NAMED, Shelf};
use crate::published::Refusal;

/// A small object whose first letter is its crowd.
#[derive(Debug, Clone, PartialEq)]
struct Thing {
    content: u32,
    crowd: Option<String>,
}

impl Kept for Thing {
    const KIND: &'static str = "things";
    const MOST: usize = 1_000;
    const MOST_BYTES: usize = 100_000;
    const MOST_OF_CROWD: usize = 4;

    fn bytes(&self) -> usize {
        10
    }

    fn crowd(&self) -> Option<(String, i64)> {
        Some((self.crowd.clone()?, self.content.into()))
    }
}

fn thing(content: u32) -> Found<Thing> {
    Found {
        entry: Some(Thing {
            content,
            crowd: None,
        }),
        refused: None,
    }
}

fn of_crowd(crowd: &str, content: u32) -> Found<Thing> {
    Found {
        entry: Some(Thing {
            content,
            crowd: Some(crowd.to_owned()),
        }),
        refused: None,
    }
}

fn names(shelf: &Shelf<Thing>) -> Vec<&str> {
    shelf.entries().map(|(name, _)| name).collect()
}

#[derive(Clone)]
enum Change {
    Put(usize, u32),
    Remove(usize),
}

/// One seed: a history of a few objects, delivered with repetitions, with changes of different
/// objects in another order, with some left out that a later one of the same object covers, and
/// with a list somewhere, of which some break off.
fn deliver(seed: u64) {
    const OBJECTS: usize = 5;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |limit: usize| random.next_u32() as usize % limit;
    let mut model: BTreeMap<String, u32> = BTreeMap::new();
    let mut shelf = Shelf::<Thing>::default();
    let mut queues: [Vec<Change>; OBJECTS] = Default::default();
    let apply = |shelf: &mut Shelf<Thing>, change: &Change| match change {
        Change::Put(object, content) => drop(shelf.put(&object.to_string(), thing(*content))),
        Change::Remove(object) => drop(shelf.remove(&object.to_string())),
    };
    for step in 0..30 {
        let object = below(OBJECTS);
        let change = if below(4) == 0 {
            model.remove(&object.to_string());
            Change::Remove(object)
        } else {
            model.insert(object.to_string(), step);
            Change::Put(object, step)
        };
        if below(3) == 0 {
            queues[object].clear();
        }
        queues[object].push(change);
        let ready = &mut queues[below(OBJECTS)];
        while !ready.is_empty() && below(3) > 0 {
            let change = ready.remove(0);
            for _ in 0..=below(3) {
                apply(&mut shelf, &change);
            }
        }
        if below(12) == 0 {
            shelf.begin();
            let is_whole = below(2) == 0;
            let listed = if is_whole {
                model.len()
            } else {
                below(model.len() + 1)
            };
            for (name, content) in model.iter().take(listed) {
                shelf.put(name, thing(*content));
            }
            if is_whole {
                shelf.complete();
                queues = Default::default();
            }
        }
    }
    for queue in &queues {
        queue.iter().for_each(|change| apply(&mut shelf, change));
    }
    let kept: BTreeMap<String, u32> = shelf
        .entries()
        .map(|(name, thing)| (name.to_owned(), thing.content))
        .collect();
    assert_eq!(kept, model, "seed {seed}");
    assert_eq!(shelf.entries, model.len(), "seed {seed}");
    assert_eq!(shelf.bytes, model.len() * 10, "seed {seed}");
}

#[test]
fn cp11_repeated_reordered_and_coalesced_events_end_where_the_model_ends() {
    (0..100_000).for_each(deliver);
}

#[test]
fn cp07_a_list_that_breaks_off_takes_nothing_away() {
    let mut shelf = Shelf::default();
    shelf.begin();
    for name in ["a", "b", "c"] {
        shelf.put(name, thing(1));
    }
    shelf.complete();

    shelf.begin();
    shelf.put("a", thing(2));
    assert_eq!(names(&shelf), ["a", "b", "c"]);
    shelf.begin();
    shelf.put("c", thing(2));
    shelf.complete();

    assert_eq!(names(&shelf), ["c"]);
}

#[test]
fn aw08_a_flood_pushes_out_nothing_that_was_there_and_is_named() {
    let mut shelf = Shelf::default();
    shelf.begin();
    for node in 0..10 {
        shelf.put(&format!("node-{node}"), thing(1));
    }
    shelf.complete();

    shelf.begin();
    for flood in 0..100_000 {
        shelf.put(&format!("aaa-{flood}"), thing(1));
    }
    for node in 0..10 {
        shelf.put(&format!("node-{node}"), thing(2));
    }
    shelf.complete();

    assert_eq!(shelf.entries().count(), Thing::MOST);
    for node in 0..10 {
        assert_eq!(shelf.entry(&format!("node-{node}")).unwrap().content, 2);
    }
    let refused: Vec<_> = shelf.refused().collect();
    assert_eq!(refused.len(), MAX_NAMED + 1);
    assert!(refused.iter().all(|entry| entry.reason == Refusal::TooMany));
    assert!(refused.iter().any(|entry| entry.name == "things/"));
}

#[test]
fn aw08_a_flood_takes_no_place_that_is_kept_for_what_is_awaited() {
    let mut shelf = Shelf::awaiting(["own", "other"].map(str::to_owned).into_iter());
    let flood = |shelf: &mut Shelf<Thing>| {
        for number in 0..2 * Thing::MOST {
            shelf.put(&format!("aaa-{number}"), thing(1));
        }
    };
    shelf.begin();
    flood(&mut shelf);
    shelf.put("own", thing(1));
    shelf.complete();
    assert!(shelf.entry("own").is_some());
    assert_eq!(shelf.entries().count(), Thing::MOST - 1);

    shelf.remove("own");
    flood(&mut shelf);
    shelf.put("own", thing(2));
    shelf.put("other", thing(2));

    assert!(shelf.entry("own").is_some() && shelf.entry("other").is_some());
    assert_eq!(shelf.entries().count(), Thing::MOST);
}

#[test]
fn aw08_what_was_left_out_is_listed_again_once_there_is_room() {
    let mut shelf = Shelf::default();
    shelf.begin();
    for number in 0..=Thing::MOST {
        shelf.put(&format!("{number:06}"), thing(1));
    }
    shelf.complete();
    shelf.put("000001", thing(2));
    assert!(!shelf.wants_list());

    shelf.remove("000000");

    assert!(shelf.wants_list());
    shelf.begin();
    assert!(!shelf.wants_list());
}

#[test]
fn aw08_a_crowd_keeps_its_newest_and_hurts_nobody_else() {
    let mut shelf = Shelf::default();
    shelf.begin();
    shelf.put("bob", of_crowd("bob", 1));
    for number in 0..10_000 {
        shelf.put(&format!("mallory-{number}"), of_crowd("mallory", number));
    }
    shelf.put("mallory-old", of_crowd("mallory", 0));
    shelf.complete();

    let newest = [9996, 9997, 9998, 9999].map(|number| format!("mallory-{number}"));
    assert_eq!(names(&shelf)[0], "bob");
    assert_eq!(names(&shelf)[1..], newest);
    assert!(
        shelf
            .refused()
            .any(|entry| entry.name == "things/mallory-0")
    );
    assert!(shelf.refused().count() <= MAX_NAMED + 1);
    shelf.remove("mallory-9999");
    shelf.put("mallory-last", of_crowd("mallory", 10_001));
    assert_eq!(names(&shelf).len(), 5);
}

#[test]
fn what_is_done_with_stays_away_until_it_is_gone_or_listed_anew() {
    let mut shelf = Shelf::default();
    shelf.put("a", thing(1));

    shelf.done_with("a");

    assert!(!shelf.put("a", thing(1)));
    assert_eq!(shelf.entries().count(), 0);
    shelf.remove("a");
    assert!(shelf.put("a", thing(1)));

    shelf.done_with("a");
    shelf.begin();
    assert!(shelf.put("a", thing(1)));
}
