use std::{sync::Mutex, time::Duration};

use crate::{
    clock::Timestamp,
    revocation::{
        filter::{Filter, GENERATIONS, Settings},
        shared::DELTA_ENTRIES,
    },
    secret,
};

const LIFE: Duration = Duration::from_mins(15);

fn key() -> u128 {
    u128::from_le_bytes(secret::random())
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn small(capacity: usize) -> Filter {
    Filter::new(Settings { capacity, false_positives: 0.001 }, at(0))
}

fn has(filter: &Filter, key: u128) -> bool {
    filter.probe(&[key, 1, 2]) & 1 == 1
}

#[test]
fn what_was_inserted_is_found_through_merges_rotations_and_rebuilds_until_it_expires() {
    let filter = small(100_000);
    let mut live: Vec<(u128, Timestamp)> = Vec::new();
    for minute in 0..90 {
        let now = at(minute * 60);
        let entries: Vec<_> = (0..1000).map(|_| (key(), now + LIFE)).collect();
        filter.insert(entries.iter().copied());
        live.extend(entries);
        filter.rotate(now, LIFE);
        if minute == 40 {
            let mut rebuild = filter.begin_rebuild(live.len());
            for &(key, until) in &live {
                rebuild.segment.insert(key, until);
            }
            let late = (key(), now + LIFE);
            filter.insert([late]);
            live.push(late);
            rebuild.finish(now);
        }
        live.retain(|(_, until)| *until > now);
        assert!(live.iter().all(|(key, _)| has(&filter, *key)), "minute {minute}");
    }
    // 15 minutes of entries are live; at most two lives of them are held, and the past is gone.
    let stats = filter.stats();
    assert!(stats.entries <= 2 * 16 * 1000 + DELTA_ENTRIES, "{stats:?}");
    assert!(stats.generations <= GENERATIONS);
}

#[test]
fn a_generation_whose_entries_live_longer_is_not_dropped_early() {
    let filter = small(1000);
    let long = key();
    filter.insert([(long, at(10_000))]);
    assert!(filter.rotate(at(900), LIFE), "a new generation was due");
    filter.insert([(key(), at(1800))]);
    for secs in (1800..10_000).step_by(900) {
        filter.rotate(at(secs), LIFE);
        assert!(has(&filter, long), "after {secs} s");
    }
    filter.rotate(at(10_001), LIFE);
    filter.rotate(at(20_000), LIFE);
    filter.rotate(at(30_000), LIFE);
    assert!(!has(&filter, long), "and once expired it goes");
}

#[test]
fn the_design_load_asks_for_growth_and_a_rebuild_gives_it() {
    let filter = small(1000);
    let entries: Vec<_> = (0..1000).map(|_| (key(), at(900))).collect();
    assert!(!filter.insert(entries[..999].iter().copied()));
    assert!(filter.insert(entries[999..].iter().copied()));
    let mut rebuild = filter.begin_rebuild(entries.len());
    assert!(!filter.insert([(key(), at(900))]), "one rebuild at a time");
    for &(key, until) in &entries {
        rebuild.segment.insert(key, until);
    }
    rebuild.finish(at(1));
    let stats = filter.stats();
    assert_eq!((stats.capacity, stats.entries, stats.generations), (1500, 1001, 1));
    assert!(entries.iter().all(|(key, _)| has(&filter, *key)));
}

#[test]
fn an_unfinished_rebuild_changes_nothing() {
    let filter = small(1000);
    let kept = key();
    let rebuild = filter.begin_rebuild(10);
    filter.insert([(kept, at(900))]);
    drop(rebuild);
    assert!(has(&filter, kept));
    assert!(filter.insert((0..1000).map(|_| (key(), at(900)))), "and another may begin");
}

#[test]
fn false_positives_per_check_stay_near_the_target_at_the_design_load() {
    let filter = Filter::new(Settings { capacity: 20_000, false_positives: 0.01 }, at(0));
    // The worst case: both generations full.
    filter.insert((0..20_000).map(|_| (key(), at(1800))));
    filter.rotate(at(900), LIFE);
    filter.insert((0..20_000).map(|_| (key(), at(1800))));
    let checks = 200_000;
    let wrong = (0..checks).filter(|_| filter.probe(&[key(), key(), key()]) != 0).count();
    // 2 000 expected; ten standard deviations are 450.
    assert!((500..2450).contains(&wrong), "{wrong} of {checks}");
}

#[test]
fn readers_never_miss_an_entry_that_was_there_before_they_looked() {
    let filter = small(50_000);
    let inserted = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for i in 0..30_000_i64 {
                let entry = key();
                filter.insert([(entry, at(1_000_000))]);
                inserted.lock().unwrap().push(entry);
                if i % 5000 == 4999 {
                    filter.rotate(at(i), Duration::from_secs(1));
                }
            }
        });
        scope.spawn({
            let (filter, inserted) = (&filter, &inserted);
            move || {
                let mut turn = 0_usize;
                while !writer.is_finished() {
                    let known = {
                        let all = inserted.lock().unwrap();
                        all.get(turn % all.len().max(1)).copied()
                    };
                    turn = turn.wrapping_mul(7).wrapping_add(13);
                    if let Some(known) = known {
                        assert!(has(filter, known));
                    }
                }
            }
        });
    });
}
