-- List the keys that were told to be near the edge of their limits.
-- Atomic, because both keys must be of one moment. It changes nothing.
local seen    = KEYS[1]            -- ZSET    `limiter/key` by when it was last told of, in ms
local facts   = KEYS[2]            -- HASH    `limiter/key` -> `policy used refused since`
local keep_ms = tonumber(ARGV[1])  -- how long a key is remembered without news
-- Reply: of each key `limiter/key`, its facts, and when it was last told of

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
local flat = redis.call('ZRANGEBYSCORE', seen, string.format('(%.0f', now - keep_ms), '+inf', 'WITHSCORES')
for at = 1, #flat, 2 do
  local said = redis.call('HGET', facts, flat[at])
  if said then
    reply[#reply + 1] = flat[at]
    reply[#reply + 1] = said
    reply[#reply + 1] = flat[at + 1]
  end
end
return reply
