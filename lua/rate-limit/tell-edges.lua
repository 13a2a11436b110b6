-- Note the keys that a process saw near the edge of their limits, and forget those of which nothing was heard for long.
-- Atomic, because what several processes tell of a key is added up, and both keys must hold the same fields.
local seen    = KEYS[1]            -- ZSET    `limiter/key` by when it was last told of, in ms
local facts   = KEYS[2]            -- HASH    `limiter/key` -> `policy used refused since states`
local keep_ms = tonumber(ARGV[1])  -- how long a key is remembered without news
local most    = tonumber(ARGV[2])  -- how many keys are remembered; those go first of which nothing was heard for longest
local told    = {unpack(ARGV, 3)}  -- of each key: `limiter/key`, the policy, how much of it is used, how many calls were refused since the last time, where the states of its policies are
-- Reply: how many keys are remembered

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now)

local function forget(fields)
  if #fields == 0 then return end
  redis.call('ZREM', seen, unpack(fields))
  redis.call('HDEL', facts, unpack(fields))
end
forget(redis.call('ZRANGEBYSCORE', seen, '-inf', string.format('%.0f', now - keep_ms)))

for at = 1, #told, 5 do
  local field, policy, used, now_refused, states = unpack(told, at, at + 4)
  local refused, since = string.match(redis.call('HGET', facts, field) or '', '^%S+ %S+ (%d+) (%d+)')
  refused = string.format('%.0f', (refused or 0) + now_refused)
  redis.call('HSET', facts, field, table.concat({ policy, used, refused, since or now_text, states }, ' '))
  redis.call('ZADD', seen, now_text, field)
end
local excess = redis.call('ZCARD', seen) - most
if excess > 0 then forget(redis.call('ZRANGE', seen, 0, excess - 1)) end
redis.call('PEXPIRE', seen, keep_ms)
redis.call('PEXPIRE', facts, keep_ms)
return redis.call('ZCARD', seen)
