-- Forget notes of rooms where a user was found not to be.
-- Atomic, because a note that was written anew after the look must stay: the user may be on the way into that room.
local notes = KEYS[1]              -- ZSET  rooms by the end of their note in server µs
local stale = { unpack(ARGV, 1) }  -- room, its score at the look, room, score ...
-- Reply: how many were forgotten

local forgotten = 0
for at = 1, #stale, 2 do
  local score = redis.call('ZSCORE', notes, stale[at])
  if score and tonumber(score) == tonumber(stale[at + 1]) then
    forgotten = forgotten + redis.call('ZREM', notes, stale[at])
  end
end
return forgotten
