-- Note that an API key was used.
-- Atomic, because a key that is revoked at the same moment must leave no note behind.
local records = KEYS[1]  -- HASH  keys as JSON, by id (read only)
local used    = KEYS[2]  -- HASH  when each was used last, in ms since 1970
local id      = ARGV[1]  -- of the key
-- Reply: 1 when it was noted, 0 when there is no such key.

if redis.call('HEXISTS', records, id) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', used, id, string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
return 1
