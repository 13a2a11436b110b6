-- Drop some of the dead letters of a group that are beyond its bounds, the oldest first.
-- Atomic, because processes that do this at once must not drop more together than is beyond. Bounded, because Redis does nothing else meanwhile:
-- of what is too old whole nodes of the stream go (`~`), and only once there are none, the rest of one.
local dead   = KEYS[1]            -- STREAM  the group's dead letters
local most   = tonumber(ARGV[1])  -- how many are kept; -1 for no bound
local age_ms = tonumber(ARGV[2])  -- how long they are kept; -1 for no bound
local step   = tonumber(ARGV[3])  -- how many may go now
-- Reply: {how many were too old, how many were too many}

local by_age, by_count = 0, 0
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if age_ms >= 0 and age_ms < now_ms then
  local old = string.format('%.0f-0', now_ms - age_ms)
  by_age = redis.call('XTRIM', dead, 'MINID', '~', old, 'LIMIT', step)
  if by_age == 0 then by_age = redis.call('XTRIM', dead, 'MINID', '=', old) end
end
if most >= 0 then
  local letters = redis.call('XLEN', dead)
  local over = math.min(letters - most, step - by_age)
  if over > 0 then by_count = redis.call('XTRIM', dead, 'MAXLEN', '=', letters - over) end
end
return { by_age, by_count }
