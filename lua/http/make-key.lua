-- Keep a new API key, dated by the server.
-- Atomic, because two who make the last key that fits must not both be let in, and an id is never given twice.
local records       = KEYS[1]            -- HASH  keys as JSON, by id
local id            = ARGV[1]            -- of the new key
local record        = ARGV[2]            -- the key as JSON, without its times
local expires_in_ms = tonumber(ARGV[3])  -- how long it is good for, 0 for no end
local most          = tonumber(ARGV[4])  -- so many keys may there be
-- Reply: the record as it is kept; false when there are too many, or the id is taken.

if redis.call('HLEN', records) >= most or redis.call('HEXISTS', records, id) == 1 then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local key = cjson.decode(record)
key.createdAt = now
if expires_in_ms > 0 then key.expiresAt = now + expires_in_ms end
local kept = cjson.encode(key)
redis.call('HSET', records, id, kept)
return kept
