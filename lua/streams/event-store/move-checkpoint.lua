-- Note how far a subscription has come.
-- Atomic, because only the process that runs it may: one that was paused past its lease must not note what its successor has not done.
local checkpoint = KEYS[1]  -- STRING  the position of the last event that was handled
local leader     = KEYS[2]  -- STRING  the token of the process that runs it now
local token      = ARGV[1]  -- the caller's token
local position   = ARGV[2]  -- of the last event that it has handled
-- Reply: 1 when it was noted, 0 when the caller does not run it any more

if redis.call('GET', leader) ~= token then return 0 end
redis.call('SET', checkpoint, position)
return 1
