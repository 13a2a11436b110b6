-- Read the records of a queue, a few keys at a time.
-- A script, because the records are bytes and go with those of other queues in one round trip. Writes nothing.
local records = { unpack(KEYS, 1) }  -- HASH  records of minutes or of hours, in pieces
-- Reply: for each key {field, piece, the next field ...}

local reply = {}
for place, key in ipairs(records) do reply[place] = redis.call('HGETALL', key) end
return reply
