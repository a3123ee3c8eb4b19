//! Nodes of a cluster on one PostgreSQL that live in this process, each with its own pools, replica and tasks: what they
//! do can be stopped where it stands.

use std::{sync::Arc, time::Duration};

use kickout::{
    clock::Clock,
    database::Database,
    ids::{Generation, KeyId, SessionId, Subject, TokenId},
    revocation::{
        Act, Checker, Presented, Receipt, Recorder, Revoker, Strategy, Verdict,
        filter::Settings,
        herald::Herald,
        lease::Nodes,
        ledger::Ledger,
        node::{self, Node},
        sync::Replica,
    },
    telemetry::metrics::Metrics,
};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{postgres, wait::eventually};

/// Long enough that a machine with other work to do renews in time, short enough to wait for once.
pub(crate) const HOLD: Duration = Duration::from_secs(3);

/// So long that nothing of a test waits for it, and that no answer is given up which a test holds up: a fifth of it.
pub(crate) const CALM: Duration = Duration::from_secs(30);

const TTL: Duration = Duration::from_mins(15);

/// A node.
pub(crate) struct Member {
    pub(crate) ledger: Ledger,
    pub(crate) checker: Checker,
    pub(crate) revoker: Revoker,
    pub(crate) node: Node,
    recorder: Option<Recorder>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Member {
    /// A node with a lease of [`HOLD`] that answers checks.
    pub(crate) async fn start(url: &str, name: &str, is_listening: bool) -> Self {
        let mut member = Self::open(url, name, HOLD).await;
        member.run(is_listening).await;
        member
    }

    /// A node that has opened the ledger and done nothing else.
    pub(crate) async fn open(url: &str, name: &str, lease: Duration) -> Self {
        let database = Database::open_url(url).await.unwrap();
        let ledger = Ledger::open(database, &Clock::System, TTL).await.unwrap();
        let settings = Settings { capacity: 1000, false_positives: 0.001 };
        let replica = Arc::new(Replica::new(ledger.id(), settings, ledger.clock().now()).leased());
        let checker = Checker::new(Arc::clone(&replica), ledger.clone(), Metrics::new());
        let nodes = Nodes::new(ledger.database().clone());
        let herald = Herald::new(None, Some(nodes), ledger.clock().clone(), Metrics::new());
        let settings = node::Settings {
            lease,
            serve_for: Duration::ZERO,
            pull: lease / 10,
            name: name.to_owned(),
            strategy: Strategy::Hybrid,
            store: None,
            memo: None,
        };
        let node = Node::new(settings, ledger.clone(), Arc::clone(&replica), herald, Metrics::new());
        let (revoker, recorder) = Revoker::new(ledger.clone(), replica, Some(node.clone()), 1024, Metrics::new());
        let (stop, tasks) = (CancellationToken::new(), JoinSet::new());
        Self { ledger, checker, revoker, node, recorder: Some(recorder), stop, tasks }
    }

    /// Loads, registers and renews. One that is not listening hears by its renewals and pulls alone.
    pub(crate) fn begin(&mut self, is_listening: bool) {
        let (node, over) = (self.node.clone(), self.stop.clone());
        // Whatever ends it early shows in what it answers.
        self.tasks.spawn(async move { drop(node.run(&over).await) });
        if let Some(recorder) = self.recorder.take() {
            let over = self.stop.clone();
            self.tasks.spawn(async move { recorder.run(over.cancelled()).await });
        }
        if is_listening {
            let (node, over) = (self.node.clone(), self.stop.clone());
            self.tasks.spawn(async move { node.listen(&over).await.unwrap() });
        }
    }

    /// Begins, and waits until it answers.
    pub(crate) async fn run(&mut self, is_listening: bool) {
        self.begin(is_listening);
        self.answers().await;
    }

    /// Waits until it answers checks.
    pub(crate) async fn answers(&self) {
        let someone = self.someone();
        eventually!(self.verdict(&someone).await == Verdict::Active);
    }

    pub(crate) fn someone(&self) -> Presented {
        Presented {
            token: TokenId::random(),
            session: SessionId::random(),
            subject: Subject::random(),
            generation: Generation(0),
            epoch: self.ledger.id(),
            key: KeyId::of([0; 32]),
        }
    }

    pub(crate) async fn verdict(&self, presented: &Presented) -> Verdict {
        self.checker.check(presented).await.verdict
    }

    pub(crate) async fn revoke(&self, presented: &Presented) -> Receipt {
        self.revoker.revoke(Act::Token(presented.token)).await.unwrap().receipt
    }

    pub(crate) async fn leave(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Its tasks stop where they are. What it has in memory still answers, as a paused process would when it goes on.
    pub(crate) fn die(&mut self) {
        self.tasks.abort_all();
    }
}

/// How long a receipt says that it took.
pub(crate) fn ms(receipt: &Receipt) -> Duration {
    Duration::from_secs_f64(receipt.elapsed_ms / 1e3)
}

/// What nodes of one name write into their rows stands still for as long as this is there.
pub(crate) struct Gate {
    url: String,
    number: i64,
    _closed: PgConnection,
}

impl Gate {
    /// Stops registrations (`INSERT`) or renewals (`UPDATE`) of nodes of this name before they change anything.
    pub(crate) async fn close(url: &str, what: &str, name: &str) -> Self {
        let number = if what == "INSERT" { 1 } else { 2 };
        let gate = format!(
            "CREATE FUNCTION gate_{number}() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared({number}); RETURN NEW; END';
             CREATE TRIGGER gate_{number} BEFORE {what} ON nodes FOR EACH ROW WHEN (NEW.name = '{name}')
                 EXECUTE FUNCTION gate_{number}()"
        );
        postgres::run(url, &gate).await;
        let mut closed = PgConnection::connect(url).await.unwrap();
        let lock = format!("SELECT pg_advisory_lock({number})");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut closed).await.unwrap();
        Self { url: url.to_owned(), number, _closed: closed }
    }

    /// Waits until somebody stands before it.
    pub(crate) async fn has_somebody(&self) {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {}
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            self.number
        );
        eventually!(postgres::number(&self.url, &waiting).await > 0);
    }
}
