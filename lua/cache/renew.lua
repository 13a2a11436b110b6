-- Extend a lease, if it is still the caller's.
-- Atomic, so that one that ran out and was given to another is not extended for him.
local lease    = KEYS[1]            -- STRING  12 bytes of token, epoch, tags with their versions
local token    = ARGV[1]            -- of the load that runs
local lease_ms = tonumber(ARGV[2])  -- from now
-- Reply: 1, or 0 when it is no longer the caller's

if redis.call('GETRANGE', lease, 0, 11) ~= token then return 0 end
return redis.call('PEXPIRE', lease, lease_ms)
