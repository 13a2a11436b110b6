-- Give a lease back without a value. Where there is a value, a back-off takes the lease's place, so that it is served for a while
-- before the next load is tried.
-- Atomic, so that the lease is still the caller's: another's is never given back.
local value      = KEYS[1]            -- STRING  the value (read only)
local lease      = KEYS[2]            -- STRING  12 bytes of token, epoch, tags with their versions; or '!' for a back-off
local token      = ARGV[1]            -- of the load that failed
local backoff_ms = tonumber(ARGV[2])  -- 0: none
local channel    = ARGV[3]            -- where the processes hear of it
local message    = ARGV[4]           -- what they hear
-- Reply: 1, or 0 when the lease was no longer the caller's

if redis.call('GETRANGE', lease, 0, 11) ~= token then return 0 end
if backoff_ms > 0 and redis.call('EXISTS', value) == 1 then
  redis.call('SET', lease, '!', 'PX', backoff_ms)
else
  redis.call('DEL', lease)
end
redis.call('PUBLISH', channel, message)
return 1
