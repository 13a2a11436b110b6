-- Refuse every call of a key for so long, and tell those who remember a refusal.
-- Atomic, because a longer block that it ends early must not stay remembered, even if the caller dies in between.
local block    = KEYS[1]  -- STRING  there while every call is refused
local ms       = ARGV[1]  -- how long
local at_least = ARGV[2]  -- 1: a block that lasts longer stays as it is
local channel  = ARGV[3]  -- where it is told
local message  = ARGV[4]  -- what is told
-- Reply: 1; 0 when a longer one has stayed.

if at_least == '1' then
  local left = redis.call('PTTL', block)  -- -1: it has no end, -2: there is none
  if left == -1 or left >= tonumber(ms) then return 0 end
end
redis.call('SET', block, '1', 'PX', ms)
redis.call('PUBLISH', channel, message)
return 1
