-- How far behind a store is.
-- Atomic, so that the numbers fit one another.
local changes = KEYS[1]  -- STREAM  pending changes
local retries = KEYS[2]  -- ZSET    id -> when it may be tried again, in us since 1970
local flusher = KEYS[3]  -- STRING  the token of the process that saves now
local dead    = KEYS[4]  -- STREAM  dead letters
local last    = KEYS[5]  -- STRING  the last version that was given
-- Reply: {pending, of them waiting for a retry, dead letters, 1 when a flusher is there, version of the oldest pending ('0' for none), its age in ms, the last version that was given}

local oldest, age_ms = '0', 0
local first = redis.call('XRANGE', changes, '-', '+', 'COUNT', 1)[1]
if first then
  local time = redis.call('TIME')
  oldest = string.match(first[1], '^%d+')
  age_ms = math.max(0, math.floor((tonumber(time[1]) * 1000000 + tonumber(time[2]) - tonumber(oldest)) / 1000))
end
return {
  redis.call('XLEN', changes), redis.call('ZCARD', retries), redis.call('XLEN', dead), redis.call('EXISTS', flusher),
  oldest, age_ms, redis.call('GET', last) or '0',
}
