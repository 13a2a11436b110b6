-- Settle what lies beside a job that dies or is given back: the results of its effects live as long as it may be given back; an order to
-- cancel it, which was for the life that has ended, does not.
-- Atomic with the move of the job, so that its next life has the effects of the last one and none of its orders.
local effects = KEYS[1]            -- HASH  results of the job's effects, by key
local cancels = KEYS[2]            -- HASH  job -> why it shall be cancelled
local job_id  = ARGV[1]            -- the job
local ttl_ms  = tonumber(ARGV[2])  -- how long results are kept at least
-- Reply: 1 when the job has had effects, else 0

redis.call('HDEL', cancels, job_id)
local left_ms = redis.call('PTTL', effects)
if left_ms >= 0 and left_ms < ttl_ms then redis.call('PEXPIRE', effects, ttl_ms) end
return left_ms == -2 and 0 or 1
