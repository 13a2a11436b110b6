-- Refuse every call of a key for so long, and tell those who remember a refusal.
-- Atomic, because a longer block that it ends early must not stay remembered, even if the caller dies in between.
local block   = KEYS[1]  -- STRING  there while every call is refused
local ms      = ARGV[1]  -- how long
local channel = ARGV[2]  -- where it is told
local message = ARGV[3]  -- what is told
-- Reply: 1.

redis.call('SET', block, '1', 'PX', ms)
redis.call('PUBLISH', channel, message)
return 1
