-- Puts the all-time board away under a name, so that the next score begins a new one.
-- Atomic, because a score between the two would be in neither or in both. Twice by one name is once.
local state     = KEYS[1]              -- HASH  settings: what the stored form depends on
local archives  = KEYS[2]              -- HASH  name of an archive -> `MS MEMBERS UNTIL`: when it was closed, how many were on it, and when it
                                       -- expires, 0 for never
local keys      = { unpack(KEYS, 3) }  -- of the all-time board ranks (ZSET), marks (HASH), scores (ZSET) and metadata (HASH); then those of
                                       -- the archive
local settings  = ARGV[1]              -- of this process
local name      = ARGV[2]              -- of the archive
local keep_ms   = tonumber(ARGV[3])    -- how long it stays; 0 for ever
local memory_ms = tonumber(ARGV[4])    -- how long the name of one that has expired is known
-- Reply: {1 when it was closed now, 0 when it had been, ms, members}; or {'settings', those of the board}, and nothing was changed

local form = redis.call('HGET', state, 'settings')
if form and form ~= settings then return { 'settings', form } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local said = redis.call('HGETALL', archives)
for at = 1, #said, 2 do
  local ms, members, expires = string.match(said[at + 1], '^(%d+) (%d+) (%d+)$')
  if expires ~= '0' and tonumber(expires) + memory_ms < now then
    redis.call('HDEL', archives, said[at])
  elseif said[at] == name then
    return { 0, ms, members }
  end
end

local ms = string.format('%.0f', now)
local members = redis.call('ZCARD', keys[1])
for at = 1, 4 do
  if redis.call('EXISTS', keys[at]) == 1 then
    redis.call('RENAME', keys[at], keys[at + 4])
    if keep_ms > 0 then redis.call('PEXPIRE', keys[at + 4], keep_ms) end
  end
end
local expires = keep_ms > 0 and now + keep_ms or 0
redis.call('HSET', archives, name, string.format('%s %d %.0f', ms, members, expires))
return { 1, ms, members .. '' }
