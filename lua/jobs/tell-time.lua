-- Tell the time of the server that has the key, as TIME would of any server.
-- A script, because on a Cluster a command without a key may go to a server that is away.
local index = KEYS[1]  -- ZSET  schedule -> when its next tick is due, in ms since 1970 (not read)
-- Reply: ms since 1970

local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
