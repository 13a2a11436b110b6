-- The sessions of a user.
-- Atomic, so that the list is what was there at one moment. Of the layout `keys` it takes out of the index what has expired or was evicted.
local home   = KEYS[1]              -- HASH  id -> session; in the layout `keys` ZSET  ids by the end of their TTL
local owns   = { unpack(KEYS, 2) }  -- STRINGs of its sessions, in the layout `keys`
local layout = ARGV[1]              -- `fields`, or `keys`
local ids    = { unpack(ARGV, 2) }  -- of the sessions that OWNS are
-- Reply: {now, id, session, id, session ...}

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if layout == 'fields' then return { now, unpack(redis.call('HGETALL', home)) } end
redis.call('ZREMRANGEBYSCORE', home, '-inf', now)
local all = { now }
for at, id in ipairs(ids) do
  local value = redis.call('GET', owns[at])
  if not value then
    redis.call('ZREM', home, id)
  elseif redis.call('ZSCORE', home, id) then
    all[#all + 1] = id
    all[#all + 1] = value
  end
end
return all
