-- End a session. What remains for a while says that it was ended, so that a request that began before does not bring it back. Where there was
-- nothing, that is said as long as a first write of it can be under way, and no longer: requests of strangers end ids that never had a session.
-- Atomic, because a session that changed hands since it was noted must not be ended with those of the user whose it was. One that is nobody's
-- is: it was noted because it is about to become that user's.
local session     = KEYS[1]            -- HASH  data, created: when it was first written in server ms, user; or `ended` alone
local user        = ARGV[1]            -- ends it unless it is another user's; empty ends it in any case
local keep_ms     = tonumber(ARGV[2])  -- how long it says that it was ended
local stranger_ms = tonumber(ARGV[3])  -- likewise where there was no session
-- Reply: {1 when a session was ended, else 0; whose it was, empty when nobody's}

local found = redis.call('HMGET', session, 'created', 'user')
if user ~= '' and found[2] and found[2] ~= '' and found[2] ~= user then return { 0, '' } end
if not found[1] then
  -- What was ended stays so for as long as was said then.
  keep_ms = math.max(stranger_ms, redis.call('PTTL', session))
end
redis.call('DEL', session)
redis.call('HSET', session, 'ended', '1')
redis.call('PEXPIRE', session, keep_ms)
return { found[1] and 1 or 0, found[2] or '' }
