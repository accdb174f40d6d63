//! Scripts that run as one step on the server.
//!
//! A script may be sent twice if the first response is lost, so each script recognises its own earlier run. A failed
//! `PUBLISH` is ignored, because waiting tasks also poll.

use std::sync::LazyLock;

use redis::Script;

/// Reads a record and the server's clock, from the primary: a replica may lag behind.
///
/// `KEYS`: record. Returns epoch, revision, body, and the clock's seconds and microseconds.
pub(crate) static LOAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local role = redis.pcall('INFO', 'replication')
if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'body')
local time = redis.call('TIME')
return {stored[1], stored[2], stored[3], time[1], time[2]}
",
    )
});

/// Saves a record by compare-and-swap.
///
/// `KEYS`: record. `ARGV`: expected epoch (empty if no record is expected) and expected revision; epoch, revision and
/// body to store; channel, message. Returns 1, or 0 with the stored epoch, revision and body and the server's clock.
pub(crate) static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'body')
if not stored[1] then
  if ARGV[1] ~= '' then return {0, false, false, false, false, false} end
elseif stored[1] == ARGV[3] and stored[2] == ARGV[4] and stored[3] == ARGV[5] then
  return {1, false, false, false, false, false}
elseif stored[1] ~= ARGV[1] or stored[2] ~= ARGV[2] then
  local time = redis.call('TIME')
  return {0, stored[1], stored[2], stored[3], time[1], time[2]}
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'revision', ARGV[4], 'body', ARGV[5])
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return {1, false, false, false, false, false}
",
    )
});

/// Acquires the lease.
///
/// `KEYS`: lease, fence. `ARGV`: owner, life in milliseconds. Returns 1 and the fence, or 0 and the holder's remaining
/// life in milliseconds.
///
/// A fence is greater than the last fence and greater than the server's clock, so that fences grow even if the last
/// fence was lost.
pub(crate) static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
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

/// Reads the lease. `KEYS`: lease, fence. Returns the holder's remaining life in milliseconds and the fence, or -1 if
/// the lease is free.
pub(crate) static INSPECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local left = redis.call('PTTL', KEYS[1])
if left < 0 then return {-1, 0} end
return {left, tonumber(redis.call('GET', KEYS[2]) or '0')}
",
    )
});

/// Renews the lease. `KEYS`: lease. `ARGV`: owner, life in milliseconds. Returns 1, or 0 if the lease is lost.
pub(crate) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
",
    )
});

/// Releases the lease. `KEYS`: lease. `ARGV`: owner, channel, message.
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
