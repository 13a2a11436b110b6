-- Remove dead letters for good.
-- Atomic, because the index of keys must name no letter that is gone.
local dead      = KEYS[1]            -- STREAM  dead letters
local dead_keys = KEYS[2]            -- HASH    key -> the id of its dead letter
local letters   = { unpack(ARGV, 1) }  -- ids of dead letters
-- Reply: how many were there

local removed = 0
for _, letter in ipairs(letters) do
  local entry = redis.call('XRANGE', dead, letter, letter)[1]
  if entry then
    redis.call('XDEL', dead, letter)
    redis.call('HDEL', dead_keys, entry[2][2])
    removed = removed + 1
  end
end
return removed
