-- Change the state of a connection that is in a room.
-- Atomic, because a state that is written for a connection whose lease has run out meanwhile would stay for ever: it belongs to no lease.
--
-- Sent again after a lost answer, it finds the state that it brings and announces nothing twice.
local states  = KEYS[1]  -- HASH  member -> state as JSON
local owners  = KEYS[2]  -- HASH  member -> who keeps it
local clock   = KEYS[3]  -- HASH  seq: the last announcement; born: when the room began, both in server µs
local channel = ARGV[1]  -- where the room's announcements go
local publish = ARGV[2]  -- PUBLISH, or SPUBLISH on a Cluster
local member  = ARGV[3]  -- `CONNECTION USER`
local owner   = ARGV[4]  -- who keeps it
local state   = ARGV[5]  -- as JSON
-- Reply: 'updated' | 'same' | 'out' when it is not in the room | 'replaced' when another keeps it

local holder = redis.call('HGET', owners, member)
if not holder then return 'out' end
if holder ~= owner then return 'replaced' end
if redis.call('HGET', states, member) == state then return 'same' end
redis.call('HSET', states, member, state)
local time = redis.call('TIME')
local last = tonumber(redis.call('HGET', clock, 'seq') or 0)
local seq = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('HSET', clock, 'seq', seq)
local head = '[' .. string.format('%.0f', last) .. ',' .. seq .. ',"update",'
redis.call(publish, channel, head .. cjson.encode(member) .. ',' .. state .. ']')
return 'updated'
