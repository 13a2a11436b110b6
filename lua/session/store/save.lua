-- Write what a session holds, and begin its time anew.
-- Atomic, because whether the session may be written must be decided together with the write: a request that was slow must not bring back a
-- session that was ended while it ran. The clock is the server's, so that processes with skewed clocks agree on the end of a session.
--
-- Sent again after a lost answer, it writes the same again.
local session     = KEYS[1]            -- HASH  data, created: when it was first written in server ms, user; or `ended` alone
local data        = ARGV[1]            -- as text
local user        = ARGV[2]            -- whose it is, as a hash; empty when it is nobody's
local is_known    = ARGV[3]            -- '1' when it was read or written before: then it is not made anew
local ttl_ms      = tonumber(ARGV[4])  -- how long it lives without another sign of life
local absolute_ms = tonumber(ARGV[5])  -- how long it lives at most; 0 for as long as it is used
-- Reply: 'saved' | 'ended' when it was ended | 'gone' when it has run out

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local created = redis.call('HGET', session, 'created')
if not created then
  if redis.call('EXISTS', session) == 1 then return 'ended' end
  if is_known == '1' then return 'gone' end
  created = string.format('%.0f', now)
end
if absolute_ms > 0 then ttl_ms = math.min(ttl_ms, created + absolute_ms - now) end
if ttl_ms <= 0 then
  redis.call('DEL', session)
  return 'gone'
end
redis.call('HSET', session, 'data', data, 'created', created, 'user', user)
redis.call('PEXPIRE', session, ttl_ms)
return 'saved'
