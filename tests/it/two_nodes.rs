//! Two nodes on one PostgreSQL: whatever they do at once, the ledger is one history, and nobody who was ended lives on.

use std::{cell::Cell, collections::HashMap, time::Duration};

use kickout::{
    clock::Timestamp,
    database::{Database, sql},
    ids::{Generation, Seq, SessionId, Subject, TokenId},
    revocation::{
        Act, Outcome, Target,
        feed::{Cursor, Except, Link, Tag},
        ledger::{Done, Ledger},
    },
    sessions::{
        Settings,
        devices::{Client, Devices, NewSession},
    },
};

use super::support::{
    ledger::{self, done, ledger_at},
    postgres::{self, Server},
};

const ROUNDS: usize = 150;

/// Numbers that look random and are the same in every run.
struct Dice(Cell<u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// Below `sides`.
    fn roll(&self, sides: usize) -> usize {
        let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.set(next);
        usize::try_from(next >> 33).unwrap() % sides
    }
}

/// Two nodes, each with connections of its own.
struct Pair {
    url: String,
    one: Ledger,
    two: Ledger,
    database: Database,
    other: Database,
}

impl Pair {
    async fn start() -> Self {
        let url = Server::shared().database().await;
        let (database, one) = ledger_at(&url).await;
        let (other, two) = ledger_at(&url).await;
        Self { url, one, two, database, other }
    }

    /// A login at the first node.
    async fn log_in(&self, subject: Subject, version: i64) -> Option<(SessionId, Generation)> {
        log_in(&self.database, &self.one, subject, version).await
    }

    /// How many circles the server had to break. The pair is over then: a connection counts when it ends.
    async fn deadlocks(self) -> i64 {
        self.database.close().await;
        self.other.close().await;
        let counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        postgres::number(&self.url, counted).await
    }

    async fn floor(&self) -> Generation {
        self.one.head().await.unwrap().floor
    }
}

async fn log_in(
    database: &Database,
    ledger: &Ledger,
    subject: Subject,
    version: i64,
) -> Option<(SessionId, Generation)> {
    let day = Duration::from_hours(24);
    let settings = Settings { grace: Duration::ZERO, idle: day, absolute: day, max_per_user: 100, signup: true };
    let now = ledger.clock().now();
    let new = NewSession::draw(ledger.id(), subject, version, now, settings, &Client::default());
    let generation = Devices::new(database.clone()).open(&new).await.unwrap()?;
    Some((new.id(), generation))
}

/// 60 sessions of one user, in the order of nothing.
async fn crowd(database: &Database, subject: Subject, generation: i64) -> Vec<SessionId> {
    let far = 9_000_000_000_000_i64;
    let rows = sql("INSERT INTO sessions (id, user_id, generation, secret, rotated_at, created_at, last_used_at,
                                          expires_at, absolute_until)
                    SELECT gen_random_uuid(), $1, $4, $2, 0, 0, 0, $3, $3 FROM generate_series(1, 60) RETURNING id")
    .bind(subject.uuid())
    .bind([7_u8; 32].as_slice())
    .bind(far)
    .bind(generation)
    .fetch_all(&mut database.write().await.unwrap())
    .await
    .unwrap();
    rows.iter().map(|row| row.uuid("id").unwrap().into()).collect()
}

/// Whether a session's row has ended, and its generation.
async fn row(database: &Database, session: SessionId) -> (bool, Generation) {
    let row = sql("SELECT ended_at, generation FROM sessions WHERE id = $1")
        .bind(session.uuid())
        .fetch_one(&mut database.read().await.unwrap())
        .await
        .unwrap();
    (row.opt_int("ended_at").unwrap().is_some(), Generation(row.int("generation").unwrap()))
}

