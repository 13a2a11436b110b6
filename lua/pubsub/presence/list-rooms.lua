-- The rooms that are noted for a user, the latest first.
-- Atomic with the server's clock, so that what has run out is not listed. Writes nothing.
local notes = KEYS[1]  -- ZSET  rooms by the end of their note in server µs
local most  = ARGV[1]  -- how many to list
-- Reply: {how many there are, room, score, room, score ...}

local time = redis.call('TIME')
-- A number in Lua's own notation would lose its last digits.
local now = '(' .. string.format('%.0f', time[1] * 1000000 + time[2])
local reply = { redis.call('ZCOUNT', notes, now, '+inf') }
for _, item in ipairs(redis.call('ZRANGE', notes, '+inf', now, 'BYSCORE', 'REV', 'LIMIT', 0, most, 'WITHSCORES')) do
  reply[#reply + 1] = item
end
return reply
