//! The blocklist where it is asked at every request: the strategies `redis` and `session-redis`.
//!
//! Here a miss does mean something, so more is written than a hint needs, and a revocation is in force when all of it
//! stands there:
//!
//! | `{prefix}:{ledger id}:…` | holds |
//! |---|---|
//! | `t:{jti}`, `s:{sid}` | `1`: revoked |
//! | `f:{sub}` | as of which number, and all of this subject's floors |
//! | `all` | as of which number, the floor over everything, and the signing keys that were taken back |
//! | `a:{sid}` | a session, where credentials are opaque |
//!
//! `all` is written when everything live has been, and a check asks for it with the rest: when it is gone, Redis was
//! flushed or is another one, and the check says that it does not know until a node has filled it again. That single
//! entries were evicted, or lost in a failover, nobody can see: that is the price of this strategy.
//!
//! Two nodes may write of one subject at once. What is written was read from the ledger after a commit, and says as of
//! which number; an older reading does not replace a newer one ([`NEWER`]).

use deadpool_redis::redis::{cmd, pipe};
use serde::{Deserialize, Serialize};

use super::{Blocklist, BlocklistError, ENTRIES, entry};
use crate::{
    ids::{Generation, KeyId, LedgerId, Seq, SessionId, Subject},
    revocation::{Cause, Presented, known::Floors},
};

use std::time::Duration;

/// Sets a value that begins with a number, unless one with a higher number is there: then says which. Says -2 where one
/// must be there and is not.
const NEWER: &str = "local old = redis.call('GET', KEYS[1])
if ARGV[5] == '1' and not old then return -2 end
local seq = old and tonumber(string.match(old, '^%d+'))
if seq and seq > tonumber(ARGV[1]) and ARGV[4] == '0' then return seq end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return -1";

/// Keys that one step of a scan looks at: about a millisecond of the server's time.
const SCANNED: usize = 1000;

/// What Redis says of a credential where nothing else is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing denies it.
    Alive,
    /// It is denied.
    Dead(Cause),
    /// It is not all there: nobody can tell.
    Lost,
}

/// A session as it stands in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Whose it is.
    pub sub: Subject,
    /// The session's generation.
    #[serde(rename = "gen")]
    pub generation: Generation,
    /// Its user's roles.
    pub roles: Vec<String>,
}

/// An entry to be written.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A token or a session is revoked.
    Dead(Dead),
    /// All of a subject's floors.
    Floors(Subject, Floors),
    /// The floor over everything, and the keys that were taken back.
    All {
        /// The floor.
        floor: Generation,
        /// The keys.
        keys: Vec<KeyId>,
        /// All the rest has been written before, so that this may say so.
        is_whole: bool,
    },
    /// An opaque session is gone.
    Gone(SessionId),
}

/// What became of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entered {
    /// The highest number that stood in the way, if any did: somebody has written of the same with newer knowledge, or of
    /// a history that is gone.
    pub newer: Option<Seq>,
    /// The entry that says that everything is there is not there.
    pub is_lost: bool,
}

/// What is revoked by its id alone.
#[derive(Debug, Clone, Copy)]
pub enum Dead {
    /// A token.
    Token(crate::ids::TokenId),
    /// A session.
    Session(SessionId),
}

