//! What the blocklist promises, over a real Redis: a hit means revoked, a miss means nothing, and whatever happens to
//! Redis is said in bounded time.

mod outages;
mod store;

use std::time::Duration;

use kickout::{
    clock::{Clock, Timestamp},
    ids::{DeploymentId, Generation, KeyId, LedgerId, NodeId, Seq, SessionId, Subject, TokenId},
    revocation::{
        Cause, Presented, Target,
        blocklist::{Blocklist, BlocklistError, Listener, Message, Settings},
        feed::{Batch, Cursor, Except, Floor, Row, Tag},
    },
};

use super::support::{
    redis::Redis,
    wait::{LONG, all, eventually},
};

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(2);

/// What all of this may take on a busy machine beyond its own limit.
const SLACK: Duration = Duration::from_secs(3);

const HOUR_MS: i64 = 3_600_000;

fn now() -> Timestamp {
    Clock::System.wall()
}

fn settings(url: &str, timeout: Duration) -> Settings {
    Settings { url: url.to_owned(), prefix: "test".to_owned(), timeout }
}

async fn open(redis: &Redis, timeout: Duration) -> Blocklist {
    let (blocklist, warnings) = Blocklist::open(settings(&redis.url(), timeout), DeploymentId::random()).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    blocklist
}

async fn refused(url: &str) -> BlocklistError {
    Blocklist::open(settings(url, PATIENCE), DeploymentId::random()).await.unwrap_err()
}

fn presented(epoch: LedgerId, generation: i64) -> Presented {
    Presented {
        token: TokenId::random(),
        session: SessionId::random(),
        subject: Subject::random(),
        generation: Generation(generation),
        epoch,
        key: KeyId::of([0; 32]),
    }
}

fn row(target: Target) -> Row {
    Row { target, floor: None, until: Timestamp::from_millis(now().as_millis() + HOUR_MS) }
}

fn floor(subject: Subject, generation: i64, except: Option<SessionId>) -> Row {
    Row {
        floor: Some(Floor { generation: Generation(generation), except: Except::of(except) }),
        ..row(Target::Subject(subject))
    }
}

fn batch(ledger: LedgerId, rows: Vec<Row>) -> Batch {
    Batch { ledger, prev: Tag(-1), cursor: Cursor { seq: Seq(7), tag: Tag(i64::MAX) }, rows }
}

async fn publish(blocklist: &Blocklist, ledger: LedgerId, rows: Vec<Row>) {
    blocklist.publish(&batch(ledger, rows), now()).await.unwrap();
}

/// A call and how long it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let before = Clock::System.boottime();
    let result = call.await;
    (result, Clock::System.boottime().since(before))
}

/// A place in a history whose tags are its numbers, negated.
fn at(seq: i64) -> Cursor {
    Cursor { seq: Seq(seq), tag: Tag(-seq) }
}

async fn heard(listener: &mut Listener) -> Message {
    tokio::time::timeout(LONG, listener.next()).await.expect("a message").unwrap()
}

#[tokio::test]
async fn a_hit_says_why_and_whoever_is_not_named_is_missed() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let [token, session, other] = [0, 0, 0].map(|generation| presented(ledger, generation));
    assert_eq!(blocklist.look(&token).await, Ok(None));

    publish(&blocklist, ledger, vec![row(Target::Token(token.token)), row(Target::Session(session.session))]).await;
    assert_eq!(blocklist.look(&token).await, Ok(Some(Cause::Token)));
    assert_eq!(blocklist.look(&session).await, Ok(Some(Cause::Session)));
    assert_eq!(blocklist.look(&Presented { token: TokenId::random(), ..token }).await, Ok(None));
    assert_eq!(blocklist.look(&other).await, Ok(None));

    let keys = redis.text(&["DBSIZE"]);
    let everything =
        Row { floor: Some(Floor { generation: Generation(9), except: Except::Nothing }), ..row(Target::Everything) };
    publish(&blocklist, ledger, vec![everything]).await;
    assert_eq!(blocklist.look(&other).await, Ok(None));
    assert_eq!(redis.text(&["DBSIZE"]), keys, "the floor over everything is not stored");
}

