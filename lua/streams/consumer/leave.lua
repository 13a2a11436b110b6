-- Give back what is pending for a consumer that stops, and let it go once nothing is.
-- Atomic, because Redis forgets what is pending for a consumer that is removed, and by now its place may be another's. What it had begun is
-- noted no longer as begun: its process does not die of it.
local entries  = KEYS[1]            -- STREAM  the entries
local members  = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local tokens   = KEYS[3]            -- HASH    lasting name -> the consumer that has it; ~last, ~generation, ~paused: see keys.ts
local retries  = KEYS[4]            -- ZSET    entry id -> when it is due, in ms
local leader   = KEYS[5]            -- STRING  the consumer that works on an ordered group
local attempts = KEYS[6]            -- HASH    entry id -> attempts so far, how many ended with their process, and 1 if one was begun
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who leaves
local name     = ARGV[3]            -- its lasting name; empty for none
local count    = tonumber(ARGV[4])  -- how many entries a call gives back at most
-- Reply: {entries that were given back, 1 when it has left, 0 when there is more to give back}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local given = 0
local pending = redis.pcall('XPENDING', entries, group, '-', '+', count, consumer)
if not pending.err then
  for _, one in ipairs(pending) do
    if #redis.call('XCLAIM', entries, group, '~retries', 0, one[1], 'JUSTID') > 0 then
      redis.call('ZADD', retries, string.format('%.0f', now), one[1])
      local begun = string.match(redis.call('HGET', attempts, one[1]) or '', '^(%d+ %d+) 1$')
      if begun then redis.call('HSET', attempts, one[1], begun) end
      given = given + 1
    end
  end
  if #pending == count then return { given, 0 } end
  redis.call('XGROUP', 'DELCONSUMER', entries, group, consumer)
end
redis.call('ZREM', members, consumer)
redis.call('HDEL', tokens, '~paused ' .. consumer)
if name ~= '' and redis.call('HGET', tokens, name) == consumer then redis.call('HDEL', tokens, name) end
if redis.call('GET', leader) == consumer then redis.call('DEL', leader) end
return { given, 1 }
