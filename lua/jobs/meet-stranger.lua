-- Note when a job was first met that a worker does not know, and tell how long ago that was.
-- Atomic, and by the server's clock, so that workers whose clocks differ agree on the end of its grace.
local met    = KEYS[1]            -- STRING  when it was first met, in ms since 1970
local ttl_ms = tonumber(ARGV[1])  -- how long to remember it
-- Reply: ms since it was first met, 0 the first time

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('SET', met, string.format('%.0f', now_ms), 'PX', ttl_ms, 'NX', 'GET')
return first and now_ms - tonumber(first) or 0
