//! PostgreSQL that answers late, not at all, or not as it should: nothing is claimed that is not so.

use std::time::Duration;

use kickout::{
    app::{App, BuildError},
    clock::Clock,
    config::Config,
    database::{Database, DatabaseError},
    ids::{Seq, TokenId},
    instance::DataFolder,
    revocation::{
        Act, Target,
        known::Exact,
        ledger::{Has, Ledger},
    },
};

use super::support::{
    ledger::{self, done, ledger_at},
    postgres::{self, Server},
    proxy::{Fate, LATE, Proxy},
    wait::eventually,
};

async fn revoke(ledger: &Ledger) -> (TokenId, Result<Seq, DatabaseError>) {
    let token = TokenId::random();
    let recorded = ledger.record(&[Act::Token(token)]).await;
    (token, recorded.map(|mut recorded| done(recorded.outcomes.remove(0)).seq))
}

/// A ledger behind a proxy, and the database's own URL.
async fn behind_a_proxy() -> (Proxy, String, Ledger) {
    let server = Server::shared();
    let url = server.database().await;
    let proxy = Proxy::start(server.port()).await;
    let (_, ledger) = ledger_at(&url.replace(&server.port().to_string(), &proxy.port().to_string())).await;
    (proxy, url, ledger)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_however_it_was_lost() {
    for fate in [Fate::AnswerLost, Fate::Late, Fate::Silence] {
        let (proxy, _, ledger) = behind_a_proxy().await;
        assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(1));
        proxy.next_commit(fate);
        let limit = Duration::from_secs(30);
        let (token, seq) = tokio::time::timeout(limit, revoke(&ledger)).await.expect("an answer in bounded time");
        assert!(proxy.is_over(), "{fate:?}");
        assert_eq!(seq.unwrap(), Seq(2), "{fate:?}");
        assert_eq!(ledger.exact(Target::Token(token), Has::Number(Seq(0))).await.unwrap(), Exact::Revoked, "{fate:?}");
        assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(3), "{fate:?}");
    }
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_not_claimed() {
    let (proxy, _, ledger) = behind_a_proxy().await;
    proxy.next_commit(Fate::Lost);
    let (token, seq) = revoke(&ledger).await;
    assert!(proxy.is_over());
    let error = seq.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    // Nor does it arrive later.
    tokio::time::sleep(LATE).await;
    assert_eq!(ledger.exact(Target::Token(token), Has::Number(Seq(0))).await.unwrap(), Exact::Absent);
    let behind = ledger.exact(Target::Token(token), Has::Number(Seq(99))).await.unwrap_err();
    assert!(behind.is_temporary() && behind.to_string().contains("old primary"), "{behind}");
    assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(1));
}

/// Whoever has waited longest for the number gets it when the transaction that was lost is undone.
#[tokio::test]
async fn a_number_that_somebody_else_took_does_not_tell_of_a_commit_that_was_lost() {
    let (proxy, url, ledger) = behind_a_proxy().await;
    let (_, other) = ledger_at(&url).await;
    proxy.next_commit(Fate::Held);
    let ((token, lost), (_, winner)) = tokio::join!(revoke(&ledger), async {
        eventually!(proxy.is_over());
        let (winner, ()) = tokio::join!(revoke(&other), async {
            let waits = "SELECT count(*) FROM pg_stat_activity
                         WHERE wait_event_type = 'Lock' AND datname = current_database()";
            eventually!(postgres::number(&url, waits).await == 1);
            proxy.cut();
        });
        winner
    });
    assert_eq!(winner.unwrap(), Seq(1));
    let error = lost.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    assert_eq!(ledger.exact(Target::Token(token), Has::Number(Seq(1))).await.unwrap(), Exact::Absent);
}

