-- End all sessions of a user, but one that may stay.
-- Atomic, because a session that begins meanwhile must either end too or have begun after the others have ended; what was under way when it
-- ended can write no more. Touches nothing but this user's keys, however many sessions there are. In the layout `keys` it ends those that it is
-- given and names the others: a Cluster that moves the slot lets a script touch no other keys.
local home    = KEYS[1]              -- HASH  id -> session; in the layout `keys` ZSET  ids by the end of their TTL
local owns    = { unpack(KEYS, 2) }  -- STRINGs of its sessions, in the layout `keys`
local layout  = ARGV[1]              -- `fields`, or `keys`
local except  = ARGV[2]              -- id of the session that stays; empty for none
local channel = ARGV[3]              -- where the end of sessions is told
local message = ARGV[4]              -- what is told before their ids
local ids     = { unpack(ARGV, 5) }  -- of the sessions that OWNS are
-- Reply: {ids of those that were ended, ids of those that are left}

local ended, left = {}, {}
if layout == 'fields' then
  for _, id in ipairs(redis.call('HKEYS', home)) do
    if id ~= except then ended[#ended + 1] = id end
  end
  if #ended > 0 then redis.call('HDEL', home, unpack(ended)) end
else
  for at, id in ipairs(ids) do
    if id ~= except then
      redis.call('ZREM', home, id)
      if redis.call('UNLINK', owns[at]) == 1 then ended[#ended + 1] = id end
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', home, 0, -1)) do
    if id ~= except then left[#left + 1] = id end
  end
end
if #ended > 0 then redis.call('PUBLISH', channel, message .. ' ' .. table.concat(ended, ' ')) end
return { ended, left }
