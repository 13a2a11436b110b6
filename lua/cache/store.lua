-- Store what a load gave, if its lease is still held and nothing that it depends on was invalidated since the lease was taken.
-- Atomic, so that a delete, a tag's invalidation or a clear that comes during a load always wins over it.
-- The lease is given back in any case. Repeated after a lost answer, the call finds its own value and says stored again.
local epoch    = KEYS[1]            -- STRING  version of the whole namespace in this bucket
local value    = KEYS[2]            -- STRING  the value, as read.lua has it
local lease    = KEYS[3]            -- STRING  12 bytes of token, epoch, tags with their versions
local generation = KEYS[4]          -- STRING  version of all tags of this bucket together
local token    = ARGV[1]            -- of the load; the value's id from now on
local form     = ARGV[2]            -- the value's first 12 bytes: format, kind, codec, compression, sizes
local payload  = ARGV[3]            -- the encoded value
local fresh_ms = tonumber(ARGV[4])  -- how long it counts as fresh
local stale_ms = tonumber(ARGV[5])  -- freshness and grace: how long the value is kept
local delta_ms = tonumber(ARGV[6])  -- how long the load took
local channel  = ARGV[7]            -- where the processes hear of it
local stored   = ARGV[8]            -- the message that tells of a new value
local failed   = ARGV[9]            -- the message that tells of none
local keep_ms  = tonumber(ARGV[10]) -- a new generation lives at least that long
-- Reply: 1 stored, 0 superseded

local held = redis.call('GET', lease)
if not held or string.sub(held, 1, 12) ~= token then
  return redis.pcall('GETRANGE', value, 12, 23) == token and 1 or 0
end

local tag_head = string.sub(epoch, 1, -2) .. 't:'
local versions = { epoch }
local is_current = string.sub(held, 13, 32) == redis.call('GET', epoch)
local at = 35
for index = 1, struct.unpack('>H', held, 33) do
  local name_end = at + 21 + struct.unpack('>H', held, at + 20)
  versions[index + 1] = tag_head .. string.sub(held, at + 22, name_end)
  is_current = is_current and redis.call('GET', versions[index + 1]) == string.sub(held, at, at + 19)
  at = name_end + 1
end
if not is_current then
  redis.call('DEL', lease)
  redis.call('PUBLISH', channel, failed)
  return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stamp, made = '', false
if #versions > 1 then
  stamp = redis.call('GET', generation)
  if not stamp then
    made = string.format('%016.0f', now) .. string.sub(token, 9, 12)
    stamp = made
  end
  versions[#versions + 1] = generation
end
local times = struct.pack('>ddd', now + fresh_ms * 1000, now + stale_ms * 1000, delta_ms)
local marks = string.sub(held, 13, 34) .. stamp .. string.sub(held, 35)
-- The first write, because Redis refuses what needs memory that it has not got only until something was written.
redis.call('SET', value, form .. token .. times .. marks .. payload, 'PX', stale_ms)
redis.call('DEL', lease)
if made then redis.call('SET', generation, made, 'PX', keep_ms) end
for _, version in ipairs(versions) do redis.call('PEXPIRE', version, stale_ms, 'GT') end
redis.call('PUBLISH', channel, stored)
return 1
