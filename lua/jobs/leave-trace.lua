-- Leave what is told of a job that was cancelled, and list it among those of its queue.
-- A script, because transactions take scripts only: the trace must be there as soon as the job is gone, and not without that.
local trace  = KEYS[1]              -- HASH  what is left of the job, in the fields that BullMQ's jobs have
local list   = KEYS[2]              -- ZSET  ids of the queue's cancelled jobs, by when they were
local id     = ARGV[1]              -- the job
local ttl_ms = tonumber(ARGV[2])    -- how long it is told
local most   = tonumber(ARGV[3])    -- ids that are listed, the latest
local facts  = { unpack(ARGV, 4) }  -- fields with their values
-- Reply: 1

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', trace)
redis.call('HSET', trace, unpack(facts))
redis.call('PEXPIRE', trace, ttl_ms)
redis.call('ZADD', list, now_ms, id)
redis.call('ZREMRANGEBYSCORE', list, '-inf', now_ms - ttl_ms)
redis.call('ZREMRANGEBYRANK', list, 0, -most - 1)
redis.call('PEXPIRE', list, ttl_ms)
return 1
