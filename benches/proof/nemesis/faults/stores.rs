//! What is done to PostgreSQL and to Redis.

use std::{thread, time::Duration};

use sqlx::PgConnection;
use tokio::{
    sync::Mutex,
    task::block_in_place,
    time::{sleep, timeout},
};

use super::{AWAY, NO_LEDGER, SLOW_LEDGER, Scene};
use crate::{
    history::Permits,
    nemesis::{
        moment,
        world::{ROLE, Replicated},
    },
    support::{
        chaos::Mode,
        postgres::{self, Server},
        redis::Redis,
        wait::all,
    },
};

/// With how many connections a node writes.
const WRITERS: i64 = 4;

const POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// A number of a section of what a Redis says of itself.
fn info(redis: &Redis, section: &str, name: &str) -> Option<u64> {
    let said = redis.text(&["INFO", section]);
    said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

/// The longest that Redis is made to sleep: our own commands wait 10 s.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

impl Scene {
    fn redis(&self, act: impl FnOnce(&Replicated)) {
        if let Some(redis) = &self.world.redis {
            block_in_place(|| act(redis));
        }
    }

    pub(super) async fn flushes(&self, lasts: Duration) {
        let flush = || self.redis(|redis| drop(redis.primary.command(&["FLUSHALL"])));
        let on = timeout(lasts, async {
            loop {
                sleep(Duration::from_millis(150)).await;
                flush();
            }
        });
        let on = async { drop(on.await) };
        self.during(("redis-flush", &[], Permits::NOTHING), async { flush() }, on, std::future::ready(())).await;
    }

    pub(super) async fn empties(&self, lasts: Duration) {
        let stop = async { self.redis(|redis| redis.primary.stop()) };
        let resume = async { self.redis(|redis| redis.primary.resume()) };
        self.during(("redis-empty", &[], Permits::NOTHING), stop, sleep(lasts), resume).await;
    }

    fn leads_to(&self, which: impl Fn(&Replicated) -> u16) {
        let Some(redis) = &self.world.redis else { return };
        for network in self.world.nodes().iter().filter_map(|node| node.redis.as_ref()) {
            network.lead_to(which(redis));
        }
    }

    /// The replica hears nothing for a while, then it takes over; in the end the first one comes back, empty.
    pub(super) async fn fails_over(&self, lasts: Duration) {
        let Some(redis) = &self.world.redis else { return };
        redis.link.set(Mode::BlackHole);
        sleep(lasts / 2).await;
        let over = async {
            self.leads_to(|redis| redis.replica.port());
            // For a moment it takes no writes yet.
            sleep(Duration::from_millis(100)).await;
            self.redis(|redis| {
                let written = |redis: &Redis| info(redis, "replication", "master_repl_offset");
                let (leader, follower) = (written(&redis.primary), written(&redis.replica));
                if leader <= follower {
                    self.doubt(format!("the replica has {follower:?} of {leader:?} bytes, and lags behind nothing"));
                }
                redis.replica.command(&["REPLICAOF", "NO", "ONE"]);
                redis.primary.stop();
            });
        };
        let back = async {
            self.redis(|redis| redis.primary.resume());
            self.leads_to(|redis| redis.primary.port());
            redis.link.set(Mode::Pass);
            self.redis(Replicated::follow);
        };
        self.during(("redis-failover", &[], Permits::NOTHING), over, sleep(lasts), back).await;
    }

    pub(super) async fn evicts(&self, lasts: Duration) {
        let set = |name: &str, value: &str| {
            self.redis(|redis| drop(redis.primary.command(&["CONFIG", "SET", name, value])));
        };
        self.redis(|redis| drop(redis.primary.command(&["CONFIG", "RESETSTAT"])));
        for policy in POLICIES {
            let begin = async {
                set("maxmemory-policy", policy);
                // Less than an empty server needs: whatever may go has to.
                set("maxmemory", "100kb");
            };
            let heal = async { set("maxmemory", "0") };
            self.during(("redis-evict", &[], Permits::NOTHING), begin, sleep(lasts / 8), heal).await;
            // Something is to be there that the next one can evict.
            sleep(lasts / 16).await;
        }
        set("maxmemory-policy", "noeviction");
        self.redis(|redis| {
            // What may be evicted is, and where nothing may, nothing can be written.
            if info(&redis.primary, "stats", "evicted_keys").unwrap_or(0) == 0 {
                self.doubt("Redis has evicted nothing".to_owned());
            }
            if !redis.primary.text(&["INFO", "errorstats"]).contains("errorstat_OOM") {
                self.doubt("Redis has refused nothing".to_owned());
            }
        });
    }

    pub(super) async fn sends_to_sleep(&self, lasts: Duration) {
        let lasts = lasts.min(LONGEST_SLEEP);
        let nap = async {
            self.redis(|redis| {
                let seconds = lasts.as_secs_f64().to_string();
                thread::scope(|scope| {
                    scope.spawn(|| redis.primary.command(&["DEBUG", "SLEEP", &seconds]));
                });
            });
        };
        self.during(("redis-sleep", &[], Permits::NOTHING), std::future::ready(()), nap, std::future::ready(())).await;
    }

    /// PostgreSQL has no connection left for the nodes, and ends those that they have.
    pub(super) async fn takes_connections(&self, lasts: Duration) {
        let master = self.world.server.url("postgres");
        let limit = async |limit: i32| {
            postgres::run(&master, &format!("ALTER ROLE {ROLE} CONNECTION LIMIT {limit}")).await;
        };
        let take = async {
            limit(0).await;
            let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'");
            postgres::run(&master, &end).await;
            while self.world.connections().await > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let what = ("sql-connections", &[][..], NO_LEDGER);
        self.during(what, Box::pin(take), sleep(lasts), Box::pin(limit(-1))).await;
    }

    /// Somebody holds a lock on all sessions: whoever wants one waits, with a connection in hand, until each node has
    /// none left to write with.
    pub(super) async fn locks(&self, lasts: Duration) {
        let held: Mutex<Option<PgConnection>> = Mutex::default();
        let lock = async {
            let statement = "LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE";
            *held.lock().await = Some(postgres::begin(&self.world.url, statement).await);
        };
        let give_back = async {
            self.rush.send_replace(false);
            drop(held.lock().await.take());
        };
        let rush = async {
            self.rush.send_replace(true);
            let all = WRITERS * i64::from(self.world.shape.nodes);
            let mut most = 0;
            let watched = timeout(lasts, async {
                loop {
                    most = most.max(self.world.waiting().await);
                    sleep(Duration::from_millis(100)).await;
                }
            });
            drop(watched.await);
            if most < all {
                self.doubt(format!("{most} connections have waited at once, and all that can write are {all}"));
            }
        };
        self.during(("sql-pool", &[], SLOW_LEDGER), lock, Box::pin(rush), give_back).await;
    }

    fn postgres(&self, act: impl FnOnce(&Server)) {
        block_in_place(|| act(&self.world.server));
    }

    pub(super) async fn stops_postgres(&self, lasts: Duration) {
        let stop = async { self.postgres(Server::stop) };
        let resume = async { self.postgres(Server::resume) };
        self.during(("postgres-stop", &[], NO_LEDGER), stop, sleep(lasts), resume).await;
    }

    pub(super) async fn kills_postgres(&self, lasts: Duration) {
        let kill = async { self.postgres(Server::kill_9) };
        let resume = async { self.postgres(Server::resume) };
        self.during(("postgres-kill-9", &[], NO_LEDGER), kill, sleep(lasts), resume).await;
    }

    /// A copy is made of the stopped server. When it was made.
    async fn backs_up(&self) -> u64 {
        let since = moment();
        let stop = async {
            self.postgres(|server| {
                server.stop();
                server.back_up();
            });
        };
        let resume = async { self.postgres(Server::resume) };
        self.during(("postgres-stop", &[], NO_LEDGER), stop, std::future::ready(()), resume).await;
        since
    }

    fn becomes_the_copy(&self) {
        self.postgres(|server| {
            server.stop();
            server.restore();
        });
    }

    /// The server becomes what it was a while ago, and nobody tells the nodes.
    pub(super) async fn restores(&self, lasts: Duration) {
        let since = self.backs_up().await;
        sleep(lasts).await;
        let permits = Permits { loses_since: Some(since), ..NO_LEDGER };
        let stop = async { self.becomes_the_copy() };
        let resume = async { self.postgres(Server::resume) };
        self.during(("postgres-restore", &[], permits), stop, std::future::ready(()), resume).await;
    }

    /// The same as an operator does it: the nodes are stopped, the server becomes what it was, the command says so, and
    /// the nodes are started.
    pub(super) async fn begins_anew(&self, lasts: Duration) {
        let since = self.backs_up().await;
        sleep(lasts).await;
        let permits = Permits { loses_since: Some(since), ends_everything: true, cuts_ledger: true, ..AWAY };
        let nodes = self.world.nodes();
        let stop = async {
            all(nodes.iter().map(|node| Box::pin(node.stop()))).await;
            self.becomes_the_copy();
        };
        let begin = async {
            self.postgres(Server::resume);
            if let Err(why) = block_in_place(|| nodes[0].command(&["restored", "--yes"])) {
                self.trouble(why);
            }
            all(nodes.iter().map(|node| Box::pin(self.is_back(node.number)))).await;
        };
        let what = ("postgres-restored", &[][..], permits);
        self.during(what, Box::pin(stop), std::future::ready(()), Box::pin(begin)).await;
    }
}
