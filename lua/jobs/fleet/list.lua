-- Look at all processes that were heard of lately.
-- Atomic, because the time of the look and the times of the processes must be of one moment, by one clock.
local workers   = KEYS[1]            -- HASH  process -> what it tells, as JSON
local seen      = KEYS[2]            -- ZSET  process -> when it was last heard of, in ms
local forget_ms = tonumber(ARGV[1])  -- how long one that is silent is shown
-- Reply: {now in ms, process, when it was heard of, what it told, the next process ...}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local reply = { now }
local known = redis.call('ZRANGEBYSCORE', seen, string.format('%.0f', now - forget_ms), '+inf', 'WITHSCORES')
for place = 1, #known, 2 do
  local report = redis.call('HGET', workers, known[place])
  if report then
    reply[#reply + 1] = known[place]
    reply[#reply + 1] = known[place + 1]
    reply[#reply + 1] = report
  end
end
return reply