#[tokio::test]
async fn a_floor_denies_lower_generations_but_for_the_session_it_spares() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let old = presented(ledger, 4);
    let kept = Presented { session: SessionId::random(), ..old };
    publish(&blocklist, ledger, vec![floor(old.subject, 5, Some(kept.session))]).await;
    assert_eq!(blocklist.look(&old).await, Ok(Some(Cause::Subject)));
    assert_eq!(blocklist.look(&kept).await, Ok(None));
    assert_eq!(blocklist.look(&Presented { generation: Generation(5), ..old }).await, Ok(None));

    publish(&blocklist, ledger, vec![floor(old.subject, 6, None)]).await;
    assert_eq!(blocklist.look(&kept).await, Ok(Some(Cause::Subject)));

    // An older floor that comes late hits less and denies nothing new.
    publish(&blocklist, ledger, vec![floor(old.subject, 5, Some(kept.session))]).await;
    assert_eq!(blocklist.look(&old).await, Ok(Some(Cause::Subject)));
    assert_eq!(blocklist.look(&kept).await, Ok(None));
}

#[tokio::test]
async fn an_entry_ends_with_its_row_and_an_expired_row_has_none() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let [expired, brief, lasting] = [0, 0, 0].map(|generation| presented(ledger, generation));
    let start = now();
    let until = |ms| Timestamp::from_millis(start.as_millis() + ms);
    let rows = vec![
        Row { until: until(0), ..row(Target::Token(expired.token)) },
        Row { until: until(1500), ..row(Target::Token(brief.token)) },
        Row { until: until(HOUR_MS), ..floor(lasting.subject, 1, None) },
    ];
    blocklist.publish(&batch(ledger, rows), start).await.unwrap();
    assert_eq!(blocklist.look(&expired).await, Ok(None));
    let life: i64 = redis.text(&["PTTL", &format!("test:{ledger}:u:{}", lasting.subject)]).parse().unwrap();
    assert!((HOUR_MS - 60_000..=HOUR_MS).contains(&life), "{life}");
    let life: i64 = redis.text(&["PTTL", &format!("test:{ledger}:t:{}", brief.token)]).parse().unwrap();
    assert!(life <= 1500, "{life}");
    eventually!(blocklist.look(&brief).await == Ok(None));
    assert_eq!(blocklist.look(&lasting).await, Ok(Some(Cause::Subject)));
    assert_eq!(redis.text(&["DBSIZE"]), "2", "the marker and the one that lasts");
}

#[tokio::test]
async fn an_entry_of_another_life_of_the_ledger_does_not_count() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let before = presented(ledger, 0);
    publish(&blocklist, ledger, vec![row(Target::Session(before.session))]).await;
    assert_eq!(blocklist.look(&before).await, Ok(Some(Cause::Session)));
    assert_eq!(blocklist.look(&Presented { epoch: LedgerId::random(), ..before }).await, Ok(None));
}

#[tokio::test]
async fn a_look_is_one_command_on_one_connection() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let asked = presented(ledger, 0);
    // The first one connects.
    blocklist.look(&asked).await.unwrap();
    let connections = redis.text(&["INFO", "stats"]);
    redis.command(&["CONFIG", "RESETSTAT"]);
    let answers = all((0..100).map(|_| blocklist.look(&asked))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(None)), "{connections}");
    let mut calls = redis.calls();
    // This test's own, which connects for each command.
    calls.retain(|(name, _)| !["info", "config|resetstat", "client|setinfo"].contains(&name.as_str()));
    assert_eq!(calls, [("mget".to_owned(), 100)]);
    let stats = redis.text(&["INFO", "stats"]);
    let connected = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    assert_eq!(connected, Some("2"), "this test's own");
}

#[tokio::test]
async fn what_vanished_is_missed_and_a_lost_marker_is_set_again() {
    let redis = Redis::start();
    let deployment = DeploymentId::random();
    let (blocklist, _) = Blocklist::open(settings(&redis.url(), PATIENCE), deployment).await.unwrap();
    let dead = presented(LedgerId::random(), 0);
    let rows = vec![row(Target::Token(dead.token)), row(Target::Session(dead.session))];
    publish(&blocklist, dead.epoch, rows.clone()).await;
    redis.command(&["DEL", &format!("test:{}:t:{}", dead.epoch, dead.token)]);
    assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Session)), "one was evicted");
    redis.command(&["FLUSHALL"]);
    assert_eq!(blocklist.look(&dead).await, Ok(None));
    assert_eq!(redis.text(&["GET", "test:deployment"]), "");

    publish(&blocklist, dead.epoch, rows).await;
    assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Token)));
    assert_eq!(redis.text(&["GET", "test:deployment"]), deployment.to_string());
}

