-- Keep the result of an effect with its job, if the caller still holds the job's lease.
-- Atomic, because a worker that was paused past its lease must not store beside the one that runs the job now.
local lock    = KEYS[1]            -- STRING  BullMQ's lock of the job: the token of who runs it (read only)
local effects = KEYS[2]            -- HASH    results of the job's effects, by key
local token   = ARGV[1]            -- the caller's token
local effect  = ARGV[2]            -- the effect's key
local result  = ARGV[3]            -- its result as JSON, empty for undefined
local ttl_ms  = tonumber(ARGV[4])  -- how long results are kept after the last one at least
-- Reply: 1 when stored, 0 when the lease is another's or nobody's

if redis.call('GET', lock) ~= token then return 0 end
redis.call('HSET', effects, effect, result)
if redis.call('PTTL', effects) < ttl_ms then redis.call('PEXPIRE', effects, ttl_ms) end
return 1
