-- All connections of a room, and the announcement up to which they are right.
-- Atomic, so that whoever applies the announcements after that one misses none and applies none twice. Writes nothing.
local states = KEYS[1]  -- HASH  member (`CONNECTION USER`) -> state as JSON
local clock  = KEYS[2]  -- HASH  seq: the last announcement; born: when the room began, both in server µs
-- Reply: {seq, born, {member, state, member, state ...}}

local at = redis.call('HMGET', clock, 'seq', 'born')
return { at[1] or '0', at[2] or '0', redis.call('HGETALL', states) }
