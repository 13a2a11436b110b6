-- Renew the lease of a consumer, and look round in its group: who is dead, what waits. How far the group has come is noted beside it, so that
-- it can be made again there, whoever does it.
-- Atomic, because a dead consumer may be removed only while nothing is pending for it: Redis would forget what is.
local entries    = KEYS[1]            -- STREAM  the entries
local members    = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local tokens     = KEYS[3]            -- HASH    lasting name -> the consumer that has it; ~last, ~generation, ~paused: see keys.ts
local retries    = KEYS[4]            -- ZSET    entry id -> when it is due, in ms
local leader     = KEYS[5]            -- STRING  the consumer that works on an ordered group
local group      = ARGV[1]            -- its name
local consumer   = ARGV[2]            -- whose lease it is
local name       = ARGV[3]            -- its lasting name; empty for none
local lease_ms   = tonumber(ARGV[4])  -- how long it is a member without a word from it
local is_ordered = ARGV[5]            -- 1 to work on an ordered group if nobody does; else 0, which gives up the place once nothing is pending for it
local is_paused  = ARGV[6]            -- 1 when it takes nothing for now, for whoever looks at the group; else 0
-- Reply: {ok|gone|replaced|lapsed, pending for it, pending for the dead, ms until a retry is due (-1 for none), 1 when it leads,
-- the last id that the group was given, which making of the group it is}

local found = redis.pcall('XINFO', 'CONSUMERS', entries, group)
if found.err then
  local is_gone = string.find(found.err, 'NOGROUP', 1, true) or string.find(found.err, 'no such key', 1, true)
  if is_gone then return { 'gone', 0, 0, -1, 0, '', '' } end
  return found
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if name ~= '' and redis.call('HGET', tokens, name) ~= consumer then return { 'replaced', 0, 0, -1, 0, '', '' } end
local ends = redis.call('ZSCORE', members, consumer)
if not ends or tonumber(ends) <= now then return { 'lapsed', 0, 0, -1, 0, '', '' } end

-- Comes first: a full server refuses a script's first write if it may take memory, and whoever works must not lose its lease for that.
redis.call('ZREM', members, '')
redis.call('ZADD', members, string.format('%.0f', now + lease_ms), consumer)
local last = ''
for _, one in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
  if one[2] == group then last = one[8] end
end
redis.call('HSET', tokens, '~last', last)
if is_paused == '1' then
  redis.call('HSET', tokens, '~paused ' .. consumer, 1)
else
  redis.call('HDEL', tokens, '~paused ' .. consumer)
end

local function forget(dead)
  redis.call('ZREM', members, dead)
  redis.call('HDEL', tokens, '~paused ' .. dead)
  local lasting = string.match(dead, '^(.*)~[^~]*$')
  if lasting and redis.call('HGET', tokens, lasting) == dead then redis.call('HDEL', tokens, lasting) end
end

local own, orphans, parked, seen = 0, 0, 0, {}
for _, one in ipairs(found) do
  local who, pending, idle_ms = one[2], one[4], one[6]
  seen[who] = true
  if who == consumer then
    own = pending
  elseif who == '~retries' then
    parked = pending
  else
    local lease = redis.call('ZSCORE', members, who)
    local is_dead = (lease and tonumber(lease) <= now) or (not lease and idle_ms > lease_ms)
    if is_dead and pending == 0 then
      redis.call('XGROUP', 'DELCONSUMER', entries, group, who)
      forget(who)
    elseif is_dead then
      orphans = orphans + pending
    end
  end
end
for _, who in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', now)) do
  if not seen[who] then forget(who) end
end

-- What waits for a retry must be found by its time, whatever became of the index.
if parked > redis.call('ZCARD', retries) then
  for _, one in ipairs(redis.call('XPENDING', entries, group, '-', '+', 1000, '~retries')) do
    redis.call('ZADD', retries, 'NX', now, one[1])
  end
end
local due_ms = -1
local first = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
if first[2] then due_ms = math.max(0, tonumber(first[2]) - now) end

local leads = 0
local holder = redis.call('GET', leader)
if holder == consumer and is_ordered == '0' and own == 0 then
  redis.call('DEL', leader)
elseif holder == consumer or (not holder and is_ordered == '1') then
  redis.call('SET', leader, consumer, 'PX', lease_ms)
  leads = 1
elseif is_ordered == '1' and own > 0 then
  -- It has lost the place with entries at hand: they are free at once, or what comes after them would overtake them.
  redis.call('ZADD', members, 'XX', 0, consumer)
  return { 'lapsed', own, orphans, -1, 0, '', '' }
end
return { 'ok', own, orphans, due_ms, leads, last, redis.call('HGET', tokens, '~generation') or '' }
