-- End one session.
-- Atomic, so that whoever listens is told of each end once, by the call that has ended it.
local home    = KEYS[1]  -- HASH  id -> session; in the layout `keys` ZSET  ids by the end of their TTL
local own     = KEYS[2]  -- HOME; in the layout `keys` STRING  the session
local layout  = ARGV[1]  -- `fields`, or `keys`
local id      = ARGV[2]  -- of the session
local channel = ARGV[3]  -- where the end of sessions is told
local message = ARGV[4]  -- what is told before its id
-- Reply: 1, or 0 when there is no such session

local ended
if layout == 'fields' then
  -- HDEL would count a field that has expired and is not yet gone.
  ended = redis.call('HEXISTS', home, id)
  redis.call('HDEL', home, id)
else
  ended = redis.call('UNLINK', own)
  redis.call('ZREM', home, id)
end
if ended == 1 then redis.call('PUBLISH', channel, message .. ' ' .. id) end
return ended
