-- Find who holds permits by a token. Changes nothing.
-- Atomic, so that no holder is missed while others come and go. It looks at every holder, so it is for operators only.
local holders = KEYS[1]            -- ZSET    `process|waiter` that holds permits, by the server's µs at which its lease runs out
local entries = KEYS[2]            -- HASH    of each of them `weight|mode|ttl ms|token|place`
local token   = ARGV[1]            -- as it was granted
-- Reply: `process|waiter`, empty when nobody holds by it

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for _, id in ipairs(redis.call('ZRANGEBYSCORE', holders, now + 1, '+inf')) do
  local entry = redis.call('HGET', entries, id)
  if entry and string.match(entry, '|(%d+)|%d+$') == token then return id end
end
return ''
