-- Note in which rooms a user is, or is about to be.
-- Atomic with the server's clock, so that a note that has run out is never taken for a new one. The notes tell where to look and are no
-- promise: each room has the last word.
local notes   = KEYS[1]              -- ZSET  rooms by the end of their note in server µs
local keep_ms = tonumber(ARGV[1])    -- how long a note holds
local most    = tonumber(ARGV[2])    -- how many rooms are kept, the latest ones
local rooms   = { unpack(ARGV, 3) }  -- the rooms
-- Reply: how many rooms are noted

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', notes, '-inf', now)
for _, room in ipairs(rooms) do
  redis.call('ZADD', notes, 'GT', now + keep_ms * 1000, room)
end
redis.call('ZREMRANGEBYRANK', notes, 0, -most - 1)
if redis.call('PTTL', notes) < keep_ms then redis.call('PEXPIRE', notes, keep_ms) end
return redis.call('ZCARD', notes)
