-- Tells the form in which a board is stored, and the time. One script, because on a Cluster the clock that counts is that of the node that has
-- the board.
local state = KEYS[1]  -- HASH  settings: what the stored form depends on
-- Reply: {settings or '', ms}

local time = redis.call('TIME')
return { redis.call('HGET', state, 'settings') or '', time[1] * 1000 + math.floor(time[2] / 1000) }
