-- Begin a new version of an index, or find the one of the same definition that was begun and not finished.
-- Atomic, because two processes that rebuild at once must build the same version, not one each.
local record     = KEYS[1]  -- HASH  current: the version; last: the highest so far; version:N: its definition; building: the one that is built
local definition = ARGV[1]  -- JSON  what it shall be
-- Reply: the version

local building = redis.call('HGET', record, 'building')
if building and redis.call('HGET', record, 'version:' .. building) == definition then return building end
local version = tostring(redis.call('HINCRBY', record, 'last', 1))
redis.call('HSET', record, 'building', version, 'version:' .. version, definition)
return version