#[tokio::test]
async fn a_value_that_nobody_here_has_written_is_a_miss() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let alive = presented(ledger, 3);
    let key = |kind, id: String| format!("test:{ledger}:{kind}:{id}");
    let [token, session, subject] =
        [key('t', alive.token.to_string()), key('s', alive.session.to_string()), key('u', alive.subject.to_string())];
    for value in ["", "0", "3", "x", "4 x", "+4", "99999999999999999999", "\u{0}"] {
        for key in [&session, &subject, &token] {
            redis.command(&["SET", key, value]);
        }
        assert_eq!(blocklist.look(&alive).await, Ok(None), "{value:?}");
    }
    for key in [&token, &session, &subject] {
        redis.command(&["DEL", key]);
        redis.command(&["RPUSH", key, "1"]);
    }
    assert_eq!(blocklist.look(&alive).await, Ok(None), "not even texts");
    assert!(blocklist.is_healthy());
    redis.command(&["SET", &subject, "4"]);
    assert_eq!(blocklist.look(&alive).await, Ok(Some(Cause::Subject)), "the keys are the right ones");
}

#[tokio::test]
async fn many_rows_are_all_entered() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let mut listener = blocklist.listen().await.unwrap();
    let subjects: Vec<_> = (0..1000).map(|_| Subject::random()).collect();
    let rows = subjects.iter().map(|subject| floor(*subject, 1, Some(SessionId::random()))).collect();
    publish(&blocklist, ledger, rows).await;
    assert_eq!(heard(&mut listener).await, Message::News(Seq(7)), "too long to be told");
    for subject in [subjects[0], subjects[255], subjects[256], subjects[999]] {
        assert_eq!(blocklist.look(&Presented { subject, ..presented(ledger, 0) }).await, Ok(Some(Cause::Subject)));
    }
    assert_eq!(redis.text(&["DBSIZE"]), "1001");
}

