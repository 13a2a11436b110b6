-- Take a slot of a concurrency limit, if one is free.
-- Atomic, because two callers that count first and add then would both take the last slot. The clock is the server's, so that no
-- caller's clock ends another's lease. Asked again with the same id, as after a lost reply, the caller keeps the slot that it has.
local holders = KEYS[1]            -- ZSET  ids of those that hold a slot, by the end of their lease in server µs
local id      = ARGV[1]            -- the caller's, of this one call
local max     = tonumber(ARGV[2])  -- how many may hold a slot
local ttl_ms  = tonumber(ARGV[3])  -- how long its lease is
-- Reply: {taken 0|1, slots in use, ms until the first lease would end or 0}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
local in_use = redis.call('ZCARD', holders)
local is_mine = redis.call('ZSCORE', holders, id)
if not is_mine and in_use >= max then
  local first = redis.call('ZRANGE', holders, 0, 0, 'WITHSCORES')
  return { 0, in_use, math.ceil((first[2] - now) / 1000) }
end
redis.call('ZADD', holders, now + ttl_ms * 1000, id)
-- Never shortened: callers of another release may have longer leases. Without a TTL, PTTL is -1.
if redis.call('PTTL', holders) < ttl_ms then redis.call('PEXPIRE', holders, ttl_ms) end
return { 1, is_mine and in_use or in_use + 1, 0 }
