-- Give up the place of the one that runs a projection or a subscription, so that another need not wait for the lease to end.
-- Atomic, because the place may be another's by now.
local leader = KEYS[1]  -- STRING  the token of the process that runs it now
local token  = ARGV[1]  -- the caller's token
-- Reply: 1 when it was the caller's, else 0

if redis.call('GET', leader) ~= token then return 0 end
return redis.call('DEL', leader)
