//! A node without HTTP: a ledger on either database, with a replica and a checker over it, and hands on its clocks.

use std::{sync::Arc, time::Duration};

use kickout::{
    clock::{Clock, ManualClock},
    database::{Database, DatabaseError, sql},
    ids::{Generation, KeyId, SessionId, Subject, TokenId},
    revocation::{
        Act, Checker, Outcome, Presented, Verdict,
        feed::Link,
        filter::Settings,
        ledger::{Done, Ledger},
        sync::Replica,
    },
    telemetry::metrics::Metrics,
};
use tempfile::TempDir;

use super::postgres::{self, Server};

/// Each of these is run on both databases.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::Store::sqlite()).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::Store::postgres().await).await;
                }
            )*
        }
    };
}

pub(crate) use on_both;

/// When the clocks of a test begin, in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;

/// How long access tokens live, unless a test says otherwise.
pub(crate) const TTL: Duration = Duration::from_mins(15);

/// A database that nobody else uses.
#[derive(Debug)]
pub(crate) enum Store {
    Sqlite(TempDir),
    Postgres(String),
}

impl Store {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// On the shared server, with a clock that moves only when it is told to: `clock_timestamp()` is found in `public`
    /// before the server's own.
    pub(crate) async fn postgres() -> Self {
        let url = Server::shared().database().await;
        let name = url.rsplit('/').next().unwrap();
        let clock = format!(
            "CREATE TABLE test_clock (ms bigint NOT NULL);
             INSERT INTO test_clock VALUES ({START_MS});
             CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
                 AS 'SELECT to_timestamp(ms / 1000.0) FROM public.test_clock';
             ALTER DATABASE {name} SET search_path = public, pg_catalog"
        );
        postgres::run(&url, &clock).await;
        Self::Postgres(url)
    }

    /// Another one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite(),
            Self::Postgres(_) => Self::postgres().await,
        }
    }

    pub(crate) async fn open(&self) -> Database {
        self.try_open().await.unwrap()
    }

    pub(crate) async fn try_open(&self) -> Result<Database, DatabaseError> {
        match self {
            Self::Sqlite(folder) => Database::open(&folder.path().join("kickout.db")).await,
            Self::Postgres(url) => Database::open_url(url).await,
        }
    }

    /// Makes it one that a version from before deployments had names has used.
    pub(crate) async fn before_deployments(&self) {
        let database = self.open().await;
        Ledger::open(database.clone(), &Clock::System, TTL).await.unwrap();
        for statement in
            ["ALTER TABLE head DROP COLUMN deployment", "DELETE FROM _sqlx_migrations WHERE description = 'deployment'"]
        {
            sql(statement).execute(&mut database.write().await.unwrap()).await.unwrap();
        }
        database.close().await;
    }

    async fn step(&self, ms: i64) {
        if let Self::Postgres(url) = self {
            postgres::run(url, &format!("UPDATE test_clock SET ms = ms + {ms}")).await;
        }
    }
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    store: Store,
    time: Arc<ManualClock>,
    pub(crate) database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) replica: Arc<Replica>,
    pub(crate) checker: Checker,
}

impl Node {
    pub(crate) async fn start(store: Store) -> Self {
        Self::open(store, ManualClock::at(START_MS), TTL).await
    }

    async fn open(store: Store, time: Arc<ManualClock>, ttl: Duration) -> Self {
        let database = store.open().await;
        let clock = Clock::Manual(Arc::clone(&time));
        let ledger = Ledger::open(database.clone(), &clock, ttl).await.unwrap();
        let settings = Settings { capacity: 1000, false_positives: 0.001 };
        let replica = Arc::new(Replica::new(ledger.id(), settings, ledger.clock().now()));
        replica.load(&ledger).await.unwrap();
        let checker = Checker::new(Arc::clone(&replica), ledger.clone(), Metrics::new());
        Self { store, time, database, ledger, replica, checker }
    }

    pub(crate) async fn restart(self, ttl: Duration) -> Self {
        self.database.close().await;
        Self::open(self.store, self.time, ttl).await
    }

    /// Lets time pass.
    pub(crate) async fn advance(&self, by: Duration) {
        self.time.advance(by);
        self.store.step(i64::try_from(by.as_millis()).unwrap()).await;
    }

    /// Somebody sets the clock that ledger time comes from, and no time passes.
    pub(crate) async fn step_wall(&self, ms: i64) {
        self.time.step_wall(ms);
        self.store.step(ms).await;
    }

    /// Somebody sets the clock of the node's machine. Where the database has none of its own, that is the same.
    pub(crate) fn step_own_wall(&self, ms: i64) {
        self.time.step_wall(ms);
    }

    pub(crate) async fn user(&self) -> Subject {
        user(&self.database).await
    }

    pub(crate) async fn session(&self, subject: Subject, generation: i64) -> Presented {
        let session = session(&self.database, subject, generation).await;
        let generation = Generation(generation);
        Presented {
            token: TokenId::random(),
            session,
            subject,
            generation,
            epoch: self.ledger.id(),
            key: KeyId::of([0; 32]),
        }
    }

    pub(crate) async fn record(&self, acts: &[Act]) -> Vec<Outcome> {
        let recorded = self.ledger.record(acts).await.unwrap();
        if let Some(batch) = &recorded.batch {
            assert_eq!(self.replica.apply(batch), Link::Next);
        }
        recorded.outcomes
    }

    pub(crate) async fn done(&self, act: Act) -> Done {
        done(self.record(&[act]).await.remove(0))
    }

    pub(crate) async fn verdict(&self, presented: &Presented) -> Verdict {
        self.checker.check(presented).await.verdict
    }
}

/// A ledger on a PostgreSQL database, as another node has it. Its time is the server's.
pub(crate) async fn ledger_at(url: &str) -> (Database, Ledger) {
    let database = Database::open_url(url).await.unwrap();
    let ledger = Ledger::open(database.clone(), &Clock::System, TTL).await.unwrap();
    (database, ledger)
}

/// What an act has done; it must have been done.
pub(crate) fn done(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn user(database: &Database) -> Subject {
    let id = Subject::random();
    sql("INSERT INTO users (id, name, name_key, password, created_at) VALUES ($1, $2, $2, '', 0)")
        .bind(id.uuid())
        .bind(id.to_string())
        .execute(&mut database.write().await.unwrap())
        .await
        .unwrap();
    id
}

pub(crate) async fn session(database: &Database, subject: Subject, generation: i64) -> SessionId {
    let session = SessionId::random();
    sql("INSERT INTO sessions (id, user_id, generation, secret, rotated_at, created_at, last_used_at, expires_at, absolute_until)
         VALUES ($1, $2, $3, $4, 0, 0, 0, 9000000000000, 9000000000000)")
    .bind(session.uuid())
    .bind(subject.uuid())
    .bind(generation)
    .bind([7_u8; 32].as_slice())
    .execute(&mut database.write().await.unwrap())
    .await
    .unwrap();
    session
}
