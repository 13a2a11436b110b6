-- Take what waits in the group beside new entries: those whose retry is due, then those of consumers that died.
-- Atomic, because an entry must be one consumer's at any moment, and the death of a process must be counted before the entry can end
-- another. What two processes have died with comes alone, so that it ends nothing else.
local entries  = KEYS[1]            -- STREAM  the entries
local members  = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local retries  = KEYS[3]            -- ZSET    entry id -> when it is due, in ms
local attempts = KEYS[4]            -- HASH    entry id -> attempts so far and how many of them ended with their process
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who takes
local room     = tonumber(ARGV[3])  -- how many it can take
local lease_ms = tonumber(ARGV[4])  -- who is no member is dead after so long without a word
-- Reply: {member 0|1, ms until a retry is due (-1 for none), 1 when there is more, deleted entries, {id, fields, attempts, deaths}...}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ends = redis.call('ZSCORE', members, consumer)
if not ends or tonumber(ends) <= now then return { 0, -1, 0, 0 } end

local taken, vanished, is_alone, more = {}, 0, false, 0

-- Gives false when the entry must wait, because it or what was taken goes alone.
local function take(id, died)
  local record = redis.call('HGET', attempts, id) or '0 0'
  local count, deaths = string.match(record, '^(%d+) (%d+)')
  count, deaths = tonumber(count) + died, tonumber(deaths) + died
  if deaths >= 2 and #taken > 0 then return false end
  local got = redis.call('XCLAIM', entries, group, consumer, 0, id)
  redis.call('ZREM', retries, id)
  if #got == 0 then
    redis.call('HDEL', attempts, id)
    vanished = vanished + 1
    return true
  end
  if died > 0 then redis.call('HSET', attempts, id, string.format('%d %d', count, deaths)) end
  taken[#taken + 1] = { id, got[1][2], count, deaths }
  is_alone = deaths >= 2
  return true
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', retries, '-inf', now, 'LIMIT', 0, room)) do
  local pending = redis.call('XPENDING', entries, group, id, id, 1)[1]
  if not pending then
    redis.call('ZREM', retries, id)
    redis.call('HDEL', attempts, id)
  elseif pending[2] ~= '~retries' then
    redis.call('ZREM', retries, id)
  elseif is_alone or not take(id, 0) then
    more = 1
    break
  end
end

local function is_dead(who, idle_ms)
  if who == consumer or who == '~retries' then return false end
  local lease = redis.call('ZSCORE', members, who)
  if lease then return tonumber(lease) <= now end
  return idle_ms > lease_ms
end

for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', entries, group)) do
  if more == 1 then break end
  if one[4] > 0 and is_dead(one[2], one[6]) then
    local left = room - #taken
    if left > 0 then
      for _, pending in ipairs(redis.call('XPENDING', entries, group, '-', '+', left, one[2])) do
        if is_alone or not take(pending[1], 1) then
          more = 1
          break
        end
      end
    end
    if one[4] > left then more = 1 end
  end
end

local due_ms = -1
local first = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
if first[2] then due_ms = math.max(0, tonumber(first[2]) - now) end
return { 1, due_ms, more, vanished, unpack(taken) }
