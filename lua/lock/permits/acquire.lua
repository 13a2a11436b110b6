-- Take permits, or wait for them in the order of arrival; whoever waits calls this again to look.
-- Atomic, because the free permits must not be counted by one caller while another one takes them. The clock is the server's: each
-- holder has a deadline of its own, and those past it are dropped here first. The same caller may ask again and again: as a holder it
-- gets its old token and a new deadline, as a waiter it keeps its place.
local holders     = KEYS[1]            -- ZSET    `process|waiter` that holds permits, by the server's µs at which its lease runs out
local queue       = KEYS[2]            -- ZSET    `process|waiter` that waits, by the server's µs of arrival
local entries     = KEYS[3]            -- HASH    of each of them `weight|mode|ttl ms|token|place`; `:used` and `:declared` permits
local heard       = KEYS[4]            -- ZSET    processes with waiters, by the server's µs at which they were heard of
local fence       = KEYS[5]            -- STRING  the last token
local permits     = KEYS[6]            -- STRING  how many there are, where somebody has set it
local me          = ARGV[1]            -- `process|waiter` of the caller
local process     = ARGV[2]            -- the caller's process
local weight      = tonumber(ARGV[3])  -- how many permits
local mode        = ARGV[4]            -- what for, for whoever inspects
local ttl_ms      = tonumber(ARGV[5])  -- the lease
local how         = ARGV[6]            -- `try` to be refused, `queue` to wait where needed, `watch` to look without joining again
local declared    = tonumber(ARGV[7])  -- how many permits there are where nobody has set it
local name        = ARGV[8]            -- what processes are told that this is about
local wake_prefix = ARGV[9]            -- of the channels on which they are told
local claim_ms    = tonumber(ARGV[10]) -- how long another process has to confirm what it was granted
local patience_ms = tonumber(ARGV[11]) -- for how long a process is taken to live of which less is heard than of others
local memory_ms   = tonumber(ARGV[12]) -- for how long its waiters keep their place
-- Reply: {'granted', token} | {'queued' | 'refused', ms until the next lease runs out, or -1} | {'gone'}

-- From here to the rule of dashes acquire.lua and give-back.lua are the same, which a test holds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local capacity = tonumber(redis.call('GET', permits)) or declared or tonumber(redis.call('HGET', entries, ':declared') or '0')
local used = tonumber(redis.call('HGET', entries, ':used') or '0')
local last = tonumber(redis.call('GET', fence) or '0')

-- An entry's place is its place in the queue while a grant is not confirmed, else 0.
local function read(id)
  local held, purpose, ttl, token, place =
    string.match(redis.call('HGET', entries, id) or '', '^(%d+)|([^|]*)|(%d+)|(%d+)|(%d+)$')
  if not held then return nil end
  return { weight = tonumber(held), mode = purpose, ttl_ms = tonumber(ttl), token = token, place = tonumber(place) }
end

local function write(id, entry)
  local text = string.format('%.0f|%s|%.0f|%s|%.0f', entry.weight, entry.mode, entry.ttl_ms, entry.token, entry.place)
  redis.call('HSET', entries, id, text)
end

local function forget(set, id)
  redis.call('ZREM', set, id)
  redis.call('HDEL', entries, id)
end

-- Silent is who was not heard of while others were: when the server itself was frozen or away, nobody is.
local newest = tonumber(redis.call('ZREVRANGE', heard, 0, 0, 'WITHSCORES')[2] or now)
local function is_silent(owner)
  local heard_us = tonumber(redis.call('ZSCORE', heard, owner) or '0')
  return heard_us + patience_ms * 1000 <= newest
end

-- Whose grant has run out before it was confirmed, though its process lives, never heard of it: it finds its old place again.
local function drop_the_dead()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now)) do
    local entry = read(id)
    if entry then used = used - entry.weight end
    if entry and entry.place > 0 and not is_silent(string.match(id, '^[^|]*')) then
      redis.call('ZREM', holders, id)
      redis.call('ZADD', queue, entry.place, id)
    else
      forget(holders, id)
    end
  end
  if redis.call('EXISTS', holders) == 0 then used = 0 end
  redis.call('ZREMRANGEBYSCORE', heard, '-inf', now - memory_ms * 1000)
end

local function grant(id, entry, lease_ms, place)
  last = math.max(now, last + 1)
  used = used + entry.weight
  entry.token = string.format('%.0f', last)
  entry.place = place
  write(id, entry)
  redis.call('ZREM', queue, id)
  redis.call('ZADD', holders, now + lease_ms * 1000, id)
  redis.call('SET', fence, last, 'PX', 604800000)
  return entry.token
end

-- First come, first served: behind a heavy one that does not fit yet nobody passes. Passed over, and left in their places, are those
-- that could not fit if all were free, and those whose process may have died.
local function grant_who_fits(tell)
  local at = 0
  while used < capacity do
    local id, place = unpack(redis.call('ZRANGE', queue, at, at, 'WITHSCORES'))
    if not id then return end
    local entry = read(id)
    local owner, waiter = string.match(id, '^([^|]*)|(.*)$')
    if not entry or not redis.call('ZSCORE', heard, owner) then
      forget(queue, id)
    elseif entry.weight > capacity or is_silent(owner) then
      at = at + 1
    elseif used + entry.weight > capacity then
      return
    elseif not tell(id, owner, waiter, entry) then
      grant(id, entry, math.min(entry.ttl_ms, claim_ms), tonumber(place))
      redis.call('PUBLISH', wake_prefix .. owner, 'grant ' .. name .. ' ' .. waiter)
    end
  end
end

local function keep()
  if redis.call('EXISTS', holders, queue) == 0 then return redis.call('DEL', entries, heard) end
  redis.call('HSET', entries, ':used', used)
  if declared then redis.call('HSET', entries, ':declared', declared) end
  local latest = tonumber(redis.call('ZREVRANGE', holders, 0, 0, 'WITHSCORES')[2] or now)
  local until_ms = math.ceil(math.max(latest / 1000, now / 1000 + memory_ms))
  for _, key in ipairs({ holders, queue, entries, heard }) do redis.call('PEXPIREAT', key, until_ms) end
end
-- ----------------------------------------------------------------------------------------------------------------------------------

local function next_end_ms()
  local soonest = redis.call('ZRANGE', holders, 0, 0, 'WITHSCORES')[2]
  return soonest and math.ceil((soonest - now) / 1000) or -1
end

drop_the_dead()
local mine = read(me)
if mine and redis.call('ZSCORE', holders, me) then
  -- A call that comes very late does not shorten a lease that has been made longer since.
  redis.call('ZADD', holders, 'GT', now + ttl_ms * 1000, me)
  if mine.place > 0 then
    mine.place = 0
    write(me, mine)
  end
  keep()
  return { 'granted', mine.token }
end

local is_waiting = redis.call('ZSCORE', queue, me)
if how == 'watch' and not is_waiting then
  keep()
  return { 'gone' }
end
if not is_waiting then
  local tail = redis.call('ZREVRANGE', queue, 0, 0, 'WITHSCORES')[2] or 0
  redis.call('ZADD', queue, math.max(now, tail + 1), me)
end
redis.call('ZADD', heard, now, process)
mine = { weight = weight, mode = mode, ttl_ms = ttl_ms, token = '0', place = 0 }
write(me, mine)

local token
grant_who_fits(function(id, _, _, entry)
  if id ~= me then return false end
  token = grant(id, entry, ttl_ms, 0)
  return true
end)
if not token and how == 'try' then forget(queue, me) end
keep()
if token then return { 'granted', token } end
return { how == 'try' and 'refused' or 'queued', next_end_ms() }
