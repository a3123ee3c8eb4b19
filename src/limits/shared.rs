//! Counts that all nodes share, in Redis.
//!
//! | key | holds |
//! |---|---|
//! | `{prefix}:{limits}:…`, with the kind and 128 bits of the MAC | ledger time in microseconds at which it will have drained |
//!
//! One script decides over all buckets of a try and fills them, so no other node comes between. All keys have one hash
//! tag (the braces are part of them): a script's keys are in one slot. A key expires a second after it has drained, an
//! hour at most, so their number is bounded by what can be tried in an hour.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::revocation::blocklist::{Blocklist, BlocklistError};

use super::bucket::{Bucket, Over, Tries};

/// KEYS: the hard buckets, then those of which one has to have room. ARGV: now, the number of hard ones, and cost and
/// room of each key. A negative cost gives back. Answers which key stands against it and for how long, or zeros.
///
/// Numbers are doubles, exact to 2^53 µs = 285 years. They are written with a format: by default they get 14 digits.
const SCRIPT: &str = r"
local now, hard = tonumber(ARGV[1]), tonumber(ARGV[2])
local levels, worst, wait, nearest, least = {}, 0, 0, 0, nil
for i, key in ipairs(KEYS) do
  local cost, room = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local drained = tonumber(redis.call('GET', key)) or 0
  local level = math.min(math.max(drained - now, 0), room) + cost
  local over = level - room
  levels[i] = math.max(math.min(level, room), 0)
  if i <= hard then
    if over > wait then worst, wait = i, over end
  elseif least == nil or over < least then
    nearest, least = i, over
  end
end
if least ~= nil and least > wait then worst, wait = nearest, least end
if wait > 0 then return {worst, wait} end
for i, key in ipairs(KEYS) do
  if levels[i] > 0 then
    redis.call('SET', key, string.format('%.0f', now + levels[i]), 'PX', math.floor(levels[i] / 1000) + 1000)
  else
    redis.call('DEL', key)
  end
end
return {0, 0}
";

/// Takes all or nothing.
pub(super) async fn take(redis: &Blocklist, now: i64, tries: &Tries) -> Result<Result<(), Over>, BlocklistError> {
    let answer = run(redis, now, tries, 1).await?;
    let &[worst, wait] = answer.as_slice() else {
        return Err(BlocklistError::Protocol(format!("{} numbers for a limit", answer.len())));
    };
    let bucket = usize::try_from(worst - 1).ok().and_then(|at| tries.buckets().nth(at));
    Ok(bucket.map_or(Ok(()), |bucket| Err(Over::new(bucket.table, wait))))
}

/// Gives back what was taken.
pub(super) async fn give_back(redis: &Blocklist, now: i64, tries: &Tries) -> Result<(), BlocklistError> {
    run(redis, now, tries, -1).await.map(drop)
}

async fn run(redis: &Blocklist, now: i64, tries: &Tries, sign: i64) -> Result<Vec<i64>, BlocklistError> {
    let keys: Vec<String> = tries.buckets().map(key).collect();
    let head = [now, i64::try_from(tries.hard_count()).unwrap_or(i64::MAX)];
    let costs = tries.buckets().flat_map(|bucket| [sign * bucket.cost, bucket.room]);
    let arguments: Vec<i64> = head.into_iter().chain(costs).collect();
    redis.run(SCRIPT, &keys, &arguments).await
}

/// What a key is called behind the prefix.
fn key(bucket: &Bucket) -> String {
    let letter = char::from(b'a' + bucket.table as u8);
    format!("{{limits}}:{letter}{}", URL_SAFE_NO_PAD.encode(&bucket.mac[..16]))
}
