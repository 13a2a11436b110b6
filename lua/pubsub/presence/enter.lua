-- A connection of a user comes into a room, comes back within the debounce of its leave, or is taken over by another process.
-- Atomic, because whether this is the user's first connection, and so whether the others are told that the user is here, must be decided in
-- the order of all that happens in the room, and because of those who ask for the last place at once one gets it. The clock is the server's, so
-- that processes with skewed clocks agree.
--
-- Sent again after a lost answer, it finds its own owner there and announces nothing twice. A come-back announces a changed state only; one
-- by another connection swaps the two, which others must know to stay exact, and which is no event for anybody.
local leases   = KEYS[1]            -- ZSET  members (`CONNECTION USER`) by the end of their lease in server ms
local states   = KEYS[2]            -- HASH  member -> state as JSON
local owners   = KEYS[3]            -- HASH  member -> who keeps it; none while its leave is debounced
local users    = KEYS[4]            -- HASH  user -> connections, or `~MEMBER` while the leave of the last one is debounced
local clock    = KEYS[5]            -- HASH  seq: the last announcement; born: when the room began, both in server µs
local channel  = ARGV[1]            -- where the room's announcements go
local publish  = ARGV[2]            -- PUBLISH, or SPUBLISH on a Cluster
local member   = ARGV[3]            -- `CONNECTION USER`
local owner    = ARGV[4]            -- who will keep it
local state    = ARGV[5]            -- as JSON; empty keeps the one that a come-back had
local ttl_ms   = tonumber(ARGV[6])  -- how long the lease is
local keep_ms  = tonumber(ARGV[7])  -- how long the keys live without another sign of life
local most     = tonumber(ARGV[8])  -- how many members the room takes
-- Reply: {'entered' | 'joined' | 'returned' | 'taken-over' | 'here', the state in effect}, or, with nothing done, {'full' | 'overdue', ''}; `overdue`:
-- full as well, but with members whose lease has run out, who are to be taken out by a look

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local user = string.match(member, '^%S+ (.*)$')
local seen = redis.call('HGET', users, user)
local holder = redis.call('HGET', owners, member)
local before = redis.call('HGET', states, member)

local outcome, kind, old
if holder == owner then
  outcome = 'here'
elseif holder or seen == '~' .. member then
  outcome = holder and 'taken-over' or 'returned'
  if state ~= '' and state ~= before then kind = 'update' end
elseif seen and string.sub(seen, 1, 1) == '~' then
  outcome, kind = 'returned', 'swap'
  old = string.sub(seen, 2)
  before = redis.call('HGET', states, old)
  redis.call('ZREM', leases, old)
  redis.call('HDEL', states, old)
else
  outcome = seen and 'joined' or 'entered'
  kind = seen and 'join' or 'enter'
end
if (kind == 'enter' or kind == 'join') and redis.call('ZCARD', leases) >= most then
  return { redis.call('ZCOUNT', leases, '(' .. string.format('%.0f', now), '+inf') >= most and 'full' or 'overdue', '' }
end
if state == '' then state = before or '{}' end

redis.call('ZADD', leases, now + ttl_ms, member)
if outcome == 'here' then
  state = before
else
  redis.call('HSET', states, member, state)
  redis.call('HSET', owners, member, owner)
  if outcome == 'joined' then
    redis.call('HINCRBY', users, user, 1)
  elseif not holder then
    redis.call('HSET', users, user, 1)
  end
end

-- Said with all of it: whoever watches with longer leases would look only with the next beat, long after this one may have run out.
local lease = string.format('%.0f', ttl_ms)
if kind then
  local last = tonumber(redis.call('HGET', clock, 'seq') or 0)
  local seq = string.format('%.0f', math.max(last + 1, now_us))
  if last == 0 then redis.call('HSET', clock, 'born', seq) end
  redis.call('HSET', clock, 'seq', seq)
  local text = '[' .. string.format('%.0f', last) .. ',' .. seq .. ',"' .. kind .. '",' .. cjson.encode(member) .. ',' .. state
  text = text .. (old and ',' .. cjson.encode(old) or '')
  redis.call(publish, channel, text .. ',' .. lease .. ']')
elseif outcome ~= 'here' then
  redis.call(publish, channel, '["away",' .. lease .. ']')
end
-- A key that was made just now has no TTL. Never shortened: other processes may have longer leases.
for _, key in ipairs({ leases, states, owners, users, clock }) do
  if redis.call('PTTL', key) < keep_ms then redis.call('PEXPIRE', key, keep_ms) end
end
return { outcome, state }
