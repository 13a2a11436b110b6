-- Forget a process that has stopped.
-- Atomic, because a process is in both keys or in neither.
local workers = KEYS[1]  -- HASH  process -> what it tells, as JSON
local seen    = KEYS[2]  -- ZSET  process -> when it was last heard of, in ms
local process = ARGV[1]  -- its id
-- Reply: 1 when it was known

redis.call('HDEL', workers, process)
return redis.call('ZREM', seen, process)
