-- Stop all writes to a shard for a while, let them go on, or stop them for good.
-- Atomic, because it may be closed for good only while the same process holds the seal and nothing waits to be copied any more.
local phase  = KEYS[1]  -- STRING  none | building: a new version is built | closed: it has taken over
local seal   = KEYS[2]  -- STRING  there while nothing may change; who sealed it
local dirty  = KEYS[3]  -- SET     documents that changed while a new version was built
local act    = ARGV[1]  -- seal | unseal | close
local who    = ARGV[2]  -- who rebuilds
local ttl_ms = ARGV[3]  -- how long a seal holds, so that one who died stops writes for no longer
-- Reply: 1 when it is so now, 0 when it may not be

local is_in = redis.call('GET', phase)
local holder = redis.call('GET', seal)
if is_in == 'closed' then return act == 'unseal' and 0 or 1 end
if act == 'seal' then
  if is_in ~= 'building' or (holder and holder ~= who) then return 0 end
  redis.call('SET', seal, who, 'PX', ttl_ms)
  return 1
end
if holder ~= who then return 0 end
if act == 'close' then
  if redis.call('SCARD', dirty) > 0 then return 0 end
  redis.call('SET', phase, 'closed')
end
redis.call('DEL', seal)
return 1
