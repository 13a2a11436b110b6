-- Let go of a mutex whose lease has not run out, and hand it to the first in the queue.
-- Atomic, because between the letting go and the hand-over somebody could barge in. This is the way of every lock, free or contended, so it
-- asks nothing first: it gives the lock to the next, or deletes it, and learns from what was there whether it could. If not, which takes a
-- forced release or a failover within the lease, it puts everything back as it was; no other command runs in between.
--
-- Races: a holder whose time is over, or who asks again after a lost answer, uses give-back.lua, which looks first. A late first call that a
-- frozen server runs after such a second one finds another holder, and puts it back. The token of the next is the holder's plus the
-- µs that it has held: never ahead of the server's clock, so that one given later by that clock, after an expiry or a failover
-- that lost this hand-over, is greater.
local holder  = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`
local mine    = ARGV[1]  -- the holder's value
local held_us = ARGV[2]  -- for how long it has held the lock
local home    = ARGV[3]  -- four facts, as text with a space between them: 1 when the holder's token is in the fence, 1 when the number of
-- receivers tells that a process is gone, what the name of a process's channel begins with, and the lock's name, for messages
-- Reply: 1 when it is released | {'released', waiter and token of the next of this process} | {'expired'} | {'stolen'}

-- The queue's and the fence's keys are made of the holder's, whose tag they have: to send them would cost a caller a tenth of the call.
local queue = holder .. ':queue'  -- LIST    who waits: `process|waiter|ttl ms`
local fence = holder .. ':fence'  -- STRING  the last token that is known to have been given; `|process` of a claim, `||ms` of another lease

local CLAIM_MS = 2000     -- how long another process has to confirm
local QUEUE_MS = 60000    -- how long a queue lives after somebody has looked after it
local FENCE_MS = 86400000 -- how long the last token is remembered

local held
local is_overwritten = true
local entry = redis.call('LPOP', queue)
if entry then
  local counts, channels, name = string.match(home, '^%d (%d) (%S+) (.*)$')
  local process = string.match(mine, '^[^|]*') -- Waiters of the holder's own process are told by the reply.
  local next_token = string.format('%.0f', tonumber(string.match(mine, '%d+$')) + held_us)
  local is_sure = false
  repeat
    local owner, waiter, ttl_ms = string.match(entry, '^([^|]*)|([^|]*)|(%d+)$')
    if owner == process then
      held = redis.call('SET', holder, entry .. '|' .. next_token, 'PX', ttl_ms, 'GET')
      if held == mine then return { 'released', waiter, next_token } end
      if not held then redis.call('DEL', holder) end
      break
    end
    if not is_sure then
      held = redis.call('GET', holder)
      is_overwritten = false
      if held ~= mine then break end
      is_sure = true
    end
    local heard = owner and redis.call('PUBLISH', channels .. owner, 'grant ' .. name .. ' ' .. waiter) or 0
    if heard > 0 or (owner and counts == '0') then
      local lease_ms = math.min(tonumber(ttl_ms), CLAIM_MS)
      redis.call('SET', holder, entry .. '|' .. next_token .. '|claim', 'PX', lease_ms)
      redis.call('SET', fence, next_token .. '|' .. owner, 'PX', FENCE_MS)
      return 1
    end
    entry = redis.call('LPOP', queue) -- Nobody listens there: its process is dead, or will look and queue again.
  until not entry
end

if not entry then
  held = redis.call('GETDEL', holder)
  if held == mine then
    if string.sub(home, 1, 1) ~= '1' then redis.call('SET', fence, string.match(mine, '%d+$'), 'PX', FENCE_MS) end
    return 1
  end
  is_overwritten = true
end

-- It was not the caller's.
if entry then
  redis.call('LPUSH', queue, entry)
  redis.call('PEXPIRE', queue, QUEUE_MS)
end
if not held then return { 'expired' } end
if is_overwritten then
  local lease_ms, token = string.match(held, '^[^|]*|[^|]*|(%d+)|(%d+)')
  local of, extended_ms = string.match(redis.call('GET', fence) or '', '^(%d+)||(%d+)$')
  if of and of == token then lease_ms = extended_ms end
  lease_ms = tonumber(lease_ms or CLAIM_MS)
  if string.find(held, '|claim', 1, true) then lease_ms = math.min(lease_ms, CLAIM_MS) end
  redis.call('SET', holder, held, 'PX', lease_ms)
end
return { 'stolen' }
