-- Which build of a projection is read and how far it has come; a projection that is new gets its first build.
-- Atomic, because two processes that find none must agree on the same one.
local builds = KEYS[1]  -- HASH  live, next, last, recipe: numbers of builds; at:NUMBER: how far each has come
-- Reply: {the live build, how far it has come; as text}

local live = redis.call('HGET', builds, 'live')
if not live then
  live = string.format('%.0f', tonumber(redis.call('HGET', builds, 'last') or '0') + 1)
  redis.call('HSET', builds, 'live', live, 'last', live, 'at:' .. live, '0')
end
return { live, redis.call('HGET', builds, 'at:' .. live) or '0' }
