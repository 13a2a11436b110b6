-- Make entries dead letters of their group.
-- Atomic, because an entry must be pending or a dead letter and never both or neither, and only as long as it is the caller's: sent again
-- after a lost answer it does nothing. The letter holds the data itself: the stream may be trimmed past it.
local entries  = KEYS[1]            -- STREAM  the entries
local retries  = KEYS[2]            -- ZSET    entry id -> when it is due, in ms
local attempts = KEYS[3]            -- HASH    entry id -> attempts so far and how many of them ended with their process
local dead     = KEYS[4]            -- STREAM  dead letters
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who had the entries
local items    = { unpack(ARGV, 3) }  -- of each entry: id, origin, data, headers, key (both empty for none), attempts, reason, redriven, error, fingerprint
-- Reply: for each entry what became of it: dead|lost|gone; `lost` when it is another's, `gone` when it is pending for nobody

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local reply = {}
for at = 1, #items, 10 do
  local id, origin, data, headers, key, made, reason, redriven, failure, fingerprint = unpack(items, at, at + 9)
  local outcome = 'lost'
  if #redis.call('XPENDING', entries, group, id, id, 1, consumer) > 0 then
    local fields = { 'id', origin, 'entry', id, 'data', data }
    if headers ~= '' then fields[#fields + 1], fields[#fields + 2] = 'headers', headers end
    if key ~= '' then fields[#fields + 1], fields[#fields + 2] = 'key', key end
    for _, text in ipairs({ 'attempts', made, 'reason', reason, 'redriven', redriven,
      'diedAt', string.format('%.0f', now), 'error', failure, 'fingerprint', fingerprint }) do
      fields[#fields + 1] = text
    end
    redis.call('XADD', dead, '*', unpack(fields))
    redis.call('XACK', entries, group, id)
    redis.call('HDEL', attempts, id)
    redis.call('ZREM', retries, id)
    outcome = 'dead'
  elseif #redis.call('XPENDING', entries, group, id, id, 1) == 0 then
    redis.call('HDEL', attempts, id)
    outcome = 'gone'
  end
  reply[#reply + 1] = outcome
end
return reply
