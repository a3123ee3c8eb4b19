//! What is in PostgreSQL and Redis, and who is connected to them.
//!
//! What is expected of each figure: rows of `revocations` and of `sessions` come and go with the load, a burst adds its
//! own until it is pruned; keys of Redis live as long as an entry (72 s with tokens of ten seconds) or a limit's minute,
//! so they come back to what the load alone makes before the next burst, and memory with them; the vault has one row for
//! each key that the nodes keep, and one for their secret. It fills up to the most that are kept, by design, and never
//! goes over.

use deadpool_redis::redis::{Client, cmd};
use sqlx::{Connection as _, PgConnection};

use super::readings::{BURSTS, LIMIT, Reader, whole};

/// What is counted in the database: name, share and amount that it may rise by, and how.
const COUNTS: [(&str, f64, f64, &str); 5] = [
    ("PostgreSQL connections", 0.0, 4.0, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kickout'"),
    ("rows of revocations", 0.0, BURSTS, "SELECT count(*) FROM revocations"),
    // A burst's are of tokens, and no others here.
    ("rows of revocations but for bursts", 0.3, 150.0, "SELECT count(*) FROM revocations WHERE kind <> 1"),
    ("rows of sessions", 0.3, 300.0, "SELECT count(*) FROM sessions"),
    ("rows of nodes", 0.0, 0.5, "SELECT count(*) FROM nodes"),
];

impl Reader {
    /// Reads both. Nothing if the database does not answer.
    pub(super) async fn stores(&self, connection: &mut Option<PgConnection>) -> Option<()> {
        if connection.is_none() {
            *connection = Some(PgConnection::connect(&self.database).await.ok()?);
        }
        let open = connection.as_mut()?;
        for (name, share, amount, statement) in COUNTS {
            let count: i64 = sqlx::query_scalar(statement).fetch_one(&mut *open).await.ok()?;
            self.note(name, "", share, amount, f64::from(u32::try_from(count).ok()?));
        }
        let vault: i64 = sqlx::query_scalar("SELECT count(*) FROM vault").fetch_one(&mut *open).await.ok()?;
        self.vault(f64::from(u32::try_from(vault).ok()?));
        let url = self.redis.clone();
        if let Some(Redis { clients, keys, memory }) =
            tokio::task::spawn_blocking(move || Redis::read(&url)).await.ok()?
        {
            self.note("Redis clients", "", 0.0, 4.0, clients);
            self.note_lowest("Redis keys", "", 0.3, 150.0, keys);
            self.note_lowest("Redis memory", "KiB", 0.1, 384.0, memory);
        }
        Some(())
    }
}

/// What a Redis says.
struct Redis {
    /// But for the one that asks.
    clients: f64,
    keys: f64,
    /// What it has allocated, in KiB.
    memory: f64,
}

impl Redis {
    fn read(url: &str) -> Option<Self> {
        let client = Client::open(url).ok()?;
        let mut connection = client.get_connection_with_timeout(LIMIT).ok()?;
        connection.set_read_timeout(Some(LIMIT)).ok()?;
        let list: String = cmd("CLIENT").arg("LIST").query(&mut connection).ok()?;
        let keys: u32 = cmd("DBSIZE").query(&mut connection).ok()?;
        let info: String = cmd("INFO").arg("memory").query(&mut connection).ok()?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"))?;
        let memory: f64 = used.trim().parse().ok()?;
        let clients = whole(list.lines().count().saturating_sub(1));
        Some(Self { clients, keys: f64::from(keys), memory: memory / 1024.0 })
    }
}
