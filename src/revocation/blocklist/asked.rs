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
//! | `told` | up to which number of the ledger everything stands here |
//! | `filling:{random}` | somebody is writing everything; gone when the server was emptied meanwhile |
//! | `a:{sid}` | a session, where credentials are opaque |
//!
//! `all` and `told` are written when everything live has been, and a check asks for `all` with the rest: when it is gone,
//! Redis was flushed or is another one, and the check says that it does not know until a node has filled it again. That
//! single entries were evicted, or lost in a failover, nobody can see: that is the price of these strategies, and a server
//! that evicts is refused.
//!
//! A session is never taken out of Redis to end it: what ends it is an entry beside it that a check reads with it. So a
//! login or a refresh that writes its session late brings nothing back.
//!
//! Two nodes may write of one subject at once. What is written was read from the ledger after a commit, and says as of
//! which number; an older reading does not replace a newer one (`NEWER`).

use deadpool_redis::redis::{Cmd, cmd, pipe};
use serde::{Deserialize, Serialize};

use super::{Blocklist, BlocklistError, ENTRIES, entry};
use crate::{
    ids::{Generation, KeyId, LedgerId, Seq, SessionId, Subject},
    revocation::{Cause, Presented, known::Floors},
    secret,
};

use std::time::Duration;

/// Sets a value that begins with a number, unless one with a higher number is there: then says which. Says -2 where one
/// must be there and is not. An entry's life is never shortened.
const NEWER: &str = "local old = redis.call('GET', KEYS[1])
if ARGV[4] == '1' and not old then return -2 end
local seq = old and tonumber(string.match(old, '^%d+'))
if seq and seq > tonumber(ARGV[1]) then return seq end
local life = tonumber(ARGV[3])
if life == 0 then redis.call('SET', KEYS[1], ARGV[2]) return -1 end
if old then life = math.max(life, redis.call('PTTL', KEYS[1])) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', life)
return -1";

/// Sets a token's or a session's entry; its life is never shortened.
const DEAD: &str = "local life = math.max(tonumber(ARGV[1]), redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], '1', 'PX', life)
return -1";

/// Says that everything stands here, if nothing was lost since the filling began.
const FILLED: &str = "if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[1])
return 1";

/// Raises the number up to which everything stands here, if it is still the one that was read before the rest was written:
/// after a flush it may be another filling's.
const TOLD: &str = "if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('SET', KEYS[1], ARGV[1]) end
return 1";

