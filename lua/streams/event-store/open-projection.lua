-- Which build of a projection is read and how far it has come; a projection that is new gets its first build.
-- Atomic, because two processes that find none must agree on the same one. A checkpoint beyond the last event is put back to it:
-- Redis has lost what was between, and what comes next has not counted.
local builds = KEYS[1]  -- HASH  live, next, last, recipe: numbers of builds; at:NUMBER: how far each has come
local all    = KEYS[2]  -- STREAM  a reference to every event
-- Reply: {the live build, how far it has come; as text}

local live = redis.call('HGET', builds, 'live')
if not live then
  live = string.format('%.0f', tonumber(redis.call('HGET', builds, 'last') or '0') + 1)
  redis.call('HSET', builds, 'live', live, 'last', live, 'at:' .. live, '0')
end
local at = redis.call('HGET', builds, 'at:' .. live) or '0'
local last = redis.call('XREVRANGE', all, '+', '-', 'COUNT', 1)[1]
local top = last and string.match(last[1], '^%d+') or '0'
if tonumber(at) > tonumber(top) then
  at = top
  redis.call('HSET', builds, 'at:' .. live, at)
end
return { live, at }
