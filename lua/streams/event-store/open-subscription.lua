-- Where a subscription stands; one that is new is put where it is to begin.
-- Atomic, because the end of the list must be found and kept in one step: what is appended after it is the subscription's. A position
-- beyond the last event is put back to it: Redis has lost what was between, and what comes next was not handled. One that has yet to
-- come to where it is to begin stays there.
local checkpoint = KEYS[1]  -- STRING  the position of the last event that was handled
local all        = KEYS[2]  -- STREAM  a reference to every event
local begin      = ARGV[1]  -- of a new one: the position behind which it begins, or `end`
-- Reply: {the position, the mark of the reference there or nothing; as text}

local last = redis.call('XREVRANGE', all, '+', '-', 'COUNT', 1)[1]
local top = last and string.match(last[1], '^%d+') or '0'
local first = begin == 'end' and top or begin
local known = redis.call('GET', checkpoint)
local at = known or first
if known and tonumber(known) > tonumber(top) then
  at = top
  if begin ~= 'end' and tonumber(begin) > tonumber(top) then
    at = tonumber(begin) < tonumber(known) and begin or known
  end
end
if at ~= known then redis.call('SET', checkpoint, at) end
local there = redis.call('XRANGE', all, at .. '-0', at .. '-0')[1]
return { at, there and there[2][8] or '' }
