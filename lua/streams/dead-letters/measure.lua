-- How many dead letters a group has, and how old the oldest is.
-- Atomic, so that the figures belong together. It changes nothing.
local dead = KEYS[1]  -- STREAM  the group's dead letters
-- Reply: {how many there are, for how many ms the oldest has been one}

local oldest = redis.call('XRANGE', dead, '-', '+', 'COUNT', 1)[1]
if not oldest then return { 0, 0 } end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return { redis.call('XLEN', dead), math.max(0, now_ms - tonumber(string.match(oldest[1], '^%d+'))) }
