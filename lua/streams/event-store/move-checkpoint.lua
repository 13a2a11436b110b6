-- Note how far a subscription has come.
-- Atomic, because only the process that runs it may: one that was paused past its lease must not note what its successor has not done;
-- and because the event must still be the one at its position: a failover may have lost it, and what came in its place was not handled.
local checkpoint = KEYS[1]  -- STRING  the position of the last event that was handled
local leader     = KEYS[2]  -- STRING  the token of the process that runs it now
local all        = KEYS[3]  -- STREAM  a reference to every event
local token      = ARGV[1]  -- the caller's token
local position   = ARGV[2]  -- of the last event that it has handled
local mark       = ARGV[3]  -- of the reference there, as the caller has read it; empty if it had none
-- Reply: noted, other when the caller does not run it any more, lost when the event is not there any more

if redis.call('GET', leader) ~= token then return 'other' end
local last = redis.call('XRANGE', all, position .. '-0', position .. '-0')[1]
if not last or (mark ~= '' and last[2][8] ~= mark) then return 'lost' end
redis.call('SET', checkpoint, position)
return 'noted'