/// The floor that a transaction has set for a subject.
async fn floor_of(ledger: &Ledger, done: &Done) -> Generation {
    let batches = ledger.page(Seq(done.seq.0 - 1)).await.unwrap();
    let row = batches[0].rows.iter().find(|row| row.target == done.target).unwrap();
    row.floor.unwrap().generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_two_nodes_record_at_once_is_one_history_without_a_hole_and_nobody_waits_in_a_circle() {
    let pair = Pair::start().await;
    let mut sessions = Vec::new();
    let mut users = Vec::new();
    for _ in 0..8 {
        let user = ledger::user(&pair.database).await;
        users.push(user);
        for _ in 0..6 {
            sessions.push((user, ledger::session(&pair.database, user, 0).await));
        }
    }
    let (recorded, writing) = (Cell::new(0_i64), Cell::new(4));
    let act = |dice: &Dice| {
        let (subject, session) = sessions[dice.roll(sessions.len())];
        match dice.roll(12) {
            0 => Act::Everything,
            1 => Act::Ban(users[dice.roll(users.len())]),
            2 => Act::Password { subject, version: 0, password: "x".into(), keep: Some(session) },
            3 | 4 => Act::Subject { subject, keep: Some(session) },
            5 => Act::Subject { subject: users[dice.roll(users.len())], keep: None },
            6..9 => Act::Token(TokenId::random()),
            _ => Act::Session { session, of: None },
        }
    };
    let write = async |ledger: &Ledger, database: &Database, seed: u64| {
        let dice = Dice::new(seed);
        for _ in 0..ROUNDS {
            let acts: Vec<Act> = (0..=dice.roll(5)).map(|_| act(&dice)).collect();
            let result = ledger.record(&acts).await.unwrap();
            assert_eq!(result.outcomes.len(), acts.len());
            recorded.set(recorded.get() + i64::from(result.batch.is_some()));
            for outcome in result.outcomes {
                if let Outcome::Done(done) = outcome {
                    assert!(done.seq.0 <= ledger.cursor().await.unwrap().seq.0, "a number from the future");
                }
            }
            log_in(database, ledger, users[dice.roll(users.len())], 0).await;
        }
        writing.set(writing.get() - 1);
    };
    // Follows the pages from the beginning while they are being written.
    let follow = async {
        let mut at: Option<Cursor> = None;
        loop {
            let is_last = writing.get() == 0;
            let page = pair.two.page(at.map_or(Seq(0), |at| at.seq)).await.unwrap();
            for batch in &page {
                let before = at.unwrap_or(Cursor { seq: Seq(0), tag: batch.prev });
                assert_eq!(batch.link(pair.one.id(), before), Link::Next, "{batch:?} after {before:?}");
                at = Some(batch.cursor);
            }
            if is_last && page.is_empty() {
                return at.unwrap();
            }
        }
    };
    let ((), (), (), (), end) = tokio::join!(
        write(&pair.one, &pair.database, 1),
        write(&pair.two, &pair.other, 2),
        write(&pair.one, &pair.database, 3),
        write(&pair.two, &pair.other, 4),
        follow
    );
    assert_eq!(end, pair.one.cursor().await.unwrap());
    assert_eq!(end.seq.0, recorded.get(), "one number for each transaction, and none without");
    assert_eq!(pair.deadlocks().await, 0);
}

#[tokio::test]
async fn nodes_that_end_the_same_sessions_in_opposite_orders_do_not_wait_in_a_circle() {
    let pair = Pair::start().await;
    for round in 0..ROUNDS / 5 {
        // Enough that taking all the locks takes a while.
        let (mut acts, mut subjects) = (Vec::new(), Vec::new());
        // What a round before has ended with everything else must not be what these sessions are born with.
        let floor = pair.one.head().await.unwrap().floor.0;
        for _ in 0..4 {
            let subject = ledger::user(&pair.database).await;
            subjects.push(Act::Subject { subject, keep: None });
            let sessions = crowd(&pair.database, subject, floor).await;
            acts.extend(sessions.into_iter().map(|session| Act::Session { session, of: None }));
        }
        let mut opposite = acts.clone();
        opposite.reverse();
        let other = match round % 3 {
            0 => opposite,
            1 => subjects,
            _ => vec![Act::Everything],
        };
        let (one, two) = tokio::join!(pair.one.record(&acts), pair.two.record(&other));
        let already = |outcomes: Vec<Outcome>| outcomes.into_iter().filter(|o| done(o.clone()).already).count();
        let both = already(one.unwrap().outcomes) + already(two.unwrap().outcomes);
        assert!(round % 3 != 0 || both == acts.len(), "each was ended once, and once found ended");
    }
    assert_eq!(pair.deadlocks().await, 0);
}

#[tokio::test]
async fn a_subject_and_everything_ended_at_once_leave_no_session_from_before() {
    let pair = Pair::start().await;
    let mut first = HashMap::new();
    for round in 0..ROUNDS {
        let user = ledger::user(&pair.database).await;
        let (before, _) = pair.log_in(user, 0).await.unwrap();
        let (mine, _) = pair.log_in(user, 0).await.unwrap();
        let keep = (round % 2 == 0).then_some(mine);
        let acts = [Act::Subject { subject: user, keep }];
        let subject = pair.one.record(&acts);
        // It has less to do than the other: with some delay either comes first.
        let everything = async {
            tokio::time::sleep(Duration::from_millis(u64::try_from(round % 5).unwrap())).await;
            pair.two.record(&[Act::Everything]).await
        };
        let meanwhile = pair.log_in(user, 0);
        let (subject, everything, meanwhile) = if round % 4 < 2 {
            tokio::join!(subject, everything, meanwhile)
        } else {
            let (meanwhile, everything, subject) = tokio::join!(meanwhile, everything, subject);
            (subject, everything, meanwhile)
        };
        let subject = done(subject.unwrap().outcomes.remove(0));
        let everything = done(everything.unwrap().outcomes.remove(0));
        let order = if subject.seq < everything.seq { "subject first" } else { "everything first" };
        *first.entry(order).or_insert(0) += 1;

        let (global, own) = (pair.floor().await, floor_of(&pair.one, &subject).await);
        let is_dead = |generation: Generation| generation < global || generation < own;
        for session in [before, mine] {
            let (has_ended, generation) = row(&pair.database, session).await;
            assert!(has_ended || generation < global, "round {round}: a session from before lives on");
        }
        if let Some(kept) = &subject.kept {
            *first.entry("kept").or_insert(0) += 1;
            assert!(subject.seq < everything.seq && kept.generation < global, "round {round}: kept over everything");
        }
        if let Some((session, generation)) = meanwhile {
            let (has_ended, now) = row(&pair.database, session).await;
            assert_eq!(now, generation);
            assert!(!has_ended || is_dead(generation), "round {round}: ended, but its tokens are good");
            assert!(has_ended || generation >= own, "round {round}: dead to its subject, but not ended");
        }
        let (_, generation) = pair.log_in(user, 0).await.unwrap();
        assert!(!is_dead(generation), "round {round}: a login from after is dead");
    }
    assert_eq!(first.len(), 3, "not every order was seen: {first:?}");
}

#[tokio::test]
async fn a_session_that_was_to_live_on_does_not_if_everything_is_ended_first() {
    let pair = Pair::start().await;
    let user = ledger::user(&pair.database).await;
    let (mine, _) = pair.log_in(user, 0).await.unwrap();
    // Another node is about to end everything: it holds the head.
    let mut rival = pair.other.begin().await.unwrap();
    sql("SELECT seq FROM head {for update}").fetch_one(&mut rival).await.unwrap();
    let acts = [Act::Subject { subject: user, keep: Some(mine) }];
    let (recorded, ()) = tokio::join!(pair.one.record(&acts), async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while postgres::number(&pair.url, waits).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sql("UPDATE head SET seq = seq + 1, tag = 7, floor = 50, highest_generation = 50")
            .execute(&mut rival)
            .await
            .unwrap();
        rival.commit().await.unwrap();
    });
    let recorded = recorded.unwrap();
    let batch = recorded.batch.unwrap();
    assert_eq!((batch.cursor.seq, batch.prev), (Seq(2), Tag(7)));
    assert_eq!(batch.rows[0].floor.unwrap().except, Except::Nothing);
    assert_eq!(done(recorded.outcomes[0].clone()).kept, None);
    assert!(row(&pair.database, mine).await.0);
}

