-- Let the version that was built be the one that is read and written.
-- Atomic, because a version may take over only from the one that it was built of.
local record = KEYS[1]  -- HASH  current: the version; last: the highest so far; version:N: its definition; building: the one that is built
local old    = ARGV[1]  -- the version that it was built of
local new    = ARGV[2]  -- the version that was built
-- Reply: 1 when it is so now, 0 when another one has taken over meanwhile

local current = redis.call('HGET', record, 'current')
if current ~= old and current ~= new then return 0 end
redis.call('HSET', record, 'current', new)
if redis.call('HGET', record, 'building') == new then redis.call('HDEL', record, 'building') end
return 1
