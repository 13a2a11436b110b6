-- Add tags to a load that runs, with their versions of now.
-- Atomic, so that the load's lease is still the caller's when it grows. A repeated call adds the same tags again, which does no harm.
local epoch   = KEYS[1]            -- STRING  version of the whole namespace in this bucket (not read; its name leads to the tags')
local lease   = KEYS[2]            -- STRING  12 bytes of token, epoch, tags with their versions
local token   = ARGV[1]            -- of this load
local keep_ms = tonumber(ARGV[2])  -- versions live at least that long from now
local tags    = { unpack(ARGV, 3) } -- their names
-- Reply: 1, or 0 when the lease is no longer the caller's

local held = redis.call('GET', lease)
if not held or string.sub(held, 1, 12) ~= token then return 0 end

local tag_head = string.sub(epoch, 1, -2) .. 't:'
local time = redis.call('TIME')
local added = {}
for index, tag in ipairs(tags) do
  local key = tag_head .. tag
  local version = redis.call('GET', key)
  if version then
    redis.call('PEXPIRE', key, keep_ms, 'GT')
  else
    version = string.format('%016.0f', time[1] * 1000000 + time[2]) .. string.sub(token, 9, 12)
    redis.call('SET', key, version, 'PX', keep_ms)
  end
  added[index] = version .. struct.pack('>H', #tag) .. tag
end
local count = struct.unpack('>H', held, 33) + #tags
held = string.sub(held, 1, 32) .. struct.pack('>H', count) .. string.sub(held, 35) .. table.concat(added)
redis.call('SET', lease, held, 'KEEPTTL')
return 1
