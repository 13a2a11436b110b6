-- Keep a snapshot, unless a newer one of the same code is there.
-- Atomic, because a process that was slow must not put an older snapshot in the place of a newer one; and because what was erased
-- meanwhile must not come back.
local snapshots = KEYS[1]  -- HASH    aggregate -> `version hash state`
local stream    = KEYS[2]  -- STREAM  the events of the stream
local aggregate = ARGV[1]  -- whose snapshot
local first     = ARGV[2]  -- the version of the first event that was read for it
local version   = ARGV[3]  -- of the last event in it
local hash      = ARGV[4]  -- of what code and schema
local state     = ARGV[5]  -- as JSON
-- Reply: 1 when it is kept, else 0

for _, needed in ipairs({ first, version }) do
  if #redis.call('XRANGE', stream, needed .. '-0', needed .. '-0') == 0 then return 0 end
end
local known = redis.call('HGET', snapshots, aggregate)
if known then
  local of_version, of_hash = string.match(known, '^(%d+) (%S+) ')
  if of_hash == hash and tonumber(of_version) >= tonumber(version) then return 0 end
end
redis.call('HSET', snapshots, aggregate, version .. ' ' .. hash .. ' ' .. state)
return 1
