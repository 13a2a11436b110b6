-- Begin a session of a user, end the one that it takes the place of, and those that have been idle longest where there would be more than the user may have.
-- Atomic, because of two logins at once both must be counted, and because a session that is in no index could not be revoked. All times are
-- the server's, so that processes with skewed clocks agree. In the layout `keys` it does nothing until it is given all that may have to go: a
-- Cluster that moves the slot lets a script touch no other keys.
local home        = KEYS[1]             -- HASH  id -> session, each field with its own TTL; in the layout `keys` ZSET  ids by the end of their TTL
local own         = KEYS[2]             -- of the new session: HOME, in the layout `keys` STRING  the session
local owns        = { unpack(KEYS, 3) } -- STRINGs of the sessions that are there, in the layout `keys`
local layout      = ARGV[1]             -- `fields`, or `keys`
local id          = ARGV[2]             -- of the new session
local hash        = ARGV[3]             -- of its token
local family      = ARGV[4]             -- hash of what all its tokens have in common
local level       = ARGV[5]             -- how its user has signed in
local rest        = ARGV[6]             -- user, device and data, as JSON or sealed
local idle_ms     = tonumber(ARGV[7])   -- how long it lives without being used
local absolute_ms = tonumber(ARGV[8])   -- how long it lives at most
local most        = tonumber(ARGV[9])   -- how many sessions the user may have
local channel     = ARGV[10]            -- where the end of sessions is told
local message     = ARGV[11]            -- what is told before their ids
local replaced    = ARGV[12]            -- id of the session that it takes the place of; empty for none
local farewell    = ARGV[13]            -- what is told before that id
local ids         = { unpack(ARGV, 14) } -- of the sessions that OWNS are
-- Reply: {the session, 1 where another was replaced, ids of those that were ended ...}, or {'', 0, ids of those that OWNS must have ...}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local by_fields = layout == 'fields'

local function whole(n) return string.format('%.0f', n) end

local own_of = {}
for at, other in ipairs(ids) do own_of[other] = owns[at] end

local sessions = {}
local function note(other, value)
  local seen = value and string.match(value, '^%[1,"[^"]*","[^"]*","[^"]*",%d+,"[^"]*","[^"]*",%d+,%d+,(%d+),')
  if seen then
    sessions[#sessions + 1] = { id = other, seen = tonumber(seen) }
  elseif not by_fields then
    redis.call('ZREM', home, other)
  end
end

local all = {}
if not by_fields then
  redis.call('ZREMRANGEBYSCORE', home, '-inf', whole(now))
  all = redis.call('ZRANGE', home, 0, -1)
  for _, other in ipairs(#all >= most and all or {}) do
    if not own_of[other] then return { '', 0, unpack(all) } end
  end
end

local is_replaced = 0
if replaced ~= '' and by_fields then
  is_replaced = redis.call('HEXISTS', home, replaced)
  redis.call('HDEL', home, replaced)
elseif replaced ~= '' then
  is_replaced = redis.call('UNLINK', own_of[replaced])
  redis.call('ZREM', home, replaced)
end

if by_fields then
  -- Counts fields that have expired and are not yet gone, too: it is never too low.
  if redis.call('HLEN', home) >= most then
    all = redis.call('HGETALL', home)
    for at = 1, #all, 2 do note(all[at], all[at + 1]) end
  end
elseif redis.call('ZCARD', home) >= most then
  for _, other in ipairs(all) do note(other, redis.call('GET', own_of[other])) end
end

table.sort(sessions, function(a, b)
  if a.seen ~= b.seen then return a.seen < b.seen end
  return a.id < b.id
end)
local ended = {}
for at = 1, #sessions - most + 1 do
  local other = sessions[at].id
  if by_fields then
    redis.call('HDEL', home, other)
  else
    redis.call('UNLINK', own_of[other])
    redis.call('ZREM', home, other)
  end
  ended[at] = other
end

local born, absolute = whole(now), now + absolute_ms
local head = '[1,"' .. hash .. '","","",0,"","' .. family .. '",' .. born .. ',' .. whole(absolute)
local value = head .. ',' .. born .. ',' .. born .. ',"' .. level .. '",0,1,' .. rest .. ']'
local ends = whole(math.min(now + idle_ms, absolute))
if by_fields then
  redis.call('HSETEX', home, 'PXAT', ends, 'FIELDS', 1, id, value)
else
  redis.call('SET', own, value, 'PXAT', ends)
  redis.call('ZADD', home, ends, id)
  if redis.call('PEXPIRETIME', home) < tonumber(ends) then redis.call('PEXPIREAT', home, ends) end
end
if is_replaced == 1 then redis.call('PUBLISH', channel, farewell .. ' ' .. replaced) end
if #ended > 0 then redis.call('PUBLISH', channel, message .. ' ' .. table.concat(ended, ' ')) end
return { value, is_replaced, unpack(ended) }
