-- Let nobody begin to read a version any more, and remember it until all that it has is gone.
-- Atomic, because a version whose name is lost would be there for ever.
local record = KEYS[1]  -- HASH  version:N: the definition of a version; dropping:N: of one that goes
local number = ARGV[1]  -- the version
-- Reply: 1 when it was there

local definition = redis.call('HGET', record, 'version:' .. number)
if not definition then return 0 end
redis.call('HSET', record, 'dropping:' .. number, definition)
redis.call('HDEL', record, 'version:' .. number)
return 1
