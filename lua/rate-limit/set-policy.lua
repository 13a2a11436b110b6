-- Change a policy of a limiter, or go back to what the code says, and tell all processes.
-- Atomic, because a change that nobody is told of would hold in new processes only.
local changes = KEYS[1]  -- HASH  changes by the policy's name, as JSON; never expires: it is configuration until it is changed again
local name    = ARGV[1]  -- the policy
local change  = ARGV[2]  -- what differs from the code, empty for nothing
local channel = ARGV[3]  -- where it is told
local message = ARGV[4]  -- what is told
-- Reply: 1.

if change == '' then
  redis.call('HDEL', changes, name)
else
  redis.call('HSET', changes, name, change)
end
redis.call('PUBLISH', channel, message)
return 1
