//! What is done to the cluster while people use it: bursts, keys, faults; and a day that is over sooner.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kickout::ids::TokenId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::{task::block_in_place, time::sleep};

use super::{readings::Reader, weather::Weather};
use crate::{
    Failure,
    command::tell,
    support::{
        chaos::Mode,
        cluster::{Cluster, Node},
        operator, postgres,
        redis::Redis,
    },
};

/// How long after a fault levels may take to come back.
const RETURN: Duration = Duration::from_mins(1);

/// What a level may be above the one before: a connection of a client, or of a pool, that comes and goes.
const SPARE: f64 = 4.0;

/// Ids of one burst: three times the filter's capacity here.
pub(crate) const BURST: usize = 3000;

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Redis starts again, empty.
    RedisRestart,
    /// A node is killed and starts again on its folder.
    NodeKill,
    /// A node cannot reach PostgreSQL for longer than its lease.
    SqlCut,
    /// Nor is it told so.
    SqlBlackHole,
    /// PostgreSQL starts again.
    PostgresRestart,
    /// A node cannot reach Redis.
    RedisCut,
}

pub(crate) const FAULTS: [Fault; 6] =
    [Fault::RedisRestart, Fault::NodeKill, Fault::SqlCut, Fault::PostgresRestart, Fault::RedisCut, Fault::SqlBlackHole];

/// One fault, and how long descriptors and connections took to come back to what they were.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    pub(crate) at_seconds: f64,
    pub(crate) took_seconds: f64,
    pub(crate) back_after_seconds: f64,
}

/// Who does it.
pub(crate) struct Conductor {
    pub(crate) cluster: Cluster,
    pub(crate) server: postgres::Server,
    pub(crate) redis: Redis,
    pub(crate) reader: Arc<Reader>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) random: StdRng,
    pub(crate) struck: Vec<Struck>,
    pub(crate) retired_keys: u64,
    pub(crate) bursts: u64,
}

impl Conductor {
    pub(crate) fn random(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed ^ 0x50a_4ed)
    }

    /// Takes the signing key back: another one takes over.
    pub(crate) async fn retire_a_key(&mut self) -> Result<(), Failure> {
        self.weather.busy(true);
        self.weather.retiring(true);
        let node = self.cluster.node(0);
        let list = operator::ask(node, &json!({"command": "keys_list"})).await.expect(200).json();
        let signing = list["value"].as_array().into_iter().flatten().find(|key| key["state"] == "signing");
        let kid = signing.and_then(|key| key["kid"].as_str()).ok_or("no key signs")?.to_owned();
        self.reader.taken_back.fetch_add(1, Ordering::SeqCst);
        operator::act(node, "keys_retire", "kid", &kid).await;
        self.weather.retiring(false);
        self.weather.busy(false);
        self.retired_keys += 1;
        Ok(())
    }

    /// Many revocations at once: the filter grows.
    pub(crate) async fn burst(&mut self) -> Result<(), Failure> {
        self.weather.busy(true);
        let ids: Vec<String> = (0..BURST).map(|_| TokenId::random().to_string()).collect();
        let command = json!({"command": "revoke_bulk", "kind": "token", "ids": ids});
        let answer = operator::ask(self.cluster.node(0), &command).await.expect(200).json();
        self.weather.busy(false);
        self.bursts += 1;
        if answer["value"]["complete"] == true { Ok(()) } else { Err(format!("a burst: {answer}").into()) }
    }

    /// A row that is over stays for a day. Here that is over at once: those rows are made two days older, and the service
    /// prunes them by itself.
    pub(crate) async fn let_a_day_pass(&self) -> Result<(), Failure> {
        let mut database = PgConnection::connect(self.cluster.url()).await?;
        for statement in [
            "UPDATE revocations SET until = until - 172800000
             WHERE until BETWEEN extract(epoch FROM now()) * 1000 - 86400000 AND extract(epoch FROM now()) * 1000 - 5000",
            "UPDATE sessions SET expires_at = expires_at - 172800000
             WHERE expires_at BETWEEN extract(epoch FROM now()) * 1000 - 86400000
                              AND extract(epoch FROM now()) * 1000 - 5000",
        ] {
            sqlx::query(statement).execute(&mut database).await?;
        }
        Ok(database.close().await?)
    }

    /// Strikes, heals, and waits until all is as it was.
    pub(crate) async fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        let before = self.reader.levels(true);
        let began = self.weather.now();
        self.weather.storm(true);
        self.act(fault).await;
        self.cluster.all_ready().await;
        self.weather.storm(false);
        let healed = self.weather.now();
        self.returned(fault, &before).await?;
        let struck = Struck {
            fault,
            at_seconds: began.as_secs_f64(),
            took_seconds: healed.saturating_sub(began).as_secs_f64(),
            back_after_seconds: self.weather.now().saturating_sub(healed).as_secs_f64(),
        };
        tell(&format!("{:?}, and back to how it was", struck.fault))?;
        self.struck.push(struck);
        Ok(())
    }

    async fn act(&mut self, fault: Fault) {
        let hold = self.cluster.hold();
        // Only the last one is ever started again: the others live through the run, with whatever a fault leaves in them.
        let last = self.cluster.nodes.len() - 1;
        let other = self.random.random_range(1..self.cluster.nodes.len());
        match fault {
            Fault::RedisRestart => {
                block_in_place(|| self.redis.stop());
                sleep(hold / 5).await;
                block_in_place(|| self.redis.resume());
            }
            Fault::NodeKill => {
                self.cluster.node_mut(last).kill_9();
                sleep(hold / 20).await;
                self.cluster.node_mut(last).restart().await;
                let process = self.cluster.node(last).pid();
                self.reader.probes[last].process.store(process, Ordering::SeqCst);
            }
            Fault::SqlCut | Fault::SqlBlackHole => {
                let mode = if fault == Fault::SqlCut { Mode::Cut } else { Mode::BlackHole };
                self.cluster.node(other).sql.set(mode);
                sleep(hold.mul_f64(1.5)).await;
                self.cluster.node(other).sql.set(Mode::Pass);
            }
            Fault::PostgresRestart => {
                block_in_place(|| self.server.stop());
                sleep(hold / 5).await;
                block_in_place(|| self.server.resume());
            }
            Fault::RedisCut => {
                if let Some(redis) = &self.cluster.node(other).redis {
                    redis.set(Mode::Cut);
                    sleep(hold / 2).await;
                    redis.set(Mode::Pass);
                }
            }
        }
    }

    /// The last that each node has complained of.
    pub(crate) fn troubles(&self) -> String {
        let of = |node: &Node| {
            let log = node.log();
            let is_trouble = |line: &&str| ["WARN", "ERROR", "panicked"].iter().any(|word| line.contains(word));
            let lines: Vec<&str> = log.lines().filter(is_trouble).collect();
            format!("{}:\n{}\n", node.name, lines[lines.len().saturating_sub(6)..].join("\n"))
        };
        self.cluster.nodes.iter().map(of).collect()
    }

    /// Waits until descriptors and connections are what they were.
    async fn returned(&self, fault: Fault, before: &BTreeMap<String, f64>) -> Result<(), Failure> {
        let since = self.weather.now();
        let first = self.reader.count();
        loop {
            let now = self.reader.levels(false);
            let above = before.iter().find(|(name, level)| now.get(*name).is_some_and(|now| *now > **level + SPARE));
            // Some readings from after it have to be there.
            if self.reader.count() >= first + 3 && above.is_none() {
                return Ok(());
            }
            if self.weather.now() > since + RETURN {
                return Err(format!("{fault:?} leaves something behind: {before:?} before, {now:?} after").into());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}
