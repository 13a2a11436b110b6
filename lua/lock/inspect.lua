-- Who holds a mutex and who waits for it.
-- Atomic, so that nobody is shown as holder and as waiter at once. Changes nothing.
local holder = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`, and `|claim` until it has confirmed
local queue  = KEYS[2]  -- LIST    who waits: `process|waiter|ttl ms`
local fence  = KEYS[3]  -- STRING  the last token that is known to have been given
local shown  = ARGV[1]  -- of how many waiters, the first ones, to tell
-- Reply: {the holder or nil, ms of its lease, the last token, how many wait, the server's µs as text, then each of the first}

local time = redis.call('TIME')
local reply = {
  redis.call('GET', holder),
  redis.call('PTTL', holder),
  string.match(redis.call('GET', fence) or '0', '^%d+'),
  redis.call('LLEN', queue),
  string.format('%.0f', time[1] * 1000000 + time[2]),
}
for _, entry in ipairs(redis.call('LRANGE', queue, 0, shown - 1)) do
  reply[#reply + 1] = entry
end
return reply