#[tokio::test]
async fn ending_everything_waits_for_nobody() {
    let pair = Pair::start().await;
    let user = ledger::user(&pair.database).await;
    let (held, generation) = pair.log_in(user, 0).await.unwrap();
    let mut rival = pair.other.begin().await.unwrap();
    let locking = sql("SELECT id FROM sessions WHERE id = $1 {for update}").bind(held.uuid());
    locking.fetch_one(&mut rival).await.unwrap();
    pair.one.record(&[Act::Everything]).await.unwrap();
    rival.rollback().await;
    assert!(generation < pair.floor().await);
    let devices = Devices::new(pair.database.clone());
    assert!(devices.list(user, pair.one.clock().now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_login_that_races_what_ends_its_user_dies_with_it_or_does_not_happen() {
    let pair = Pair::start().await;
    let mut seen = HashMap::new();
    for round in 0..3 * ROUNDS {
        let user = ledger::user(&pair.database).await;
        let act = match round % 3 {
            0 => Act::Password { subject: user, version: 0, password: "new".into(), keep: None },
            1 => Act::Ban(user),
            _ => Act::Subject { subject: user, keep: None },
        };
        let acts = [act];
        let pause = Duration::from_micros(u64::try_from(round % 7).unwrap() * 300);
        let login = async {
            tokio::time::sleep(pause).await;
            pair.log_in(user, 0).await
        };
        let (login, recorded) = tokio::join!(login, pair.two.record(&acts));
        let done = done(recorded.unwrap().outcomes.remove(0));
        let floor = floor_of(&pair.one, &done).await;
        let Some((session, generation)) = login else {
            assert!(round % 3 < 2, "nothing forbids a login after a logout");
            *seen.entry("refused").or_insert(0) += 1;
            continue;
        };
        let (has_ended, _) = row(&pair.database, session).await;
        assert_eq!(has_ended, generation < floor, "round {round}: row and ledger do not agree");
        assert!(has_ended || round % 3 == 2, "round {round}: a login with the old password, or of a banned user");
        *seen.entry(if has_ended { "died" } else { "came after" }).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "not every order was seen: {seen:?}");
}

#[tokio::test]
async fn an_act_that_finds_it_done_by_another_node_names_a_number_that_covers_it() {
    let pair = Pair::start().await;
    for _ in 0..ROUNDS {
        let user = ledger::user(&pair.database).await;
        let session = ledger::session(&pair.database, user, 0).await;
        let (all, one) = ([Act::Subject { subject: user, keep: None }], [Act::Session { session, of: Some(user) }]);
        let (all, one) = tokio::join!(pair.one.record(&all), pair.two.record(&one));
        let (all, one) = (done(all.unwrap().outcomes.remove(0)), done(one.unwrap().outcomes.remove(0)));
        assert_eq!((all.target, one.target), (Target::Subject(user), Target::Session(session)));
        assert!(!one.already || one.seq >= all.seq, "{one:?} was done by {all:?}");
    }
}

#[tokio::test]
async fn an_entry_outlives_the_tokens_of_the_node_that_issues_the_longest() {
    let pair = Pair::start().await;
    let long = Duration::from_hours(2);
    let clock = kickout::clock::Clock::System;
    Ledger::open(pair.other.clone(), &clock, long).await.unwrap();
    // This node has not heard of it.
    assert_eq!(pair.one.lifetimes().ceiling(pair.one.clock().now()), ledger::TTL);
    let recorded = pair.one.record(&[Act::Token(TokenId::random())]).await.unwrap();
    assert!(recorded.batch.unwrap().rows[0].until >= pair.one.clock().now() + long);
    pair.one.keep_time().await.unwrap();
    assert_eq!(pair.one.lifetimes().ceiling(pair.one.clock().now()), long);

    // A third one would issue shorter ones; the first one says what it issues.
    let short = Ledger::open(pair.other.clone(), &clock, Duration::from_mins(1)).await.unwrap();
    pair.one.keep_time().await.unwrap();
    short.keep_time().await.unwrap();
    let later = short.clock().now() + Duration::from_hours(3);
    assert_eq!(short.lifetimes().ceiling(later), ledger::TTL);
}

/// The time of its number counts, and not when it began to wait for that.
#[tokio::test]
async fn an_entry_lives_from_when_its_number_is_taken() {
    let pair = Pair::start().await;
    let clock = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let mut rival = pair.other.begin().await.unwrap();
    sql("SELECT seq FROM head {for update}").fetch_one(&mut rival).await.unwrap();
    let acts = [Act::Token(TokenId::random())];
    let (recorded, later) = tokio::join!(pair.one.record(&acts), async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while postgres::number(&pair.url, waits).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let enough = postgres::number(&pair.url, clock).await + 300;
        loop {
            let later = postgres::number(&pair.url, clock).await;
            if later > enough {
                rival.rollback().await;
                return Timestamp::from_millis(later);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let until = recorded.unwrap().batch.unwrap().rows[0].until;
    assert!(until >= later + pair.one.lifetimes().entry(later), "{until}, {later}");
}

#[tokio::test]
async fn a_node_of_another_life_of_the_ledger_records_nothing_and_logs_nobody_in() {
    let pair = Pair::start().await;
    let user = ledger::user(&pair.database).await;
    pair.two.clone().begin_anew().await.unwrap();
    let error = pair.one.record(&[Act::Token(TokenId::random())]).await.unwrap_err();
    assert!(error.to_string().contains("another life"), "{error}");
    assert_eq!(pair.one.cursor().await.unwrap().seq, Seq(0));
    assert_eq!(pair.log_in(user, 0).await, None);
}
