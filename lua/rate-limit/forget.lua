-- Forget what is kept about a key, and tell those who remember a refusal.
-- Atomic, because a refusal that is remembered must not outlive what caused it, even if the caller dies in between.
local channel = ARGV[1]              -- where it is told
local message = ARGV[2]              -- what is told
local kept    = { unpack(KEYS, 1) }  -- the block, the states of policies, or both
-- Reply: how many of the keys were there.

local count = redis.call('UNLINK', unpack(kept))
redis.call('PUBLISH', channel, message)
return count
