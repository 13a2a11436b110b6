-- Write what is kept of a schedule, and its place among those that wait for their next tick, unless somebody else has written it.
-- Atomic, because a worker that settles ticks and one that changes the schedule must not undo one another.
local state       = KEYS[1]            -- HASH  what is kept of the schedule
local index       = KEYS[2]            -- ZSET  schedule -> when its next tick is due, in ms since 1970
local runs        = KEYS[3]            -- LIST  ids of its last runs, the newest first
local id          = ARGV[1]            -- the schedule
local expected    = ARGV[2]            -- the token that was read; empty for a schedule that is not there
local next_ms     = ARGV[3]            -- its next tick; empty for none
local ttl_ms      = tonumber(ARGV[4])  -- when to forget it by itself; 0 for never
local runs_kept   = tonumber(ARGV[5])  -- how many runs to remember
local field_count = tonumber(ARGV[6])  -- how many of the rest are fields and values; 0 to remove the schedule
local rest        = { unpack(ARGV, 7) }  -- fields and values, then the ids of runs to add, the oldest first
-- Reply: 1 when written, 0 when the token is another one by now

if (redis.call('HGET', state, 'token') or '') ~= expected then return 0 end
if field_count == 0 then
  redis.call('DEL', state, runs)
  redis.call('ZREM', index, id)
  return 1
end
redis.call('HSET', state, unpack(rest, 1, field_count))
for at = field_count + 1, #rest do redis.call('LPUSH', runs, rest[at]) end
if #rest > field_count then redis.call('LTRIM', runs, 0, runs_kept - 1) end
for _, key in ipairs({ state, runs }) do
  if ttl_ms > 0 then redis.call('PEXPIRE', key, ttl_ms) else redis.call('PERSIST', key) end
end
if next_ms == '' then redis.call('ZREM', index, id) else redis.call('ZADD', index, next_ms, id) end
return 1
