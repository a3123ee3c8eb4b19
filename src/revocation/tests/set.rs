//! The exact set.

use std::time::Duration;

use crate::{clock::Timestamp, revocation::set::Set, secret};

const LIFE: Duration = Duration::from_secs(100);

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn has(set: &Set, id: u128) -> bool {
    let bits = set.probe(&[0, id, 1]);
    assert_eq!(bits & 0b101, 0, "nobody has put these there");
    bits == 0b010
}

#[test]
fn it_has_what_was_put_there_and_nothing_else() {
    let set = Set::new(at(0));
    let ids: Vec<u128> = (0..20_000).map(|_| u128::from_le_bytes(secret::random::<16>())).collect();
    let (inside, outside) = ids.split_at(10_000);
    set.insert(inside.iter().map(|id| (*id, at(100))));
    set.insert(inside.iter().map(|id| (*id, at(101))));
    assert!(inside.iter().all(|id| has(&set, *id)));
    assert!(!outside.iter().any(|id| has(&set, *id)));
    let stats = set.stats();
    assert_eq!((stats.entries, stats.current, stats.generations), (10_000, 10_000, 1));
    assert!((17 * 10_000..80 * 10_000).contains(&stats.bytes), "{stats:?}");
}

#[test]
fn an_entry_stays_until_all_of_its_generation_has_run_out() {
    let set = Set::new(at(0));
    set.insert([(5, at(100))]);
    assert!(!set.rotate(at(99), LIFE));
    set.insert([(6, at(199))]);
    assert!(set.rotate(at(100), LIFE), "an entry life is over");
    set.insert([(7, at(250))]);
    assert!(!set.rotate(at(199), LIFE));
    assert!(has(&set, 5) && has(&set, 6) && has(&set, 7));
    assert!(set.rotate(at(200), LIFE), "the older one is dropped, and the other one is old enough");
    assert!(!has(&set, 5) && !has(&set, 6) && has(&set, 7));
    assert!(!set.rotate(at(400), LIFE), "what is empty is kept");
    assert!(!has(&set, 7));
    assert_eq!(set.stats().generations, 1);
}

#[test]
fn a_rebuild_loses_nothing_that_arrives_meanwhile_and_one_that_is_given_up_changes_nothing() {
    let set = Set::new(at(0));
    set.insert([(5, at(100))]);
    let mut given_up = set.begin_rebuild();
    given_up.insert(9, at(100));
    assert!(!set.rotate(at(500), LIFE), "not while it is under way");
    drop(given_up);
    assert!(has(&set, 5) && !has(&set, 9));
    let mut rebuild = set.begin_rebuild();
    rebuild.insert(6, at(100));
    set.insert([(7, at(100))]);
    assert!(has(&set, 7), "at once");
    rebuild.finish(at(50));
    assert!(!has(&set, 5) && has(&set, 6) && has(&set, 7));
}
