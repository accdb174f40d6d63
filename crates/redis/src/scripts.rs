//! What the server does in one step: a script for each.
//!
//! Each may be sent twice where an answer was lost: it recognises what it has done already. A
//! message that may not be published undoes nothing, for it is looked for all the same.

use std::sync::LazyLock;

use redis::Script;

/// Compare-and-swap. `KEYS`: record. `ARGV`: the epoch (empty: nothing is stored) and revision that
/// are expected; epoch, revision and body to store; channel, message. Answers 1, or 0 and the epoch,
/// revision and body that are stored.
pub(crate) static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'body')
if not stored[1] then
  if ARGV[1] ~= '' then return {0, false, false, false} end
elseif stored[1] == ARGV[3] and stored[2] == ARGV[4] and stored[3] == ARGV[5] then
  return {1, false, false, false}
elseif stored[1] ~= ARGV[1] or stored[2] ~= ARGV[2] then
  return {0, stored[1], stored[2], stored[3]}
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'revision', ARGV[4], 'body', ARGV[5])
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return {1, false, false, false}
",
    )
});

/// Takes the lease. `KEYS`: lease, fence. `ARGV`: owner, milliseconds. Answers 1 and the fence, or 0
/// and how many milliseconds are left to the holder.
///
/// A fence is one more than the last, and more than the clock says, so that fences grow even where
/// the last one was lost.
pub(crate) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, tonumber(redis.call('GET', KEYS[2]))}
elseif owner then
  return {0, redis.call('PTTL', KEYS[1])}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('GET', KEYS[2]) or '0') < now then
  redis.call('SET', KEYS[2], string.format('%.0f', now))
end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, fence}
",
    )
});

/// Looks at the lease. `KEYS`: lease, fence. Answers how many milliseconds are left to the holder
/// and the fence, or -1 if the lease is free.
pub(crate) static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local left = redis.call('PTTL', KEYS[1])
if left < 0 then return {-1, 0} end
return {left, tonumber(redis.call('GET', KEYS[2]) or '0')}
",
    )
});

/// Prolongs the lease. `KEYS`: lease. `ARGV`: owner, milliseconds. Answers 1, or 0 if it is lost.
pub(crate) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
",
    )
});

/// Gives the lease back. `KEYS`: lease. `ARGV`: owner, channel, message.
pub(crate) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
",
    )
});
