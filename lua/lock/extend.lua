-- Begin the lease of a mutex anew, if it is still the caller's.
-- Atomic, because between looking and extending it could pass to another, whose lease would then be lengthened for nothing.
-- Races: repeated after a lost answer it does the same again. After a hand-over, an expiry or a failover that lost the lock it refuses.
local holder = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`
local fence  = KEYS[2]  -- STRING  the last token that is known to have been given, and `||ms` of a lease that is not as long as its holder says
local mine   = ARGV[1]  -- the holder's value
local ttl_ms = ARGV[2]  -- the lease, from now
-- Reply: 1 when it is held, 0 when it is not

local FENCE_MS = 86400000 -- how long the last token is remembered

if redis.call('GET', holder) ~= mine then return 0 end
redis.call('PEXPIRE', holder, ttl_ms)
-- The holder's value stays, by which it is known; release.lua must know the lease where it has to put it back.
local first_ms, token = string.match(mine, '|(%d+)|(%d+)$')
redis.call('SET', fence, first_ms == ttl_ms and token or token .. '||' .. ttl_ms, 'PX', FENCE_MS)
return 1
