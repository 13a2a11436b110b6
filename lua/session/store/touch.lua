-- Begin the time of a session anew.
-- Atomic, because of a session that was ended nothing may live longer, and because the end that it has in any case is reckoned from what
-- it holds.
local session     = KEYS[1]            -- HASH  data, created: when it was first written in server ms, user; or `ended` alone
local ttl_ms      = tonumber(ARGV[1])  -- how long it lives without another sign of life
local absolute_ms = tonumber(ARGV[2])  -- how long it lives at most; 0 for as long as it is used
-- Reply: 1 | 0 when there is none

local created = redis.call('HGET', session, 'created')
if not created then return 0 end
if absolute_ms > 0 then
  local time = redis.call('TIME')
  ttl_ms = math.min(ttl_ms, created + absolute_ms - (time[1] * 1000 + math.floor(time[2] / 1000)))
end
-- With no time left, this deletes it.
redis.call('PEXPIRE', session, ttl_ms)
return 1
