-- A waiter looks where it stands: whether the mutex has been handed to it, whether it still waits, and whether nobody holds the lock, so
-- that the first in the queue must be given it.
-- Atomic, because two that look at the same moment must not both give it away.
--
-- Races: what another process was handed it confirms by this call, from which its lease counts; a claim that was not confirmed in time
-- has expired by itself, and all other waiters of that process are passed over with it, so that a dead process costs one claim, however
-- many waiters it had. A living one that was only slow queues again. Called again after a lost answer, it finds the holder to be itself.
local holder   = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`, and `|claim` until it has confirmed
local queue    = KEYS[2]  -- LIST    who waits: `process|waiter|ttl ms`
local fence    = KEYS[3]  -- STRING  the last token that is known to have been given; `|process` of a claim, `||ms` of another lease
local me       = ARGV[1]  -- `process|waiter|ttl ms`
local name     = ARGV[2]  -- the lock's name, for messages
local channels = ARGV[3]  -- what the name of a process's channel begins with
local counts   = ARGV[4]  -- 1 when the number of receivers tells that a process is gone
-- Reply: {'granted', token} | {'queued', ms of the lease in the way} | {'gone'}

local CLAIM_MS = 2000     -- how long another process has to confirm
local QUEUE_MS = 60000    -- how long a queue lives after somebody has looked after it
local FENCE_MS = 86400000 -- how long the last token is remembered
local process = string.match(me, '^[^|]*')

local held = redis.call('GET', holder)
if held then
  if string.sub(held, 1, #me + 1) == me .. '|' then
    local token = string.match(held, '|(%d+)', #me + 1)
    local ttl_ms = string.match(me, '(%d+)$')
    if redis.call('PTTL', holder) <= tonumber(ttl_ms) then
      redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
      redis.call('SET', fence, token, 'PX', FENCE_MS)
    end
    return { 'granted', token }
  end
  if not redis.call('LPOS', queue, me) then return { 'gone' } end
  redis.call('PEXPIRE', queue, QUEUE_MS)
  return { 'queued', redis.call('PTTL', holder) }
end

local last, lapsed = string.match(redis.call('GET', fence) or '0', '^(%d+)|?([^|]*)')
if lapsed ~= '' and lapsed ~= process then
  for _, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    if string.sub(entry, 1, #lapsed + 1) == lapsed .. '|' then redis.call('LREM', queue, 1, entry) end
  end
end

local time = redis.call('TIME')
local token = string.format('%.0f', math.max(time[1] * 1000000 + time[2], tonumber(last) + 1))
local entry = redis.call('LPOP', queue)
while entry do
  local owner, waiter, ttl_ms = string.match(entry, '^([^|]*)|([^|]*)|(%d+)$')
  if entry == me then
    redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
    redis.call('SET', fence, token, 'PX', FENCE_MS)
    return { 'granted', token }
  end
  local heard = owner and redis.call('PUBLISH', channels .. owner, 'grant ' .. name .. ' ' .. waiter) or 0
  if heard > 0 or (owner and (counts == '0' or owner == process)) then
    local lease_ms = math.min(tonumber(ttl_ms), CLAIM_MS)
    redis.call('SET', holder, entry .. '|' .. token .. '|claim', 'PX', lease_ms)
    redis.call('SET', fence, token .. '|' .. owner, 'PX', FENCE_MS)
    if not redis.call('LPOS', queue, me) then return { 'gone' } end
    redis.call('PEXPIRE', queue, QUEUE_MS)
    return { 'queued', lease_ms }
  end
  entry = redis.call('LPOP', queue)
end
return { 'gone' }
