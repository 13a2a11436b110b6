-- Decide on a call by all policies of a limiter, and take its cost from each of them, or from none if one of them refuses.
-- Atomic, because of two calls that see the same remainder only one may have it, and because a call that one policy
-- refuses must not have been counted by another. The clock is the server's, so that callers with skewed clocks agree. Should it
-- step back, what was taken counts from now on, so nobody is held up longer than a policy's own span.
local block  = KEYS[1]              -- STRING  there while every call is refused (read only)
local states = { unpack(KEYS, 2) }  -- what was taken, a key for each policy: STRING, HASH or ZSET by its kind
local plan   = ARGV[1]              -- '1' takes, '0' only looks; then of each policy: kind, limit, span, flags
local cost   = tonumber(ARGV[2])    -- what the call takes
local call   = ARGV[3]              -- tells the call from all others; needed by logs alone
-- Kinds and spans: g GCRA and token bucket, ns that one unit takes; f fixed window, F the same aligned to UTC, s sliding window,
-- l sliding log, us of the window. Flags: 0 none, 1 refused calls count too, 2 refuses nothing, 3 both.
-- Reply: integers below 2^53: {now in us, us until the block ends or 0, then of each policy: 1 when it lets the call pass,
-- what remains, us until a call of this cost would pass or -1 for never, us until the key is as if unused}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local function whole(n) return string.format('%.0f', n) end

-- Each kind has a look, which fills in `fits`, `left`, `retry` and `reset` as they are before the call, and a take, which stores
-- an amount, up to the limit, and sets `left` and `reset` anew. What was stored by a clock or a policy that reached further
-- than this one is `ahead`: it is stored as what it is taken for, even by a refused call, or it would hold up for ever.
local look, take = {}, {}

-- STRING: when the bucket is full again: us since 1970, and three more digits where ns matter.
function look.g(p)
  local full, need = p.limit * p.span, cost * p.span
  local stored = redis.call('GET', p.key)
  p.debt = 0
  if stored then
    if #stored < 19 then stored = stored .. '000' end
    p.debt = max((tonumber(string.sub(stored, 1, -4)) - now) * 1000 + tonumber(string.sub(stored, -3)), 0)
    p.ahead = p.debt > full
    p.debt = min(p.debt, full)
  end
  p.fits = p.debt + need <= full
  p.left = floor((full - p.debt) / p.span)
  p.retry = ceil((p.debt + need - full) / 1000)
  p.reset = ceil(p.debt / 1000)
end

function take.g(p, amount)
  local full = p.limit * p.span
  p.debt = min(p.debt + amount * p.span, full)
  p.left = floor((full - p.debt) / p.span)
  p.reset = ceil(p.debt / 1000)
  local value = string.format('%.0f%03d', now + floor(p.debt / 1000), p.debt % 1000)
  redis.call('SET', p.key, value, 'PXAT', whole(ceil((now + p.debt / 1000) / 1000)))
end

-- STRING: what was taken in the window, which ends when the key expires.
function look.f(p)
  p.taken = tonumber(redis.call('GET', p.key) or 0)
  if p.taken > 0 then
    p.ends = redis.call('PEXPIRETIME', p.key) * 1000
    if p.ends <= now then p.taken = 0 end
  end
  p.ahead = p.taken > 0 and p.ends - now > p.span + 1000
  if p.taken == 0 or p.ahead then
    if p.kind == 'F' then
      p.ends = now - now % p.span + p.span
    else
      p.ends = ceil(now / 1000) * 1000 + p.span
    end
  end
  p.fits = p.taken + cost <= p.limit
  p.left = max(p.limit - p.taken, 0)
  p.retry = p.ends - now
  p.reset = p.taken > 0 and p.retry or 0
end

function take.f(p, amount)
  p.taken = max(p.taken, min(p.taken + amount, p.limit))
  p.left = max(p.limit - p.taken, 0)
  p.reset = p.ends - now
  redis.call('SET', p.key, whole(p.taken), 'PXAT', whole(p.ends / 1000))
end

look.F, take.F = look.f, take.f

local function reset_of_windows(p)
  return (p.current > 0 and p.rest + p.span) or (p.previous > 0 and p.rest) or 0
end

