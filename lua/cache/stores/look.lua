-- The pending changes of some keys, for a reader that must not see what the store still lacks.
-- Atomic, because a change that is saved between the index and the stream would look like none that ever was.
local changes = KEYS[1]            -- STREAM  pending changes
local latest  = KEYS[2]            -- HASH    key -> the id of its pending change
local keys    = { unpack(ARGV, 1) }  -- the keys that are asked for
-- Reply: for each key its kind and its value, both empty when nothing is pending

local reply = {}
for _, key in ipairs(keys) do
  local kind, value = '', ''
  local id = redis.call('HGET', latest, key)
  local entry = id and redis.call('XRANGE', changes, id, id)[1]
  if entry then kind, value = entry[2][4], entry[2][6] end
  reply[#reply + 1] = kind
  reply[#reply + 1] = value
end
return reply