/// How long a filling may take: ten million entries take a minute or two.
const FILLING: Duration = Duration::from_mins(30);

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
    All(Generation, Vec<KeyId>),
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
    /// Sees that the server keeps what it is given. One that does not allow `INFO` is taken at its word.
    ///
    /// # Errors
    /// [`BlocklistError::Evicts`], and others.
    pub async fn keeps(&self) -> Result<(), BlocklistError> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let text: String = match self.call(self.ask(&info)).await {
            Err(BlocklistError::Refused(_)) => return Ok(()),
            answer => answer?,
        };
        let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or("noeviction");
        if policy == "noeviction" { Ok(()) } else { Err(BlocklistError::Evicts { policy: policy.to_owned() }) }
    }

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
                    let is_key_dead =
                        || !keys.is_empty() && keys.split(' ').any(|kid| kid == presented.key.to_string());
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
    ) -> Result<(Option<Kept>, Told), BlocklistError> {
        self.call(async {
            let mut get = cmd("MGET");
            get.arg(&[
                self.session_key(ledger, session),
                entry::of_session(&self.0.prefix, ledger, session),
                self.floors_key(ledger, subject),
                self.all_key(ledger),
            ]);
            let values: Vec<Option<String>> = self.ask(&get).await?;
            let [kept, dead, floors, all] = <[_; 4]>::try_from(values)
                .map_err(|values| BlocklistError::Protocol(format!("{} values for 4 keys", values.len())))?;
            // One that cannot be read is as good as none: whoever refreshes writes it anew.
            let kept = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
            let kept = kept.filter(|kept| kept.sub == subject);
            let Some((_, (floor, _))) = all.as_deref().and_then(read_all) else { return Ok((kept, Told::Lost)) };
            if dead.is_some() {
                return Ok((kept, Told::Dead(Cause::Session)));
            }
            let floors = match floors.as_deref().map(read_floors) {
                None => Floors::default(),
                Some(Some((_, floors))) => floors,
                Some(None) => return Ok((kept, Told::Lost)),
            };
            let denied = kept.as_ref().and_then(|kept| {
                let is_below = kept.generation < floor;
                is_below.then_some(Cause::Everything).or_else(|| floors.cause(kept.generation, session))
            });
            Ok((kept, denied.map_or(Told::Alive, Told::Dead)))
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

    /// Writes entries, each to be there for a time of its own, as of a number of the ledger.
    ///
    /// # Errors
    /// [`BlocklistError`]: some may be written.
    pub async fn enter_all(
        &self,
        ledger: LedgerId,
        entries: &[(Entry, Duration)],
        as_of: Seq,
    ) -> Result<Entered, BlocklistError> {
        let mut entered = Entered::default();
        for part in entries.chunks(ENTRIES) {
            let step = self.call(async {
                let mut pipeline = pipe();
                for (entry, life) in part {
                    pipeline.add_command(self.written(ledger, entry, *life, as_of));
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

    fn written(&self, ledger: LedgerId, entry: &Entry, life: Duration, as_of: Seq) -> Cmd {
        let newer = |key: String, value: String, life: u64, must_be: bool| {
            let mut eval = cmd("EVAL");
            eval.arg(NEWER).arg(1).arg(key).arg(as_of.0).arg(value).arg(life).arg(i32::from(must_be));
            eval
        };
        match entry {
            Entry::Dead(dead) => {
                let key = match dead {
                    Dead::Token(id) => entry::of_token(&self.0.prefix, ledger, *id),
                    Dead::Session(id) => entry::of_session(&self.0.prefix, ledger, *id),
                };
                let mut eval = cmd("EVAL");
                eval.arg(DEAD).arg(1).arg(key).arg(millis(life));
                eval
            }
            Entry::Floors(subject, floors) => {
                let value = format!("{as_of} {}", floors.to_text());
                newer(self.floors_key(ledger, *subject), value, millis(life), false)
            }
            // Only beside all the rest: it says that the rest is there.
            Entry::All(floor, keys) => newer(self.all_key(ledger), all_text(as_of, *floor, keys), 0, true),
        }
    }

    /// Begins to write everything. What is returned is for [`filled`](Self::filled).
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn begin_filling(&self, ledger: LedgerId) -> Result<String, BlocklistError> {
        let mark = format!("{}:{ledger}:filling:{:032x}", self.0.prefix, u128::from_le_bytes(secret::random()));
        let mut set = cmd("SET");
        set.arg(&mark).arg(1).arg("PX").arg(millis(FILLING));
        self.call(self.ask::<()>(&set)).await?;
        Ok(mark)
    }

    /// Says that everything stands here as of a number. Returns whether that is so: not if something was lost since
    /// [`begin_filling`](Self::begin_filling).
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn filled(
        &self,
        ledger: LedgerId,
        mark: &str,
        as_of: Seq,
        floor: Generation,
        keys: &[KeyId],
    ) -> Result<bool, BlocklistError> {
        let mut eval = cmd("EVAL");
        eval.arg(FILLED).arg(3).arg(mark).arg(self.all_key(ledger)).arg(self.told_key(ledger));
        eval.arg(as_of.0).arg(all_text(as_of, floor, keys));
        Ok(self.call(self.ask::<i64>(&eval)).await? == 1)
    }

    /// Up to which number everything stands here; `None` if that is not known.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn told(&self, ledger: LedgerId) -> Result<Option<Seq>, BlocklistError> {
        let mut get = cmd("MGET");
        get.arg(&[self.told_key(ledger), self.all_key(ledger)]);
        let values: Vec<Option<String>> = self.call(self.ask(&get)).await?;
        let [told, all] = <[_; 2]>::try_from(values)
            .map_err(|values| BlocklistError::Protocol(format!("{} values for 2 keys", values.len())))?;
        let is_whole = all.as_deref().and_then(read_all).is_some();
        Ok(told.and_then(|told| told.parse().ok()).map(Seq).filter(|_| is_whole))
    }

    /// Says that everything up to a number stands here, if still everything up to `from` was said to.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn raise_told(&self, ledger: LedgerId, from: Seq, to: Seq) -> Result<(), BlocklistError> {
        let mut eval = cmd("EVAL");
        eval.arg(TOLD).arg(1).arg(self.told_key(ledger)).arg(to.0).arg(from.0);
        self.call(self.ask::<i64>(&eval)).await.map(|_| ())
    }

    /// Forgets what was written as of numbers of a history that is gone: they would stand in the way of the new one's.
    ///
    /// # Errors
    /// [`BlocklistError`]: some may be there still.
    pub async fn forget_numbers(&self, ledger: LedgerId) -> Result<(), BlocklistError> {
        let (pattern, mut cursor) = (format!("{}:{ledger}:f:*", self.0.prefix), 0_u64);
        // First: from here on no check believes that everything is there.
        let mut first = cmd("DEL");
        first.arg(&[self.all_key(ledger), self.told_key(ledger)]);
        self.call(self.ask::<i64>(&first)).await?;
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

    fn told_key(&self, ledger: LedgerId) -> String {
        format!("{}:{ledger}:told", self.0.prefix)
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

fn all_text(as_of: Seq, floor: Generation, keys: &[KeyId]) -> String {
    let head = [as_of.to_string(), floor.to_string()].into_iter();
    let words: Vec<String> = head.chain(keys.iter().map(ToString::to_string)).collect();
    words.join(" ")
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
