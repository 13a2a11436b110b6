-- Take a mutex, join its queue, or be refused.
-- Atomic, because between looking and taking another could take it. Whoever finds others waiting queues behind them, though the lock be
-- free at that moment: the lock is theirs.
--
-- Races: a lost answer is met by asking again, which finds what the first call has done, also when a hand-over has come in between. A first
-- call that a frozen server runs only after the second one leaves an entry of a holder in the queue; when the lock is handed to it, nobody
-- waits for it any more, and it is given back. The lease that a repeated call finds begins anew, because its caller counts from now; one
-- that has been made longer since, which takes a call that comes very late, is left as it is.
--
-- A free lock is taken before anything is asked: what SET says tells whether it was free, and what it has overwritten whether the token is
-- the greatest. Only when it is not, both are written again; no other command runs in between.
local holder = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`, and `|claim` until it has confirmed; its PX is the lease
local me     = ARGV[1]  -- `process|waiter|ttl ms`
local ttl_ms = ARGV[2]  -- the lease
local how    = ARGV[3]  -- `queue` to wait, `look` to wait and be told how long the lease in the way lasts, `try`; `... again` when asked before
-- Reply: the token | {'queued', ms of the lease in the way, -2 without one, or nothing} | {'refused', likewise}

-- The queue's and the fence's keys are made of the holder's, whose tag they have: to send them would cost a caller a tenth of the call.
local queue = holder .. ':queue'  -- LIST    who waits: `process|waiter|ttl ms`
local fence = holder .. ':fence'  -- STRING  the last token that is known to have been given; `|process` of a claim, `||ms` of another lease

local QUEUE_MS = 60000      -- how long a queue lives after somebody has looked after it
local FENCE_MS = '86400000' -- how long the last token is remembered

if how ~= 'queue' and how ~= 'look' and string.sub(how, -5) == 'again' then
  how = string.sub(how, 1, -7)
  local held = redis.call('GET', holder)
  if held and string.sub(held, 1, #me + 1) == me .. '|' then
    local token = string.match(held, '|(%d+)', #me + 1)
    if redis.call('PTTL', holder) <= tonumber(ttl_ms) then
      redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
      redis.call('SET', fence, token, 'PX', FENCE_MS)
    end
    return token
  end
  if redis.call('LPOS', queue, me) then return { 'queued', redis.call('PTTL', holder) } end
end

if how == 'try' then
  if redis.call('EXISTS', queue) == 1 then return { 'refused', redis.call('PTTL', holder) } end
elseif redis.call('RPUSHX', queue, me) > 0 then
  if how == 'look' then return { 'queued', redis.call('PTTL', holder) } end
  return { 'queued' }
end

-- The server's µs make a token grow though the last one be forgotten; the last one makes it grow though the clock be set back.
local time = redis.call('TIME')
local micros = time[2]
local token = time[1] .. (#micros == 6 and micros or string.format('%06d', micros))
if redis.call('SET', holder, me .. '|' .. token, 'NX', 'PX', ttl_ms) then
  local last = redis.call('SET', fence, token, 'PX', FENCE_MS, 'GET')
  local last_token = last and (tonumber(last) or tonumber(string.match(last, '^%d+')))
  if last_token and last_token >= tonumber(token) then
    token = string.format('%.0f', last_token + 1)
    redis.call('SET', holder, me .. '|' .. token, 'PX', ttl_ms)
    redis.call('SET', fence, token, 'PX', FENCE_MS)
  end
  return token
end

local left_ms = redis.call('PTTL', holder)
if how == 'try' then return { 'refused', left_ms } end
redis.call('RPUSH', queue, me)
redis.call('PEXPIRE', queue, QUEUE_MS)
return { 'queued', left_ms }
