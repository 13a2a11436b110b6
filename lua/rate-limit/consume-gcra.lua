-- What consume.lua does, for the most common limiter: one policy by GCRA or token bucket, without flags. It takes a third of the time.
-- Atomic, because of two calls that see the same remainder only one may have it. The clock is the server's; should it step back,
-- nobody is held up longer than it takes to fill the bucket.
local state = KEYS[1]  -- STRING  when the bucket is full again: us since 1970, and three more digits where ns matter
local full  = ARGV[1]  -- ns that the empty bucket takes to fill
local need  = ARGV[2]  -- ns that what the call takes is worth
-- The block's key is made of the state's, whose tag it has: to send both would cost a caller as much as the rest of the call.
-- Reply: for a call that passes, the ns until the bucket is full again, after it: a number alone, because a list costs a third
-- of the whole call. For one that does not: {now in us, us until the block ends or 0, ns until the bucket is full again}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = call('MGET', state .. ':block', state)
local debt, ahead = 0, false
local tat = kept[2]
if tat then
  if #tat < 19 then
    debt = (tat - now) * 1000
  else
    debt = (string.sub(tat, 1, -4) - now) * 1000 + string.sub(tat, -3)
  end
  if debt < 0 then
    debt = 0
  elseif debt > full + 0 then
    debt, ahead = full + 0, true
  end
end

local after = debt + need
local passes = after <= full + 0 and not kept[1]
if passes then debt = after end
if passes or ahead then
  local ns = debt % 1000
  local us = now + (debt - ns) / 1000
  -- A number goes out as its digits; to put them together is what takes time.
  call('SET', state, ns == 0 and us or string.format('%.0f%03d', us, ns), 'PXAT', math.ceil((us + 1) / 1000))
end
if passes then return debt end
-- A block in its last millisecond has a PTTL of 0: it refuses all the same, or the call would pass without being counted.
return { now, kept[1] and math.max(call('PTTL', state .. ':block'), 1) * 1000 or 0, debt }
