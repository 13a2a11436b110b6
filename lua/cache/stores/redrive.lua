-- Make pending changes of dead letters again, each under a new version.
-- Atomic, because a letter must not be sent back twice, nor be lost in between. No newer change of its key can be there: it would have
-- replaced the letter when it was accepted.
local changes     = KEYS[1]            -- STREAM  pending changes
local latest      = KEYS[2]            -- HASH    key -> the id of its pending change
local untold      = KEYS[3]            -- HASH    id -> 1 until its writer has dropped what the cache held
local last        = KEYS[4]            -- STRING  the last version that was given
local dead        = KEYS[5]            -- STREAM  dead letters
local dead_keys   = KEYS[6]            -- HASH    key -> the id of its dead letter
local max_pending = tonumber(ARGV[1])  -- how many changes may be pending
local letters     = { unpack(ARGV, 2) }  -- ids of dead letters
-- Reply: for each letter whose turn came before the store was full: its key and the new change's id, both empty for one that is not there any more

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local version = tonumber(redis.call('GET', last) or '0')
local reply = {}
for _, letter in ipairs(letters) do
  if redis.call('XLEN', changes) >= max_pending then break end
  local entry = redis.call('XRANGE', dead, letter, letter)[1]
  local key, id = '', ''
  if entry then
    local fields = entry[2]
    key = fields[2]
    version = math.max(now, version + 1)
    id = string.format('%.0f-0', version)
    redis.call('XADD', changes, id, 'key', key, 'kind', fields[4], 'value', fields[6], 'accepted', fields[8],
      'redriven', string.format('%d', tonumber(fields[10]) + 1))
    redis.call('HSET', latest, key, id)
    redis.call('HSET', untold, id, '1')
    redis.call('XDEL', dead, letter)
    redis.call('HDEL', dead_keys, key)
  end
  reply[#reply + 1] = key
  reply[#reply + 1] = id
end
redis.call('SET', last, string.format('%.0f', version))
return reply
