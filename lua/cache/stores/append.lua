-- Accept changes of a store: each becomes an entry of the stream, and takes the place of an older one of its key that still waits.
-- Atomic, because the limit, the versions, the index that readers use and the entries must agree, and a newer change must never
-- stand beside an older one: that is what keeps the order of a key. All changes of a call are accepted, or none.
local changes     = KEYS[1]            -- STREAM  one entry a pending change; its id is VERSION-0
local latest      = KEYS[2]            -- HASH    key -> the id of its pending change
local attempts    = KEYS[3]            -- HASH    id -> how often it was taken to be saved
local retries     = KEYS[4]            -- ZSET    id -> when it may be tried again, in us since 1970
local untold      = KEYS[5]            -- HASH    id -> 1 until its writer has dropped what the cache held
local last        = KEYS[6]            -- STRING  the last version that was given
local dead        = KEYS[7]            -- STREAM  dead letters
local dead_keys   = KEYS[8]            -- HASH    key -> the id of its dead letter
local max_pending = tonumber(ARGV[1])  -- how many changes may be pending
local fields      = { unpack(ARGV, 2) }  -- of each change: key, kind (set, remove), value as JSON
-- Reply: {accepted 0|1, pending, dead letters that were replaced, changes that were replaced, the versions as strings...}

local pending = redis.call('XLEN', changes)
local more, seen = 0, {}
for at = 1, #fields, 3 do
  local key = fields[at]
  if not seen[key] and redis.call('HEXISTS', latest, key) == 0 then more = more + 1 end
  seen[key] = true
end
if more > 0 and pending + more > max_pending then return { 0, pending, 0, 0 } end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local version = tonumber(redis.call('GET', last) or '0')
local replaced_letters, replaced_changes, versions = 0, 0, {}
for at = 1, #fields, 3 do
  local key = fields[at]
  version = math.max(now, version + 1)
  local text = string.format('%.0f', version)
  local id = text .. '-0'
  redis.call('XADD', changes, id, 'key', key, 'kind', fields[at + 1], 'value', fields[at + 2], 'accepted', text, 'redriven', '0')
  local older = redis.call('HGET', latest, key)
  if older then
    redis.call('XDEL', changes, older)
    redis.call('HDEL', attempts, older)
    redis.call('ZREM', retries, older)
    redis.call('HDEL', untold, older)
    replaced_changes = replaced_changes + 1
  end
  redis.call('HSET', latest, key, id)
  redis.call('HSET', untold, id, '1')
  local letter = redis.call('HGET', dead_keys, key)
  if letter then
    redis.call('XDEL', dead, letter)
    redis.call('HDEL', dead_keys, key)
    replaced_letters = replaced_letters + 1
  end
  versions[#versions + 1] = text
end
redis.call('SET', last, string.format('%.0f', version))
return { 1, redis.call('XLEN', changes), replaced_letters, replaced_changes, unpack(versions) }
