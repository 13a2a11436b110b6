-- Read an API key, when it was used last, and what the clock says.
-- One act, because the key is held against the very clock that dated it.
local records = KEYS[1]  -- HASH  keys as JSON, by id (read only)
local used    = KEYS[2]  -- HASH  when each was used last, in ms since 1970 (read only)
local id      = ARGV[1]  -- of the key
-- Reply: {the record or false, its last use or false, the time in ms}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return { redis.call('HGET', records, id), redis.call('HGET', used, id), now }
