-- Take an operation that nobody works on, for a new start of it.
-- Atomic, because of two who ask at once one must get it, and its token must be there before the other could write.
local operation = KEYS[1]            -- HASH    plan, progress, state, note, abort, holder, spent
local alive     = KEYS[2]            -- STRING  the token of the start that works on it
local token     = ARGV[1]            -- of the new start
local plan      = ARGV[2]            -- as JSON
local progress  = ARGV[3]            -- as JSON
local alive_ms  = tonumber(ARGV[4])  -- how long it counts as alive without a beat
local keep_ms   = tonumber(ARGV[5])  -- how long the operation is kept
-- Reply: how many letters of its limit are spent | -1 when somebody works on it, it is done, or it is gone

local state = redis.call('HGET', operation, 'state')
if not state or state == 'done' or redis.call('EXISTS', alive) == 1 then return -1 end
redis.call('SET', alive, token, 'PX', alive_ms)
redis.call('HSET', operation, 'plan', plan, 'progress', progress, 'state', 'running', 'holder', token)
redis.call('HDEL', operation, 'abort', 'note')
redis.call('PEXPIRE', operation, keep_ms)
return tonumber(redis.call('HGET', operation, 'spent') or '0')
