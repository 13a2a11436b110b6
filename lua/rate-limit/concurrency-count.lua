-- Count the slots of a concurrency limit that are in use.
-- Atomic with the server's clock, so that a lease which has run out is not counted. Writes nothing.
local holders = KEYS[1]  -- ZSET  ids of those that hold a slot, by the end of their lease in server µs
-- Reply: how many

local time = redis.call('TIME')
-- A number in Lua's own notation would lose its last digits.
local now = string.format('%.0f', time[1] * 1000000 + time[2])
return redis.call('ZCOUNT', holders, '(' .. now, '+inf')