impl Blocklist {
    /// What denies a token, in one round trip.
    ///
    /// # Errors
    /// [`BlocklistError`]: nobody can tell.
    pub async fn decide(&self, presented: &Presented) -> Result<Told, BlocklistError> {
        self.call(async {
            let [token, session, _] = entry::keys(&self.0.prefix, presented);
            let ledger = presented.epoch;
            let mut get = cmd("MGET");
            get.arg(&[token, session, self.floors_key(ledger, presented.subject), self.all_key(ledger)]);
            let values: Vec<Option<String>> = self.ask(&get).await?;
            let [token, session, floors, all] = <[_; 4]>::try_from(values)
                .map_err(|values| BlocklistError::Protocol(format!("{} values for 4 keys", values.len())))?;
            let Some((_, (floor, keys))) = all.as_deref().and_then(read_all) else { return Ok(Told::Lost) };
            // What is there and cannot be read is not "nothing".
            let floors = match floors.as_deref().map(read_floors) {
                None => Floors::default(),
                Some(Some((_, floors))) => floors,
                Some(None) => return Ok(Told::Lost),
            };
            let cause = if presented.generation < floor {
                Some(Cause::Everything)
            } else if session.is_some() {
                Some(Cause::Session)
            } else {
                floors.cause(presented.generation, presented.session).or_else(|| {
                    let is_key_dead = || keys.split(' ').any(|kid| *kid == *presented.key.to_string());
                    token.map(|_| Cause::Token).or_else(|| is_key_dead().then_some(Cause::Key))
                })
            };
            Ok(cause.map_or(Told::Alive, Told::Dead))
        })
        .await
    }

