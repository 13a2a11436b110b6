-- Take a mutex, join its queue, or be refused.
-- Atomic, because between looking and taking another could take it. Whoever finds others waiting queues behind them, though the lock be
-- free at that moment: the lock is theirs.
--
-- Races: a lost answer is met by asking again, which finds what the first call has done, also when a hand-over has come in between. A first
-- call that a frozen server runs only after the second one leaves an entry of a holder in the queue; when the lock is handed to it, nobody
-- waits for it any more, and it is given back. The lease that a repeated call finds begins anew, because its caller counts from now.
local holder    = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`, and `|claim` until it has confirmed; its PX is the lease
local queue     = KEYS[2]  -- LIST    who waits: `process|waiter|ttl ms`
local fence     = KEYS[3]  -- STRING  the last token that is known to have been given, and `|process` of a claim
local me        = ARGV[1]  -- `process|waiter|ttl ms`
local may_queue = ARGV[2]  -- 1 to wait in the queue
local look      = ARGV[3]  -- 1 to be told how long the lease in the way lasts
local again     = ARGV[4]  -- 1 when asked before
-- Reply: {'granted', token} | {'queued', ms of the lease in the way, -2 without one, or nothing} | {'refused', likewise}

local QUEUE_MS = 60000    -- how long a queue lives after somebody has looked after it
local FENCE_MS = 86400000 -- how long the last token is remembered
local ttl_ms = string.match(me, '%d+$')

if again == '1' then
  local held = redis.call('GET', holder)
  if held and string.sub(held, 1, #me + 1) == me .. '|' then
    local token = string.match(held, '|(%d+)', #me + 1)
    redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
    redis.call('SET', fence, token, 'PX', FENCE_MS)
    return { 'granted', token }
  end
  if redis.call('LPOS', queue, me) then return { 'queued', redis.call('PTTL', holder) } end
end

if may_queue == '1' then
  if redis.call('RPUSHX', queue, me) > 0 then
    if look == '1' then return { 'queued', redis.call('PTTL', holder) } end
    return { 'queued' }
  end
elseif redis.call('EXISTS', queue) == 1 then
  return { 'refused', redis.call('PTTL', holder) }
end

local left_ms = redis.call('PTTL', holder)
if left_ms ~= -2 then
  if may_queue == '0' then return { 'refused', left_ms } end
  redis.call('RPUSH', queue, me)
  redis.call('PEXPIRE', queue, QUEUE_MS)
  return { 'queued', left_ms }
end

-- The server's µs make a token grow though the last one be forgotten; the last one makes it grow though the clock be set back.
local time = redis.call('TIME')
local last = tonumber(string.match(redis.call('GET', fence) or '0', '^%d+'))
local token = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1))
redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
redis.call('SET', fence, token, 'PX', FENCE_MS)
return { 'granted', token }
