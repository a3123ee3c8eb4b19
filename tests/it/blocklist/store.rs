//! Redis where every check asks it and nothing else: what it is told stays, and whether it has everything is known.

use super::*;
use kickout::revocation::{
    blocklist::asked::{Dead, Entered, Entry, Told},
    known::Floors,
};

const HOUR: Duration = Duration::from_hours(1);

fn floors(generation: i64) -> Floors {
    Floors::default().and(Floor { generation: Generation(generation), except: Except::Nothing })
}

/// A Redis that has been told that nothing is revoked.
async fn filled(redis: &Redis, ledger: LedgerId) -> Blocklist {
    let blocklist = open(redis, PATIENCE).await;
    let mark = blocklist.begin_filling(ledger).await.unwrap();
    assert!(blocklist.filled(ledger, &mark, Seq(1), Generation(0), &[]).await.unwrap());
    blocklist
}

async fn enter(blocklist: &Blocklist, ledger: LedgerId, entry: Entry, life: Duration, seq: i64) -> Entered {
    blocklist.enter_all(ledger, &[(entry, life)], Seq(seq)).await.unwrap()
}

#[tokio::test]
async fn each_entry_denies_what_it_names_and_nothing_else() {
    let (redis, ledger) = (Redis::start(), LedgerId::random());
    let blocklist = filled(&redis, ledger).await;
    let [by_token, by_session, by_floor, other] = [0; 4].map(|generation| presented(ledger, generation));
    for one in [&by_token, &by_session, &by_floor, &other] {
        assert_eq!(blocklist.decide(one).await, Ok(Told::Alive));
    }
    enter(&blocklist, ledger, Entry::Dead(Dead::Token(by_token.token)), HOUR, 2).await;
    enter(&blocklist, ledger, Entry::Dead(Dead::Session(by_session.session)), HOUR, 3).await;
    enter(&blocklist, ledger, Entry::Floors(by_floor.subject, floors(1)), HOUR, 4).await;
    for (one, cause) in [(&by_token, Cause::Token), (&by_session, Cause::Session), (&by_floor, Cause::Subject)] {
        assert_eq!(blocklist.decide(one).await, Ok(Told::Dead(cause)));
    }
    assert_eq!(blocklist.decide(&Presented { generation: Generation(1), ..by_floor }).await, Ok(Told::Alive));
    assert_eq!(blocklist.decide(&other).await, Ok(Told::Alive));
    enter(&blocklist, ledger, Entry::All(Generation(0), vec![other.key]), HOUR, 5).await;
    assert_eq!(blocklist.decide(&other).await, Ok(Told::Dead(Cause::Key)));
    enter(&blocklist, ledger, Entry::All(Generation(1), Vec::new()), HOUR, 6).await;
    assert_eq!(blocklist.decide(&other).await, Ok(Told::Dead(Cause::Everything)));
}

#[tokio::test]
async fn what_was_emptied_while_it_was_filled_is_not_whole() {
    let (redis, ledger) = (Redis::start(), LedgerId::random());
    let (blocklist, someone) = (open(&redis, PATIENCE).await, presented(ledger, 0));
    assert_eq!(blocklist.decide(&someone).await, Ok(Told::Lost), "nobody has filled it");
    let mark = blocklist.begin_filling(ledger).await.unwrap();
    enter(&blocklist, ledger, Entry::Dead(Dead::Token(someone.token)), HOUR, 7).await;
    redis.command(&["FLUSHALL"]);
    assert!(!blocklist.filled(ledger, &mark, Seq(7), Generation(0), &[]).await.unwrap());
    assert_eq!(blocklist.told(ledger).await, Ok(None));
    assert_eq!(blocklist.decide(&someone).await, Ok(Told::Lost));
    // Nor does somebody who knows only the newest make it so.
    let entered = enter(&blocklist, ledger, Entry::All(Generation(0), Vec::new()), HOUR, 8).await;
    assert!(entered.is_lost, "{entered:?}");
    assert_eq!(blocklist.decide(&someone).await, Ok(Told::Lost));
}

#[tokio::test]
async fn an_older_reading_does_not_replace_a_newer_one() {
    let (redis, ledger) = (Redis::start(), LedgerId::random());
    let (blocklist, someone) = (filled(&redis, ledger).await, presented(ledger, 2));
    let entered = enter(&blocklist, ledger, Entry::Floors(someone.subject, floors(3)), HOUR, 5).await;
    assert_eq!((entered.newer, entered.is_lost), (None, false));
    let entered = enter(&blocklist, ledger, Entry::Floors(someone.subject, floors(2)), HOUR, 4).await;
    assert_eq!(entered.newer, Some(Seq(5)));
    assert_eq!(blocklist.decide(&someone).await, Ok(Told::Dead(Cause::Subject)));
    // Up to where all of it stands there is said by who has written what lies between.
    blocklist.raise_told(ledger, Seq(1), Seq(5)).await.unwrap();
    blocklist.raise_told(ledger, Seq(1), Seq(9)).await.unwrap();
    assert_eq!(blocklist.told(ledger).await, Ok(Some(Seq(5))));
}

#[tokio::test]
async fn an_entry_that_is_written_again_ends_no_earlier() {
    let (redis, ledger) = (Redis::start(), LedgerId::random());
    let (blocklist, someone) = (filled(&redis, ledger).await, presented(ledger, 0));
    for life in [HOUR, Duration::from_millis(1)] {
        enter(&blocklist, ledger, Entry::Dead(Dead::Token(someone.token)), life, 2).await;
        enter(&blocklist, ledger, Entry::Floors(someone.subject, floors(1)), life, 2).await;
    }
    for kind in [format!("t:{}", someone.token), format!("f:{}", someone.subject)] {
        let left = redis.command(&["PTTL", &format!("test:{ledger}:{kind}")]);
        let left: i64 = deadpool_redis::redis::from_redis_value_ref(&left).expect("a number");
        assert!(left > HOUR_MS / 2, "{kind}: {left} ms");
    }
}
