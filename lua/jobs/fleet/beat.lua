-- Keep what a worker process tells of itself, and forget those that nobody has heard of for long.
-- The clock is the server's, so that all processes agree on who is silent. Atomic, because a process is in both keys or in neither.
local workers   = KEYS[1]            -- HASH  process -> what it tells, as JSON
local seen      = KEYS[2]            -- ZSET  process -> when it was last heard of, in ms
local process   = ARGV[1]            -- its id
local report    = ARGV[2]            -- what it tells
local forget_ms = tonumber(ARGV[3])  -- how long one that is silent is kept
local most      = tonumber(ARGV[4])  -- how many processes are kept; beyond, those that are silent longest go
-- Reply: how many are kept

local BATCH = 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZADD', seen, now, process)
redis.call('HSET', workers, process, report)

local gone = redis.call('ZRANGEBYSCORE', seen, '-inf', '(' .. string.format('%.0f', now - forget_ms), 'LIMIT', 0, BATCH)
local beyond = redis.call('ZCARD', seen) - #gone - most
if beyond > 0 then
  for _, one in ipairs(redis.call('ZRANGE', seen, #gone, #gone + math.min(beyond, BATCH) - 1)) do gone[#gone + 1] = one end
end
if #gone > 0 then
  redis.call('ZREM', seen, unpack(gone))
  redis.call('HDEL', workers, unpack(gone))
end
redis.call('PEXPIRE', workers, forget_ms)
redis.call('PEXPIRE', seen, forget_ms)
return redis.call('ZCARD', seen)
