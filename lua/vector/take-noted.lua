-- Take documents that changed while a new version was built, to copy them.
-- Atomic, because one who builds no more must take none: whoever builds now would close the shard without them.
local phase = KEYS[1]  -- STRING  `building WHO`: a new version is built
local dirty = KEYS[2]  -- SET     documents that changed meanwhile
local who   = ARGV[1]  -- who builds
local most  = ARGV[2]  -- how many to take
-- Reply: {the documents}; false when another one builds now

local is_in = redis.call('GET', phase) or ''
if string.match(is_in, '^closed') then return {} end
if is_in ~= 'building ' .. who then return false end
return redis.call('SPOP', dirty, most)
