-- Give permits back, all or all but some, or leave the queue; whoever fits now is granted.
-- Atomic, because between the giving and the granting somebody could barge in, and because who waited may have been granted a moment
-- ago. Without a caller it only grants, which is what follows when the number of permits was changed.
local holders     = KEYS[1]            -- ZSET    `process|waiter` that holds permits, by the server's µs at which its lease runs out
local queue       = KEYS[2]            -- ZSET    `process|waiter` that waits, by the server's µs of arrival
local entries     = KEYS[3]            -- HASH    of each of them `weight|mode|ttl ms|token|place`; `:used` and `:declared` permits
local heard       = KEYS[4]            -- ZSET    processes with waiters, by the server's µs at which they were heard of
local fence       = KEYS[5]            -- STRING  the last token
local permits     = KEYS[6]            -- STRING  how many there are, where somebody has set it
local left        = KEYS[7]            -- LIST    `process|waiter` that gave back lately, and may ask again because it did not hear so
local me          = ARGV[1]            -- whose permits; empty for nobody's
local process     = ARGV[2]            -- the caller's process, whose waiters the reply tells of; empty to tell all by message
local kept        = tonumber(ARGV[3])  -- how many permits stay held
local kept_mode   = ARGV[4]            -- what for
local is_taken    = ARGV[5]            -- 1 when they are taken away, so that their holder hears of no success
local declared    = tonumber(ARGV[6])  -- how many permits there are where nobody has set it; empty for what was declared last
local name        = ARGV[7]            -- what processes are told that this is about
local wake_prefix = ARGV[8]            -- of the channels on which they are told
local claim_ms    = tonumber(ARGV[9])  -- how long another process has to confirm what it was granted
local patience_ms = tonumber(ARGV[10]) -- for how long a process is taken to live of which less is heard than of others
local memory_ms   = tonumber(ARGV[11]) -- for how long its waiters keep their place
-- Reply: {'released' | 'kept' | 'left' | 'gone', then waiter and token of each of the caller's process that was granted}

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

drop_the_dead()
local outcome = 'gone'
local mine = me ~= '' and read(me)
if mine and redis.call('ZSCORE', holders, me) then
  local remains = math.min(kept, mine.weight)
  used = used - mine.weight + remains
  if remains > 0 then
    outcome = 'kept'
    mine.weight = remains
    mine.mode = kept_mode
    write(me, mine)
  else
    outcome = 'released'
    forget(holders, me)
    if is_taken == '1' then
      local owner, waiter = string.match(me, '^([^|]*)|(.*)$')
      redis.call('PUBLISH', wake_prefix .. owner, 'oust ' .. name .. ' ' .. waiter)
    else
      redis.call('LPUSH', left, me)
      redis.call('LTRIM', left, 0, 255)
      redis.call('PEXPIRE', left, memory_ms)
    end
  end
elseif is_taken == '1' then
  outcome = 'gone'
elseif mine then
  outcome = 'left'
  forget(queue, me)
elseif me ~= '' and redis.call('LPOS', left, me) then
  outcome = 'released'
end

-- Whoever hands over to its own waiters lives.
redis.call('ZADD', heard, 'XX', now, process)
local reply = { outcome }
grant_who_fits(function(id, owner, waiter, entry)
  if owner ~= process then return false end
  reply[#reply + 1] = waiter
  reply[#reply + 1] = grant(id, entry, entry.ttl_ms, 0)
  return true
end)
keep()
return reply
