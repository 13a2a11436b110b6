-- Give back what one waiter or holder has, whatever it is, and hand the mutex to the first in the queue: for a waiter that leaves, a holder
-- that is late or asks again, and, with nobody named, an operator who puts the holder out.
-- Atomic, because a waiter that leaves may be handed the lock at that very moment: either it is taken out of the queue before, or it is
-- the holder, and the next one becomes it.
--
-- Races: a second call finds nothing and changes nothing. The next one's token is by the server's clock and above all that are known.
local holder   = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`
local queue    = KEYS[2]  -- LIST    who waits: `process|waiter|ttl ms`
local fence    = KEYS[3]  -- STRING  the last token that is known to have been given; `|process` of a claim, `||ms` of another lease
local mine     = ARGV[1]  -- what the holder's value begins with, `process|waiter|`; empty for whoever holds it
local entry    = ARGV[2]  -- its place in the queue, `process|waiter|ttl ms`; empty for none
local process  = ARGV[3]  -- the caller's process, whose waiters are told by the reply; empty to tell all by message
local name     = ARGV[4]  -- the lock's name, for messages
local channels = ARGV[5]  -- what the name of a process's channel begins with
local counts   = ARGV[6]  -- 1 when the number of receivers tells that a process is gone
local only     = ARGV[7]  -- the token of the holder that is meant; empty for whichever it has
-- Reply: {'released' | 'expired' | 'stolen', waiter and token of the next where it is of the caller's process}

local CLAIM_MS = 2000     -- how long another process has to confirm
local FENCE_MS = 86400000 -- how long the last token is remembered

if entry ~= '' then redis.call('LREM', queue, 0, entry) end
local held = redis.call('GET', holder)
if not held then return { 'expired' } end
if mine ~= '' and string.sub(held, 1, #mine) ~= mine then return { 'stolen' } end

local old_process, old_waiter, old_token = string.match(held, '^([^|]*)|([^|]*)|%d+|(%d+)')
if only ~= '' and only ~= old_token then return { 'stolen' } end
if mine == '' then redis.call('PUBLISH', channels .. old_process, 'oust ' .. name .. ' ' .. old_waiter) end

local time = redis.call('TIME')
local last = tonumber(string.match(redis.call('GET', fence) or '0', '^%d+'))
local token = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1, tonumber(old_token) + 1))
local next_entry = redis.call('LPOP', queue)
while next_entry do
  local owner, waiter, ttl_ms = string.match(next_entry, '^([^|]*)|([^|]*)|(%d+)$')
  if owner == process then
    redis.call('SET', holder, next_entry .. '|' .. token, 'PX', ttl_ms)
    redis.call('SET', fence, token, 'PX', FENCE_MS)
    return { 'released', waiter, token }
  end
  local heard = owner and redis.call('PUBLISH', channels .. owner, 'grant ' .. name .. ' ' .. waiter) or 0
  if heard > 0 or (owner and counts == '0') then
    redis.call('SET', holder, next_entry .. '|' .. token .. '|claim', 'PX', math.min(tonumber(ttl_ms), CLAIM_MS))
    redis.call('SET', fence, token .. '|' .. owner, 'PX', FENCE_MS)
    return { 'released' }
  end
  next_entry = redis.call('LPOP', queue)
end
redis.call('DEL', holder)
redis.call('SET', fence, string.format('%.0f', math.max(last, tonumber(old_token))), 'PX', FENCE_MS)
return { 'released' }
