-- Tell who holds permits and who waits for them. Changes nothing.
-- Atomic, so that nobody is seen twice or not at all on the way from waiting to holding.
local holders  = KEYS[1]            -- ZSET    `process|waiter` that holds permits, by the server's µs at which its lease runs out
local queue    = KEYS[2]            -- ZSET    `process|waiter` that waits, by the server's µs of arrival
local entries  = KEYS[3]            -- HASH    of each of them `weight|mode|ttl ms|token|place`
local permits  = KEYS[4]            -- STRING  how many there are, where somebody has set it
local declared = tonumber(ARGV[1])  -- how many permits there are where nobody has set it
local most     = tonumber(ARGV[2])  -- how many holders, and how many waiters, are told of at most
-- Reply: {permits, permits held by all, holders: [id, entry, ms left, ...], number of waiters, waiters: [id, entry, ms waited, ...],
-- number of holders, the server's µs as text}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local held = {}
local used = 0
local ids = redis.call('ZRANGEBYSCORE', holders, now + 1, '+inf')
for at, id in ipairs(ids) do
  local entry = redis.call('HGET', entries, id) or ''
  used = used + tonumber(string.match(entry, '^%d+') or '0')
  if at <= most then
    held[#held + 1] = id
    held[#held + 1] = entry
    held[#held + 1] = math.floor((redis.call('ZSCORE', holders, id) - now) / 1000)
  end
end

local waiting = {}
for _, id in ipairs(redis.call('ZRANGE', queue, 0, most - 1)) do
  waiting[#waiting + 1] = id
  waiting[#waiting + 1] = redis.call('HGET', entries, id) or ''
  waiting[#waiting + 1] = math.max(0, math.floor((now - redis.call('ZSCORE', queue, id)) / 1000))
end

local there = tonumber(redis.call('GET', permits) or declared)
return { there, used, held, redis.call('ZCARD', queue), waiting, #ids, string.format('%.0f', now) }
