-- Give back to each policy what a call took from it, at most what is there, and tell those who remember a refusal.
-- Atomic, because a refusal that is remembered must not outlive what makes room again, even if the caller dies in between.
local states  = { unpack(KEYS, 1) }  -- what was taken, a key for each policy
local plan    = ARGV[1]              -- of each policy: kind, limit, span, flags, as in consume.lua
local cost    = tonumber(ARGV[2])    -- what is given back
local channel = ARGV[3]              -- where it is told
local message = ARGV[4]              -- what is told
-- Needs no clock: what has run out by itself meanwhile counts for nothing, here as there.
-- Reply: how many of the policies had anything to give back to.

local give = {}

function give.g(key, span)
  local stored = redis.call('GET', key)
  if not stored then return 0 end
  if #stored < 19 then stored = stored .. '000' end
  local us, ns = tonumber(string.sub(stored, 1, -4)), tonumber(string.sub(stored, -3)) - cost * span
  -- Of far more than was taken: a time of fewer digits would be read in another unit, and beyond 2^53 a rest is not exact.
  us, ns = math.max(us + math.floor(ns / 1000), 1e15), math.min(math.max(ns % 1000, 0), 999)
  redis.call('SET', key, string.format('%.0f%03d', us, ns), 'KEEPTTL')
  return 1
end

function give.f(key)
  local taken = tonumber(redis.call('GET', key) or 0)
  if taken == 0 then return 0 end
  redis.call('SET', key, string.format('%.0f', math.max(taken - cost, 0)), 'KEEPTTL')
  return 1
end

give.F = give.f

-- From the newer window first: that is where the call most likely was.
function give.s(key)
  local stored = redis.call('HMGET', key, 'c', 'p')
  if not stored[1] then return 0 end
  local current, previous = tonumber(stored[1]), tonumber(stored[2])
  local from_current = math.min(current, cost)
  local from_previous = math.min(previous, cost - from_current)
  redis.call('HSET', key, 'c', string.format('%.0f', current - from_current))
  redis.call('HSET', key, 'p', string.format('%.0f', previous - from_previous))
  return 1
end

function give.l(key)
  return math.min(1, redis.call('ZREMRANGEBYRANK', key, -cost, -1))
end

local given, index = 0, 0
for kind, span in string.gmatch(plan, '(%a) %d+ (%d+) %d') do
  index = index + 1
  given = given + give[kind](states[index], tonumber(span))
end
if given > 0 then redis.call('PUBLISH', channel, message) end
return given
