-- Give a holder a new deadline, if it still holds.
-- Atomic, because permits that have run out and were granted on must not come back to life.
local holders   = KEYS[1]            -- ZSET    `process|waiter` that holds permits, by the server's µs at which its lease runs out
local queue     = KEYS[2]            -- ZSET    `process|waiter` that waits
local entries   = KEYS[3]            -- HASH    of each of them `weight|mode|ttl ms|token|place`
local heard     = KEYS[4]            -- ZSET    processes with waiters
local me        = ARGV[1]            -- `process|waiter` of the caller
local ttl_ms    = tonumber(ARGV[2])  -- the lease from now on
local memory_ms = tonumber(ARGV[3])  -- for how long the keys are kept at least
-- Reply: the caller's token, empty when it holds nothing any more

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline = redis.call('ZSCORE', holders, me)
local entry = redis.call('HGET', entries, me)
if not deadline or not entry or tonumber(deadline) <= now then return '' end

redis.call('ZADD', holders, now + ttl_ms * 1000, me)
local latest = redis.call('ZREVRANGE', holders, 0, 0, 'WITHSCORES')[2]
local until_ms = math.ceil(math.max(latest / 1000, now / 1000 + memory_ms))
for _, key in ipairs({ holders, queue, entries, heard }) do redis.call('PEXPIREAT', key, until_ms) end
return string.match(entry, '|(%d+)|%d+$')
