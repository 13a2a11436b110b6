-- Leave what is told of a job that was cancelled.
-- A script, because transactions take scripts only: the trace must be there as soon as the job is gone, and not without that.
local trace  = KEYS[1]            -- STRING  what is left of the job
local record = ARGV[1]            -- as JSON
local ttl_ms = tonumber(ARGV[2])  -- how long it is told
-- Reply: 1

redis.call('SET', trace, record, 'PX', ttl_ms)
return 1
