-- Put entries back to be tried again after a time, by whoever is free then.
-- Atomic, because the count, the time and who has the entry must agree, and only as long as it is the caller's: sent again after a lost
-- answer it does nothing, and what another consumer took meanwhile is left to that one. An attempt that was noted as begun is over.
local entries  = KEYS[1]            -- STREAM  the entries
local retries  = KEYS[2]            -- ZSET    entry id -> when it is due, in ms
local attempts = KEYS[3]            -- HASH    entry id -> attempts so far, how many ended with their process, and 1 if one was begun
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who puts back
local items    = { unpack(ARGV, 3) }  -- of each entry: id, ms until it is due, its attempts and deaths (empty to leave them as they are)
-- Reply: for each entry what became of it: back|lost|gone|vanished; `lost` when it is another's, `gone` when it is pending for nobody

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local reply = {}
for at = 1, #items, 3 do
  local id, delay_ms, record = items[at], tonumber(items[at + 1]), items[at + 2]
  local outcome = 'lost'
  if #redis.call('XPENDING', entries, group, id, id, 1, consumer) > 0 then
    if #redis.call('XCLAIM', entries, group, '~retries', 0, id, 'JUSTID') > 0 then
      redis.call('ZADD', retries, string.format('%.0f', now + delay_ms), id)
      local before = record == '' and redis.call('HGET', attempts, id)
      if before then record = string.match(before, '^%d+ %d+') or '' end
      if record ~= '' then redis.call('HSET', attempts, id, record) end
      outcome = 'back'
    else
      redis.call('HDEL', attempts, id)
      outcome = 'vanished'
    end
  elseif #redis.call('XPENDING', entries, group, id, id, 1) == 0 then
    redis.call('HDEL', attempts, id)
    outcome = 'gone'
  end
  reply[#reply + 1] = outcome
end
return reply