#[tokio::test]
async fn a_push_is_heard_as_it_was_recorded_and_in_order() {
    let redis = Redis::start();
    let (one, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let mut listener = one.listen().await.unwrap();
    let spared = Some(SessionId::random());
    let everything =
        Row { floor: Some(Floor { generation: Generation(3), except: Except::Nothing }), ..row(Target::Everything) };
    let mut said = Vec::new();
    for seq in 1..=20 {
        let rows = vec![
            row(Target::Token(TokenId::random())),
            row(Target::Session(SessionId::random())),
            floor(Subject::random(), i64::MAX, spared),
            floor(Subject::random(), i64::MIN, None),
            everything,
        ];
        said.push(Batch { cursor: at(seq), ..batch(ledger, rows) });
        one.publish(said.last().unwrap(), now()).await.unwrap();
    }
    for batch in said {
        assert_eq!(heard(&mut listener).await, Message::Push(batch));
    }
    let node = NodeId::random();
    one.acknowledge(node, ledger, at(20)).await.unwrap();
    assert_eq!(heard(&mut listener).await, Message::Ack { node, ledger, at: at(20) });
}

#[tokio::test]
async fn what_makes_no_sense_is_said_to_be_garbage_and_the_next_message_is_heard() {
    let redis = Redis::start();
    let (blocklist, ledger, node) = (open(&redis, PATIENCE).await, LedgerId::random(), NodeId::random());
    let mut listener = blocklist.listen().await.unwrap();
    let good = format!(r#"{{"v":1,"node":"{node}","ledger":"{ledger}","seq":1,"tag":-1}}"#);
    let huge = format!("{good}{}", " ".repeat(2 * 1024 * 1024));
    let newer = good.replace(r#""v":1"#, r#""v":2"#);
    for (channel, payload) in [
        ("test:feed", ""),
        ("test:feed", "{"),
        ("test:feed", &good),
        ("test:ack", &newer),
        ("test:ack", &huge),
        ("test:ack", "\u{0}\u{1}"),
    ] {
        redis.command(&["PUBLISH", channel, payload]);
        assert_eq!(heard(&mut listener).await, Message::Garbage, "{channel}: {payload:.60}");
    }
    redis.command(&["PUBLISH", "test:other", "not for us"]);
    redis.command(&["PUBLISH", "test:ack", &good]);
    assert_eq!(heard(&mut listener).await, Message::Ack { node, ledger, at: at(1) });
}

#[tokio::test]
async fn a_listener_that_is_not_asked_says_that_it_has_lost_messages() {
    let redis = Redis::start();
    let (blocklist, ledger, node) = (open(&redis, PATIENCE).await, LedgerId::random(), NodeId::random());
    let mut listener = blocklist.listen().await.unwrap();
    for seq in 0..1100 {
        blocklist.acknowledge(node, ledger, at(seq)).await.unwrap();
    }
    let mut last = Ok(());
    eventually!({
        last = listener.next().await.map(drop);
        last.is_err()
    });
    assert_eq!(last, Err(BlocklistError::Behind));
    let mut again = blocklist.listen().await.unwrap();
    blocklist.acknowledge(node, ledger, at(1)).await.unwrap();
    assert_eq!(heard(&mut again).await, Message::Ack { node, ledger, at: at(1) });
}

#[tokio::test]
async fn another_deployments_prefix_is_refused() {
    let redis = Redis::start();
    let (mine, other) = (DeploymentId::random(), DeploymentId::random());
    let open = |prefix: &str, deployment| {
        let settings = Settings { prefix: prefix.to_owned(), ..settings(&redis.url(), PATIENCE) };
        Blocklist::open(settings, deployment)
    };
    open("test", mine).await.unwrap();
    open("test", mine).await.expect("the nodes of one deployment share it");
    let refused = open("test", other).await.unwrap_err();
    assert_eq!(refused, BlocklistError::Foreign { prefix: "test".to_owned() });
    let said = refused.to_string();
    assert!(said.contains("redis.prefix") && said.contains("test:deployment"), "{said}");
    open("other", other).await.unwrap();
    assert_eq!(redis.text(&["GET", "test:deployment"]), mine.to_string());
    redis.command(&["DEL", "test:deployment"]);
    redis.command(&["LPUSH", "test:deployment", "what"]);
    assert!(open("test", mine).await.is_err(), "something else is there");
}

#[tokio::test]
async fn a_server_that_will_not_do_is_refused_and_the_message_says_what_to_do() {
    let gone = Redis::start();
    gone.stop();
    let (error, took) = timed(refused(&gone.url())).await;
    assert!(matches!(error, BlocklistError::Unreachable(_)), "{error:?}");
    assert!(took < Duration::from_secs(5) + SLACK, "{took:?}");

    let cluster = Redis::with_args(&["--cluster-enabled", "yes"]);
    let error = refused(&cluster.url()).await;
    assert!(matches!(error, BlocklistError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("single server"), "{error}");

    let primary = Redis::start();
    let replica = Redis::with_args(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let error = refused(&replica.url()).await;
    assert!(matches!(error, BlocklistError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("primary"), "{error}");

    for (url, said) in
        [("redis://u:hunter2@:x", "redis://user:password@host"), ("hunter2", "redis://user:password@host")]
    {
        let error = refused(url).await;
        assert!(matches!(error, BlocklistError::Address(_)), "{error:?}");
        assert!(error.to_string().contains(said) && !error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_none_is_shown() {
    let redis = Redis::with_args(&["--requirepass", "s3cret-right"]);
    for url in [
        format!("redis://:s3cret-wrong@127.0.0.1:{}", redis.port()),
        format!("redis://somebody:s3cret-wrong@127.0.0.1:{}", redis.port()),
        format!("redis://127.0.0.1:{}", redis.port()),
    ] {
        let error = refused(&url).await;
        assert!(matches!(error, BlocklistError::Refused(_)), "{error:?}");
        let shown = format!("{error} {error:?} {:?}", settings(&url, PATIENCE));
        assert!(shown.contains("redis.url") && !shown.contains("s3cret"), "{shown}");
    }
    let blocklist = open(&redis, PATIENCE).await;
    let listener = blocklist.listen().await.unwrap();
    let shown = format!("{blocklist:?} {listener:?}");
    assert!(shown.contains("test") && !shown.contains("s3cret") && !shown.contains("127.0.0.1"), "{shown}");
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let redis = Redis::start();
    let rights = "on >s3cret resetkeys ~test:* resetchannels &test:* -@all +get +mget +set +del +eval +multi +exec +publish \
                  +subscribe +ping +info +unwatch +hello";
    let words: Vec<&str> = ["ACL", "SETUSER", "kickout"].into_iter().chain(rights.split_ascii_whitespace()).collect();
    redis.command(&words);
    let url = format!("redis://kickout:s3cret@127.0.0.1:{}", redis.port());
    let (blocklist, warnings) = Blocklist::open(settings(&url, PATIENCE), DeploymentId::random()).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let mut listener = blocklist.listen().await.unwrap();
    let dead = presented(LedgerId::random(), 0);
    for _ in 0..3 {
        let batch = batch(dead.epoch, vec![row(Target::Token(dead.token))]);
        blocklist.publish(&batch, now()).await.unwrap();
        assert_eq!(heard(&mut listener).await, Message::Push(batch));
        assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Token)));
        blocklist.acknowledge(NodeId::random(), dead.epoch, at(7)).await.unwrap();
        assert!(matches!(heard(&mut listener).await, Message::Ack { .. }));
    }
    let log = redis.command(&["ACL", "LOG"]);
    assert_eq!(format!("{log:?}"), "array([])", "nothing was refused");

    redis.command(&["ACL", "SETUSER", "kickout", "-info"]);
    let (_, warnings) =
        Blocklist::open(Settings { prefix: "test:2".to_owned(), ..settings(&url, PATIENCE) }, DeploymentId::random())
            .await
            .unwrap();
    assert!(warnings[0].contains("INFO"), "{warnings:?}");
    redis.command(&["ACL", "SETUSER", "kickout", "-mget", "-publish", "-subscribe"]);
    assert!(matches!(blocklist.look(&dead).await, Err(BlocklistError::Refused(_))));
    assert!(matches!(
        blocklist.acknowledge(NodeId::random(), dead.epoch, at(7)).await,
        Err(BlocklistError::Refused(_))
    ));
    assert!(matches!(blocklist.listen().await, Err(BlocklistError::Refused(_))));
}

#[tokio::test]
async fn an_evicting_server_is_used_with_a_warning() {
    let redis = Redis::with_args(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let (blocklist, warnings) =
        Blocklist::open(settings(&redis.url(), PATIENCE), DeploymentId::random()).await.unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("allkeys-lru") && warnings[0].contains("no revocation"), "{warnings:?}");
    assert_eq!(blocklist.look(&presented(LedgerId::random(), 0)).await, Ok(None));
}

#[tokio::test]
async fn a_quiet_listener_stays_and_loses_nothing_to_a_caller_that_gives_up_waiting() {
    let redis = Redis::start();
    let (blocklist, ledger, node) = (open(&redis, PATIENCE).await, LedgerId::random(), NodeId::random());
    let mut listener = blocklist.listen().await.unwrap();
    redis.command(&["CONFIG", "RESETSTAT"]);
    let pings = || redis.calls().into_iter().find(|(name, _)| name == "ping").map_or(0, |(_, calls)| calls);
    // Callers that never wait long do not keep it from being tried.
    eventually!({
        let nothing = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        pings() >= 3
    });
    blocklist.acknowledge(node, ledger, at(1)).await.unwrap();
    assert_eq!(heard(&mut listener).await, Message::Ack { node, ledger, at: at(1) });
}

#[tokio::test]
async fn the_server_of_a_test_is_empty_after_a_stop() {
    let redis = Redis::start();
    redis.command(&["SET", "a", "b"]);
    assert_eq!(redis.text(&["GET", "a"]), "b");
    redis.stop();
    redis.resume();
    assert_eq!(redis.text(&["GET", "a"]), "");
}
