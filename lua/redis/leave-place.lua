-- Give up a place, so that another process need not wait for the end of the lease.
-- Atomic, because by now the place may be another's.
local place = KEYS[1]  -- STRING  the token of the process that has it now
local token = ARGV[1]  -- the caller's token
-- Reply: 1 when it was the caller's, else 0

if redis.call('GET', place) ~= token then return 0 end
return redis.call('DEL', place)
