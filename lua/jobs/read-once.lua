-- Look up the result of an effect, if the caller still holds the job's lease.
-- Atomic, so that whoever is told to run the effect held the lease when it was seen that nobody has the result.
local lock    = KEYS[1]            -- STRING  BullMQ's lock of the job: the token of who runs it (read only)
local effects = KEYS[2]            -- HASH    results of the job's effects, by key
local token   = ARGV[1]            -- the caller's token
local effect  = ARGV[2]            -- the effect's key
local ttl_ms  = tonumber(ARGV[3])  -- how long results are kept after the last look at least
-- Reply: {holds the lease 0|1, the result as JSON, empty for undefined, nil for none}

if redis.call('GET', lock) ~= token then return { 0, false } end
local left_ms = redis.call('PTTL', effects)
if left_ms == -2 then return { 1, false } end
if left_ms >= 0 and left_ms < ttl_ms then redis.call('PEXPIRE', effects, ttl_ms) end
return { 1, redis.call('HGET', effects, effect) }