#[tokio::test]
async fn a_connection_that_the_server_ends_costs_one_answer_at_most() {
    let url = Server::shared().database().await;
    let (database, ledger) = ledger_at(&url).await;
    let user = ledger::user(&database).await;
    revoke(&ledger).await.1.unwrap();
    // In the middle of a transaction: it waits for a row that somebody else holds.
    let (other, _) = ledger_at(&url).await;
    let mut rival = other.begin().await.unwrap();
    kickout::database::sql("SELECT id FROM users {for update}").fetch_all(&mut rival).await.unwrap();
    let acts = [Act::Ban(user)];
    let (recorded, ()) = tokio::join!(ledger.record(&acts), async {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while postgres::number(&url, end).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let error = recorded.unwrap_err();
    assert!(error.is_temporary(), "{error}");
    rival.rollback().await;
    assert_eq!(done(ledger.record(&acts).await.unwrap().outcomes.remove(0)).seq, Seq(2));
}

/// As a node that is stopped, or cut off, between two statements: everybody else needs the row that it holds.
#[tokio::test]
async fn who_stands_still_in_the_middle_of_a_transaction_costs_others_a_wait_and_no_answer() {
    let url = Server::shared().database().await;
    let (_, ledger) = ledger_at(&url).await;
    let (other, _) = ledger_at(&url).await;
    let mut stopped = other.begin().await.unwrap();
    kickout::database::sql("SELECT seq FROM head {for update}").fetch_all(&mut stopped).await.unwrap();
    let (_, recorded) = revoke(&ledger).await;
    assert_eq!(recorded.unwrap(), Seq(1));
    let error = kickout::database::sql("SELECT seq FROM head").fetch_all(&mut stopped).await.unwrap_err();
    assert!(error.is_temporary(), "it is told: {error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_said_and_one_that_is_back_is_used() {
    let server = Server::start();
    let url = server.database().await;
    let (_, ledger) = ledger_at(&url).await;
    let (token, seq) = revoke(&ledger).await;
    assert_eq!(seq.unwrap(), Seq(1));
    server.stop();
    for _ in 0..2 {
        let error = revoke(&ledger).await.1.unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    }
    let error = ledger.exact(Target::Token(token), Has::Number(Seq(0))).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    let error = Database::open_url(&url).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    server.resume();
    assert_eq!(ledger.exact(Target::Token(token), Has::Number(Seq(0))).await.unwrap(), Exact::Revoked);
    assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(2));
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_told_apart() {
    let url = Server::shared().database().await;
    let (_, ledger) = ledger_at(&url).await;
    let name = url.rsplit('/').next().unwrap();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    postgres::run(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on; {others}")).await;
    let errors = [revoke(&ledger).await.1.unwrap_err(), Database::open_url(&url).await.unwrap_err()];
    for error in errors {
        assert!(matches!(error, DatabaseError::ReadOnly(_)) && error.is_temporary(), "{error}");
        assert!(error.to_string().contains("takes no writes"), "{error}");
    }
}

#[tokio::test]
async fn what_is_recorded_is_durable_whatever_the_database_is_set_to() {
    let url = Server::shared().database().await;
    let name = url.rsplit('/').next().unwrap();
    postgres::run(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let (_, ledger) = ledger_at(&url).await;
    assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(1), "this side has set it to on");
    let trick = "CREATE FUNCTION trick() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN PERFORM set_config('synchronous_commit', 'off', true); RETURN new; END $$;
                 CREATE TRIGGER trick BEFORE UPDATE ON head FOR EACH ROW EXECUTE FUNCTION trick()";
    postgres::run(&url, trick).await;
    let (token, seq) = revoke(&ledger).await;
    let error = seq.unwrap_err();
    assert!(matches!(error, DatabaseError::Setup(_)) && error.to_string().contains("to off"), "{error}");
    assert_eq!(ledger.exact(Target::Token(token), Has::Number(Seq(0))).await.unwrap(), Exact::Absent);
}

#[tokio::test]
async fn a_transaction_undone_for_the_sake_of_another_one_is_tried_again() {
    let url = Server::shared().database().await;
    let (_, ledger) = ledger_at(&url).await;
    let trick = "CREATE SEQUENCE tries;
                 CREATE FUNCTION trick() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF nextval('tries') <= 2 THEN RAISE EXCEPTION USING errcode = '40P01'; END IF;
                     RETURN new;
                 END $$;
                 CREATE TRIGGER trick BEFORE UPDATE ON head FOR EACH ROW EXECUTE FUNCTION trick()";
    postgres::run(&url, trick).await;
    assert_eq!(revoke(&ledger).await.1.unwrap(), Seq(1));
}

#[tokio::test]
async fn nodes_that_start_at_once_make_one_schema_and_one_ledger() {
    let url = Server::shared().database().await;
    let (a, b, c, d) = tokio::join!(ledger_at(&url), ledger_at(&url), ledger_at(&url), ledger_at(&url));
    for other in [b, c, d] {
        assert_eq!(a.1.id(), other.1.id());
    }
}

#[tokio::test]
async fn a_database_that_cannot_hold_a_ledger_is_refused_with_the_reason() {
    let server = Server::shared();
    let error = Database::open_url(&server.url("nowhere")).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Refused(_)) && error.to_string().contains("nowhere"), "{error}");
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    postgres::run(&server.url("postgres"), create).await;
    let error = Database::open_url(&server.url("latin")).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Setup(_)) && error.to_string().contains("UTF8"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_the_start_with_a_word_and_without_the_url() {
    let root = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.database.url = "postgres://u:hunter2@127.0.0.1:1/x".to_owned().into();
    let folder = DataFolder::open(root.path()).unwrap();
    let error = App::build(config, Clock::System, folder).await.unwrap_err();
    assert!(matches!(error, BuildError::Database { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
