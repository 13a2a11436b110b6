-- Find the version of an index that is read now, or begin the index with its first one.
-- Atomic, because two processes that begin it with different definitions must both see the one that counts.
local record     = KEYS[1]  -- HASH  current: the version; last: the highest so far; version:N: its definition
local definition = ARGV[1]  -- JSON  what the first version would be
-- Reply: {1 when it began, the version, its definition}

local current = redis.call('HGET', record, 'current')
if current then return { 0, current, redis.call('HGET', record, 'version:' .. current) } end
redis.call('HSET', record, 'current', '1', 'last', '1', 'version:1', definition)
return { 1, '1', definition }
