-- A connection goes out of a room. The user's last one stays for the debounce, without an owner, so that a come-back is no news to anybody.
-- Atomic, because of two last connections that go at the same moment exactly one is the user's last.
--
-- A second call finds nothing that is its own and changes nothing; nor does a late one of a process whose connection another has taken over.
local leases      = KEYS[1]            -- ZSET  members (`CONNECTION USER`) by the end of their lease in server ms
local states      = KEYS[2]            -- HASH  member -> state as JSON
local owners      = KEYS[3]            -- HASH  member -> who keeps it; none while its leave is debounced
local users       = KEYS[4]            -- HASH  user -> connections, or `~MEMBER` while the leave of the last one is debounced
local clock       = KEYS[5]            -- HASH  seq: the last announcement; born: when the room began, both in server µs
local channel     = ARGV[1]            -- where the room's announcements go
local publish     = ARGV[2]            -- PUBLISH, or SPUBLISH on a Cluster
local member      = ARGV[3]            -- `CONNECTION USER`
local owner       = ARGV[4]            -- who keeps it
local debounce_ms = tonumber(ARGV[5])  -- how long a last connection may come back; 0 announces the leave at once
local keep_ms     = tonumber(ARGV[6])  -- how long the keys live without another sign of life
-- Reply: 'left' | 'away' while it may come back | 'gone' when it was not there, or another keeps it

if redis.call('HGET', owners, member) ~= owner then return 'gone' end
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local user = string.match(member, '^%S+ (.*)$')
local is_last = (redis.call('HGET', users, user) or '1') == '1'
redis.call('HDEL', owners, member)

if is_last and debounce_ms > 0 then
  redis.call('HSET', users, user, '~' .. member)
  redis.call('ZADD', leases, math.floor(now_us / 1000) + debounce_ms, member)
  for _, key in ipairs({ leases, states, users, clock }) do
    if redis.call('PTTL', key) < keep_ms then redis.call('PEXPIRE', key, keep_ms) end
  end
  -- No announcement: whoever watches looks when the time is over, because the one that leaves may be dead by then.
  redis.call(publish, channel, '["away",' .. debounce_ms .. ']')
  return 'away'
end

redis.call('ZREM', leases, member)
redis.call('HDEL', states, member)
if is_last then redis.call('HDEL', users, user) else redis.call('HINCRBY', users, user, -1) end
local last = tonumber(redis.call('HGET', clock, 'seq') or 0)
local seq = string.format('%.0f', math.max(last + 1, now_us))
redis.call('HSET', clock, 'seq', seq)
local head = '[' .. string.format('%.0f', last) .. ',' .. seq .. ',"' .. (is_last and 'leave' or 'part') .. '",'
redis.call(publish, channel, head .. cjson.encode(member) .. ',"left"]')
if redis.call('EXISTS', leases) == 0 then redis.call('DEL', clock) end
return 'left'