-- HASH: w the start of the newest window in us, c what was taken in it, p what was taken in the one before.
function look.s(p)
  local stored = redis.call('HMGET', p.key, 'w', 'c', 'p')
  local start = now - now % p.span
  local window = tonumber(stored[1] or 0)
  p.start, p.current, p.previous = start, tonumber(stored[2] or 0), tonumber(stored[3] or 0)
  if window < start - p.span then
    p.current, p.previous = 0, 0
  elseif window < start then
    p.current, p.previous = 0, p.current
  end
  p.ahead = window > start
  p.rest = start + p.span - now
  -- In us times units, so that nothing is rounded.
  local free = (p.limit - p.current) * p.span - p.previous * p.rest
  p.fits = free >= cost * p.span
  p.left = max(floor(free / p.span), 0)
  p.reset = reset_of_windows(p)
  if p.current + cost <= p.limit then
    p.retry = p.rest - floor((p.limit - p.current - cost) * p.span / p.previous)
  else
    p.retry = p.rest + max(p.span - floor((p.limit - cost) * p.span / p.current), 0)
  end
end

function take.s(p, amount)
  p.current = max(p.current, min(p.current + amount, p.limit))
  p.left = max(floor(((p.limit - p.current) * p.span - p.previous * p.rest) / p.span), 0)
  p.reset = reset_of_windows(p)
  redis.call('HSET', p.key, 'w', whole(p.start), 'c', whole(p.current), 'p', whole(p.previous))
  redis.call('PEXPIREAT', p.key, whole(ceil((p.start + 2 * p.span) / 1000)))
end

-- ZSET: a member for each unit, scored by the us of its call.
function look.l(p)
  local since = '(' .. whole(now - p.span)
  local count = redis.call('ZCOUNT', p.key, since, '+inf')
  p.count, p.fits, p.left, p.retry, p.reset = count, count + cost <= p.limit, max(p.limit - count, 0), 0, 0
  if count == 0 then return end
  local newest = redis.call('ZRANGE', p.key, -1, -1, 'WITHSCORES')
  p.reset = min(newest[2] - now, 0) + p.span
  if not p.fits then
    local last = redis.call('ZRANGE', p.key, since, '+inf', 'BYSCORE', 'LIMIT', count + cost - p.limit - 1, 1, 'WITHSCORES')
    p.retry = last[2] and min(last[2] - now, 0) + p.span or 0
  end
  p.ahead = tonumber(newest[2]) > now
end

function take.l(p, amount)
  redis.call('ZREMRANGEBYSCORE', p.key, '-inf', whole(now - p.span))
  local at = whole(now)
  if p.ahead then
    local members = redis.call('ZRANGE', p.key, '(' .. at, '+inf', 'BYSCORE')
    for _, member in ipairs(members) do redis.call('ZADD', p.key, at, member) end
  end
  local adding = min(amount, p.limit)
  for first = 1, adding, 1000 do
    local batch = {}
    for unit = first, min(first + 999, adding) do
      batch[#batch + 1] = at
      batch[#batch + 1] = call .. ':' .. unit
    end
    redis.call('ZADD', p.key, unpack(batch))
  end
  p.count = p.count + adding
  if p.count > p.limit then
    redis.call('ZREMRANGEBYRANK', p.key, 0, p.count - p.limit - 1)
    p.count = p.limit
  end
  p.left = p.limit - p.count
  p.reset = p.span
  redis.call('PEXPIREAT', p.key, whole(ceil((now + p.span) / 1000)))
end

local takes = string.sub(plan, 1, 1) == '1'
local held = redis.call('PTTL', block)
-- -2: no block. One in its last millisecond has a PTTL of 0 and refuses all the same.
local blocked = held == -2 and 0 or max(held, 1) * 1000
local passes = blocked == 0
local policies = {}
for kind, limit, span, flags in string.gmatch(plan, '(%a) (%d+) (%d+) (%d)') do
  local p = { kind = kind, limit = tonumber(limit), span = tonumber(span), key = states[#policies + 1] }
  p.counts_refused = flags == '1' or flags == '3'
  p.watches = flags == '2' or flags == '3'
  look[kind](p)
  if cost > p.limit then p.retry = -1 elseif p.fits then p.retry = 0 end
  if not p.fits and not p.watches then passes = false end
  policies[#policies + 1] = p
end

local reply = { now, blocked }
for _, p in ipairs(policies) do
  if takes then
    local counts = passes and p.fits or not p.fits and p.counts_refused and cost <= p.limit and blocked == 0
    if counts or p.ahead then take[p.kind](p, counts and cost or 0) end
  end
  reply[#reply + 1] = p.fits and 1 or 0
  reply[#reply + 1] = p.left
  reply[#reply + 1] = p.retry
  reply[#reply + 1] = p.reset
end
return reply
