-- Where a subscription stands; one that is new is put where it is to begin.
-- Atomic, because the end of the list must be found and kept in one step: what is appended after it is the subscription's.
local checkpoint = KEYS[1]  -- STRING  the position of the last event that was handled
local all        = KEYS[2]  -- STREAM  a reference to every event
local begin      = ARGV[1]  -- of a new one: the position behind which it begins, or `end`
-- Reply: the position, as text

local known = redis.call('GET', checkpoint)
if known then return known end
if begin == 'end' then
  local top = redis.call('XREVRANGE', all, '+', '-', 'COUNT', 1)[1]
  begin = top and string.match(top[1], '^%d+') or '0'
end
redis.call('SET', checkpoint, begin)
return begin
