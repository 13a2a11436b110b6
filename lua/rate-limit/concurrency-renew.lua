-- Renew the leases of slots that one process holds.
-- Atomic, because a lease that has run out, or was forgotten by a server that lost its data, is taken anew only while a slot is free.
local holders = KEYS[1]              -- ZSET  ids of those that hold a slot, by the end of their lease in server µs
local max     = tonumber(ARGV[1])    -- how many may hold a slot
local ttl_ms  = tonumber(ARGV[2])    -- how long the leases are from now on
local ids     = { unpack(ARGV, 3) }  -- whose leases
-- Reply: the ids that no longer hold a slot, because others have taken them all

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
local in_use = redis.call('ZCARD', holders)
local lost = {}
for _, id in ipairs(ids) do
  local is_mine = redis.call('ZSCORE', holders, id)
  if is_mine or in_use < max then
    redis.call('ZADD', holders, now + ttl_ms * 1000, id)
    if not is_mine then in_use = in_use + 1 end
  else
    lost[#lost + 1] = id
  end
end
if in_use > 0 and redis.call('PTTL', holders) < ttl_ms then redis.call('PEXPIRE', holders, ttl_ms) end
return lost
