-- Write a key that soon expires, and tell the server's time.
-- One script, so that its success proves what every module needs: the server takes writes and runs scripts now.
local probe  = KEYS[1]            -- STRING  the server's time of the last probe, in microseconds
local ttl_ms = tonumber(ARGV[1])  -- how long the key lives
-- Reply: the server's time in microseconds, as a string

local now = redis.call('TIME')
-- Seconds and microseconds are joined as text: a Lua number would print 16 digits as 1.7e+15.
local now_us = now[1] .. string.format('%06d', now[2])
redis.call('SET', probe, now_us, 'PX', ttl_ms)
return now_us
