-- Keep a new API key, dated by the server.
-- Atomic, because two who make the last key that fits must not both be let in, and an id is never given twice. When there is no room, those
-- that have expired make it.
local records       = KEYS[1]            -- HASH  keys as JSON, by id
local used          = KEYS[2]            -- HASH  when each was used last, in ms since 1970
local id            = ARGV[1]            -- of the new key
local record        = ARGV[2]            -- the key as JSON, without its times
local expires_in_ms = tonumber(ARGV[3])  -- how long it is good for, 0 for no end
local most          = tonumber(ARGV[4])  -- so many keys may there be
-- Reply: the record as it is kept; false when there are too many, or the id is taken.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if redis.call('HLEN', records) >= most then
  local all = redis.call('HGETALL', records)
  for index = 1, #all, 2 do
    local expires_at = cjson.decode(all[index + 1]).expiresAt
    if expires_at and expires_at <= now then
      redis.call('HDEL', records, all[index])
      redis.call('HDEL', used, all[index])
    end
  end
end
if redis.call('HLEN', records) >= most or redis.call('HEXISTS', records, id) == 1 then return false end
local key = cjson.decode(record)
key.createdAt = now
if expires_in_ms > 0 then key.expiresAt = now + expires_in_ms end
local kept = cjson.encode(key)
redis.call('HSET', records, id, kept)
return kept
