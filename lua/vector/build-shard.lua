-- Note from now on what changes in a shard, for one who builds a new version; stop its writes for a while, let them go on, or stop them for good.
-- Atomic, because it may be closed for good only while the same process holds the seal and nothing waits to be copied any more, and because
-- one who was away for long must find that another one builds now.
local phase  = KEYS[1]  -- STRING  none | `building WHO`: a new version is built | `closed N`: it has taken over
local seal   = KEYS[2]  -- STRING  there while nothing may change; who sealed it
local dirty  = KEYS[3]  -- SET     documents that changed while a new version was built
local act    = ARGV[1]  -- begin | seal | unseal | close
local who    = ARGV[2]  -- who builds
local number = ARGV[3]  -- the version that is built
local ttl_ms = ARGV[4]  -- how long a seal holds, so that one who died stops writes for no longer
-- Reply: 1 when it is so now, 0 when it may not be

local is_in = redis.call('GET', phase) or ''
if string.match(is_in, '^closed') then
  if act == 'close' then redis.call('SET', phase, 'closed ' .. number) end
  return (act == 'seal' or act == 'close') and 1 or 0
end
if act == 'begin' then
  redis.call('SET', phase, 'building ' .. who)
  return 1
end
if is_in ~= 'building ' .. who then return 0 end
if act == 'seal' then
  redis.call('SET', seal, who, 'PX', ttl_ms)
  return 1
end
if redis.call('GET', seal) ~= who then return 0 end
if act == 'close' then
  if redis.call('SCARD', dirty) > 0 then return 0 end
  redis.call('SET', phase, 'closed ' .. number)
end
redis.call('DEL', seal)
return 1
