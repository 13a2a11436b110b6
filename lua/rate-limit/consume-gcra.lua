-- What consume.lua does, for the most common limiter: one policy by GCRA or token bucket, without flags. It takes half the time.
-- Atomic, because of two calls that see the same remainder only one may have it. The clock is the server's; should it step back,
-- nobody is held up longer than it takes to fill the bucket.
local state = KEYS[1]            -- STRING  the ns since 1970 at which the bucket is full again: digits of the us, then three of the ns
local plan  = ARGV[1]            -- the burst, and the ns that one unit takes
local cost  = tonumber(ARGV[2])  -- what the call takes
-- The block's key is made of the state's, whose tag it has: to send both would cost a caller as much as the rest of the call.
-- Reply: as consume.lua: {now in us, us until the block ends or 0, 1 when the call passes, what remains, us until it would pass
-- or -1 for never, us until the key is as if unused}

local call = redis.call
local block = state .. ':block'  -- STRING  there while every call is refused (read only)
local limit, span = string.match(plan, '(%d+) (%d+)')
limit, span = tonumber(limit), tonumber(span)
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = call('MGET', block, state)
local full, need, debt, ahead = limit * span, cost * span, 0, false
local tat = kept[2]
if tat then
  debt = (string.sub(tat, 1, -4) - now) * 1000 + string.sub(tat, -3)
  if debt < 0 then
    debt = 0
  elseif debt > full then
    debt, ahead = full, true
  end
end
local blocked = 0
if kept[1] then blocked = math.max(call('PTTL', block), 0) * 1000 end

local fits, retry = 1, 0
if debt + need > full then
  fits, retry = 0, cost > limit and -1 or math.ceil((debt + need - full) / 1000)
elseif blocked == 0 then
  debt = debt + need
end
if ahead or fits == 1 and blocked == 0 then
  local us = now + math.floor(debt / 1000)
  call('SET', state, string.format('%.0f%03d', us, debt % 1000), 'PXAT', math.ceil((us + 1) / 1000))
end
return { now, blocked, fits, math.floor((full - debt) / span), retry, math.ceil(debt / 1000) }