    /// A session, if it is there, and what denies it, in one round trip.
    ///
    /// # Errors
    /// [`BlocklistError`]: nobody can tell.
    pub async fn session(
        &self,
        ledger: LedgerId,
        session: SessionId,
        subject: Subject,
    ) -> Result<Option<(Kept, Told)>, BlocklistError> {
        self.call(async {
            let mut get = cmd("MGET");
            get.arg(&[self.session_key(ledger, session), self.floors_key(ledger, subject)]);
            let values: Vec<Option<String>> = self.ask(&get).await?;
            let [kept, floors] = <[_; 2]>::try_from(values)
                .map_err(|values| BlocklistError::Protocol(format!("{} values for 2 keys", values.len())))?;
            // One that cannot be read is as good as none: whoever refreshes writes it anew.
            let Some(kept) = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok()) else { return Ok(None) };
            if kept.sub != subject {
                return Ok(None);
            }
            let told = match floors.as_deref().map(read_floors) {
                None => Told::Alive,
                Some(None) => Told::Lost,
                Some(Some((_, floors))) => floors.cause(kept.generation, session).map_or(Told::Alive, Told::Dead),
            };
            Ok(Some((kept, told)))
        })
        .await
    }

    /// Writes a session, to be there for `life`.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn keep(
        &self,
        ledger: LedgerId,
        session: SessionId,
        kept: &Kept,
        life: Duration,
    ) -> Result<(), BlocklistError> {
        let text = serde_json::to_string(kept).map_err(|error| BlocklistError::Protocol(error.to_string()))?;
        let mut set = cmd("SET");
        set.arg(self.session_key(ledger, session)).arg(text).arg("PX").arg(millis(life));
        self.call(self.ask(&set)).await
    }

    /// Removes a session.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn forget(&self, ledger: LedgerId, session: SessionId) -> Result<(), BlocklistError> {
        let mut delete = cmd("DEL");
        delete.arg(self.session_key(ledger, session));
        self.call(self.ask::<i64>(&delete)).await.map(|_| ())
    }

    /// Writes entries, each to be there for `life`, as of a number of the ledger. `force` overwrites newer ones.
    ///
    /// # Errors
    /// [`BlocklistError`]: some may be written.
    pub async fn enter_all(
        &self,
        ledger: LedgerId,
        entries: &[Entry],
        as_of: Seq,
        life: Duration,
        force: bool,
    ) -> Result<Entered, BlocklistError> {
        let mut entered = Entered::default();
        for part in entries.chunks(ENTRIES) {
            let step = self.call(async {
                let mut pipeline = pipe();
                for entry in part {
                    let newer = |key: String, value: String, life: u64, must_be: bool| {
                        let mut eval = cmd("EVAL");
                        eval.arg(NEWER).arg(1).arg(key).arg(as_of.0).arg(value).arg(life);
                        eval.arg(i32::from(force)).arg(i32::from(must_be));
                        eval
                    };
                    match entry {
                        Entry::Dead(dead) => {
                            let key = match dead {
                                Dead::Token(id) => entry::of_token(&self.0.prefix, ledger, *id),
                                Dead::Session(id) => entry::of_session(&self.0.prefix, ledger, *id),
                            };
                            pipeline.cmd("SET").arg(key).arg("1").arg("PX").arg(millis(life)).ignore();
                        }
                        Entry::Floors(subject, floors) => {
                            let value = format!("{as_of} {}", floors.to_text());
                            pipeline.add_command(newer(self.floors_key(ledger, *subject), value, millis(life), false));
                        }
                        Entry::All { floor, keys, is_whole } => {
                            let head = [as_of.to_string(), floor.to_string()].into_iter();
                            let value: Vec<String> = head.chain(keys.iter().map(ToString::to_string)).collect();
                            let value = value.join(" ");
                            pipeline.add_command(newer(self.all_key(ledger), value, 0, !is_whole));
                        }
                        Entry::Gone(session) => {
                            pipeline.cmd("DEL").arg(self.session_key(ledger, *session)).ignore();
                        }
                    }
                }
                let answers: Vec<i64> = pipeline.query_async(&mut self.connection().await?).await?;
                Ok(answers)
            });
            for answer in step.await? {
                entered.is_lost |= answer == -2;
                entered.newer = entered.newer.max((answer >= 0).then_some(Seq(answer)));
            }
        }
        Ok(entered)
    }

    /// Removes all opaque sessions of a ledger.
    ///
    /// # Errors
    /// [`BlocklistError`]: some may be there still.
    pub async fn forget_sessions(&self, ledger: LedgerId) -> Result<(), BlocklistError> {
        let (pattern, mut cursor) = (format!("{}:{ledger}:a:*", self.0.prefix), 0_u64);
        // A whole round: every session that is there from before its beginning is met.
        loop {
            let next = self.call(async {
                let mut connection = self.connection().await?;
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCANNED);
                let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await?;
                if !keys.is_empty() {
                    let _: i64 = cmd("DEL").arg(&keys).query_async(&mut connection).await?;
                }
                Ok(next)
            });
            cursor = next.await?;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Whether the entry is there that says that everything is.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn is_filled(&self, ledger: LedgerId) -> Result<bool, BlocklistError> {
        let mut get = cmd("GET");
        get.arg(self.all_key(ledger));
        let all: Option<String> = self.call(self.ask(&get)).await?;
        Ok(all.as_deref().and_then(read_all).is_some())
    }

    fn floors_key(&self, ledger: LedgerId, subject: Subject) -> String {
        format!("{}:{ledger}:f:{subject}", self.0.prefix)
    }

    fn all_key(&self, ledger: LedgerId) -> String {
        format!("{}:{ledger}:all", self.0.prefix)
    }

    fn session_key(&self, ledger: LedgerId, session: SessionId) -> String {
        format!("{}:{ledger}:a:{session}", self.0.prefix)
    }
}

/// At least a millisecond: Redis takes no shorter life.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).clamp(1, entry::LONGEST_LIFE_MS)
}

fn read_floors(text: &str) -> Option<(Seq, Floors)> {
    let (seq, floors) = text.split_once(' ')?;
    Some((Seq(seq.parse().ok()?), Floors::parse(floors)?))
}

/// The number, the floor, and the keys as they stand there.
fn read_all(text: &str) -> Option<(Seq, (Generation, &str))> {
    let (seq, rest) = text.split_once(' ')?;
    let (floor, keys) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((Seq(seq.parse().ok()?), (Generation(floor.parse().ok()?), keys)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_taken_for_something() {
        assert_eq!(read_all("7 3"), Some((Seq(7), (Generation(3), ""))));
        assert_eq!(read_all("7 3 a b"), Some((Seq(7), (Generation(3), "a b"))));
        for wrong in ["", "7", "x 3", "7 x", " 7 3", "7  3"] {
            assert_eq!(read_all(wrong), None, "{wrong:?}");
        }
        for wrong in ["", "7", "x - - - -", "7 1", "7 1 2 3", "7 a - - -"] {
            assert_eq!(read_floors(wrong), None, "{wrong:?}");
        }
    }
}
