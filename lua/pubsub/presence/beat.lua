-- Renew the leases of one process's connections in a room, and take out those whose lease has run out, whosever they are.
-- Atomic, because only who takes a connection out may announce it, so that each leave is told once, however many look at the same moment;
-- and because a lease that nobody has missed yet is renewed, not taken out. The clock is the server's. Without connections it only looks.
--
-- Sent again after a lost answer, it finds less to do.
local leases  = KEYS[1]              -- ZSET  members (`CONNECTION USER`) by the end of their lease in server ms
local states  = KEYS[2]              -- HASH  member -> state as JSON
local owners  = KEYS[3]              -- HASH  member -> who keeps it; none while its leave is debounced
local users   = KEYS[4]              -- HASH  user -> connections, or `~MEMBER` while the leave of the last one is debounced
local clock   = KEYS[5]              -- HASH  seq: the last announcement; born: when the room began, both in server µs
local channel = ARGV[1]              -- where the room's announcements go
local publish = ARGV[2]              -- PUBLISH, or SPUBLISH on a Cluster
local ttl_ms  = tonumber(ARGV[3])    -- how long the leases are from now on
local keep_ms = tonumber(ARGV[4])    -- how long the keys live without another sign of life
local beats   = { unpack(ARGV, 5) }  -- member, owner, member, owner ...
-- Reply: {seq, ms until the next lease ends or -1, users, connections, numbers (from 0) of those that are out, of those that another keeps}

local MOST = 500 -- taken out by one call, which holds up the server meanwhile; who calls looks again at once

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local out, replaced = {}, {}
for at = 1, #beats, 2 do
  local holder = redis.call('HGET', owners, beats[at])
  if holder == beats[at + 1] then
    -- Of a connection that is not in the room, no lease is made. One may become shorter: where a failover sets the clock back, the old end
    -- would keep the dead for as long.
    redis.call('ZADD', leases, 'XX', now + ttl_ms, beats[at])
  elseif holder then
    replaced[#replaced + 1] = (at - 1) / 2
  else
    out[#out + 1] = (at - 1) / 2
  end
end

-- Not with every beat: the keys live for two leases and more, and of all of them this one may be the youngest.
if #beats > 0 and redis.call('PTTL', owners) < keep_ms - ttl_ms / 2 then
  for _, key in ipairs({ leases, states, owners, users, clock }) do
    if redis.call('PTTL', key) < keep_ms then redis.call('PEXPIRE', key, keep_ms) end
  end
end

local seq = tonumber(redis.call('HGET', clock, 'seq') or 0)
local lapsed = redis.call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, MOST)
for _, member in ipairs(lapsed) do
  local user = string.match(member, '^%S+ (.*)$')
  local seen = redis.call('HGET', users, user) or '1'
  local is_away = string.sub(seen, 1, 1) == '~'
  local is_last = is_away or seen == '1'
  redis.call('ZREM', leases, member)
  redis.call('HDEL', states, member)
  redis.call('HDEL', owners, member)
  if is_last then redis.call('HDEL', users, user) else redis.call('HINCRBY', users, user, -1) end
  local last = string.format('%.0f', seq)
  seq = math.max(seq + 1, now_us)
  local head = '[' .. last .. ',' .. string.format('%.0f', seq) .. ',"' .. (is_last and 'leave' or 'part') .. '",'
  redis.call(publish, channel, head .. cjson.encode(member) .. ',"' .. (is_away and 'left' or 'lapsed') .. '"]')
end
local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
if #lapsed > 0 then
  if first[2] then redis.call('HSET', clock, 'seq', string.format('%.0f', seq)) else redis.call('DEL', clock) end
end

local next_ms = first[2] and math.max(0, first[2] - now) or -1
local counts = { redis.call('HLEN', users), redis.call('ZCARD', leases) }
return { first[2] and string.format('%.0f', seq) or '0', next_ms, counts[1], counts[2], out, replaced }
