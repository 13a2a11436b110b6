-- Let go of a mutex whose lease has not run out, and hand it to the first in the queue.
-- Atomic, because between the letting go and the hand-over somebody could barge in. This is the way of every contended hand-over, so it
-- asks nothing first: it gives the lock to the next and learns from what it has overwritten whether it could. If not, which takes a
-- forced release or a failover within the lease, it puts everything back as it was; no other command runs in between.
--
-- Races: a holder whose time is over, or who asks again after a lost answer, uses give-back.lua, which looks first. A late first call that a
-- frozen server runs after such a second one finds another holder, and puts it back. The token of the next is the holder's plus the
-- µs that it has held: never ahead of the server's clock, so that one given later by that clock, after an expiry or a failover
-- that lost this hand-over, is greater.
local holder     = KEYS[1]  -- STRING  who holds it: `process|waiter|ttl ms|token`
local queue      = KEYS[2]  -- LIST    who waits: `process|waiter|ttl ms`
local fence      = KEYS[3]  -- STRING  the last token that is known to have been given, and `|process` of a claim
local mine       = ARGV[1]  -- the holder's value
local next_token = ARGV[2]  -- the token of the next
local name       = ARGV[3]  -- the lock's name, for messages
local channels   = ARGV[4]  -- what the name of a process's channel begins with
local counts     = ARGV[5]  -- 1 when the number of receivers tells that a process is gone
-- Reply: {'released', waiter and token of the next where it is of this process} | {'expired'} | {'stolen'}

local CLAIM_MS = 2000     -- how long another process has to confirm
local QUEUE_MS = 60000    -- how long a queue lives after somebody has looked after it
local FENCE_MS = 86400000 -- how long the last token is remembered
local process = string.match(mine, '^[^|]*') -- Waiters of the holder's own process are told by the reply.

local function put_back(entry, held)
  redis.call('LPUSH', queue, entry)
  redis.call('PEXPIRE', queue, QUEUE_MS)
  return { held and 'stolen' or 'expired' }
end

local is_sure = false
local entry = redis.call('LPOP', queue)
while entry do
  local owner, waiter, ttl_ms = string.match(entry, '^([^|]*)|([^|]*)|(%d+)$')
  if owner == process then
    local held = redis.call('SET', holder, entry .. '|' .. next_token, 'PX', ttl_ms, 'GET')
    if held == mine then return { 'released', waiter, next_token } end
    if held then
      local lease_ms = tonumber(string.match(held, '^[^|]*|[^|]*|(%d+)|') or CLAIM_MS)
      if string.find(held, '|claim', 1, true) then lease_ms = math.min(lease_ms, CLAIM_MS) end
      redis.call('SET', holder, held, 'PX', lease_ms)
    else
      redis.call('DEL', holder)
    end
    return put_back(entry, held)
  end
  if not is_sure then
    local held = redis.call('GET', holder)
    if held ~= mine then return put_back(entry, held) end
    is_sure = true
  end
  local heard = owner and redis.call('PUBLISH', channels .. owner, 'grant ' .. name .. ' ' .. waiter) or 0
  if heard > 0 or (owner and counts == '0') then
    local lease_ms = math.min(tonumber(ttl_ms), CLAIM_MS)
    redis.call('SET', holder, entry .. '|' .. next_token .. '|claim', 'PX', lease_ms)
    redis.call('SET', fence, next_token .. '|' .. owner, 'PX', FENCE_MS)
    return { 'released' }
  end
  entry = redis.call('LPOP', queue) -- Nobody listens there: its process is dead, or will look and queue again.
end

local held = redis.call('GET', holder)
if held ~= mine then return { held and 'stolen' or 'expired' } end
redis.call('DEL', holder)
redis.call('SET', fence, string.match(mine, '%d+$'), 'PX', FENCE_MS)
return { 'released' }
