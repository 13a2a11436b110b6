-- Note that a session is a user's, for as long as the session lives.
-- Atomic with the server's clock, so that what has run out goes when something is noted. Notes tell where to look; each session has the last
-- word.
local notes   = KEYS[1]            -- ZSET  the hashes of a user's sessions by their end in server ms
local session = ARGV[1]            -- the session's hash
local ttl_ms  = tonumber(ARGV[2])  -- how long it lives without another sign of life
-- Reply: how many are noted

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', notes, '-inf', now)
-- A write of a shorter life may be noted after one of a longer life that is yet to come: the later end stays.
redis.call('ZADD', notes, 'GT', now + ttl_ms, session)
if redis.call('PTTL', notes) < ttl_ms then redis.call('PEXPIRE', notes, ttl_ms) end
return redis.call('ZCARD', notes)
