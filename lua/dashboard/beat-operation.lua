-- Say that a start of an operation goes on, and how far it is.
-- Atomic, because a start that was taken for dead must neither look alive again nor write over the one that came after it.
local operation = KEYS[1]            -- HASH    progress, abort, holder
local alive     = KEYS[2]            -- STRING  the token of the start that works on it
local token     = ARGV[1]            -- of the start that says so
local progress  = ARGV[2]            -- as JSON
local alive_ms  = tonumber(ARGV[3])  -- how long it counts as alive without a further beat
local keep_ms   = tonumber(ARGV[4])  -- how long the operation is kept
-- Reply: {1, who wants it to end or ''} | {0} when it is another's, or gone

if redis.call('HGET', operation, 'holder') ~= token then return { 0 } end
redis.call('SET', alive, token, 'PX', alive_ms)
redis.call('HSET', operation, 'progress', progress)
redis.call('PEXPIRE', operation, keep_ms)
return { 1, redis.call('HGET', operation, 'abort') or '' }
