-- Store a value whatever is there.
-- Atomic, so that a load that is under way meets either no value and no lease, or this value and no lease: it cannot overwrite it.
local epoch    = KEYS[1]            -- STRING  version of the whole namespace in this bucket
local value    = KEYS[2]            -- STRING  the value, as read.lua has it
local lease    = KEYS[3]            -- STRING  of a load under way, or of a back-off; goes away
local generation = KEYS[4]          -- STRING  version of all tags of this bucket together
local id       = ARGV[1]            -- of the value, 12 bytes
local form     = ARGV[2]            -- the value's first 12 bytes: format, kind, codec, compression, sizes
local payload  = ARGV[3]            -- the encoded value
local fresh_ms = tonumber(ARGV[4])  -- how long it counts as fresh
local stale_ms = tonumber(ARGV[5])  -- freshness and grace: how long the value is kept
local delta_ms = tonumber(ARGV[6])  -- how long it took to make, as far as the caller knows
local keep_ms  = tonumber(ARGV[7])  -- versions live at least that long from now
local channel  = ARGV[8]            -- where the processes hear of it
local message  = ARGV[9]            -- what they hear
local tags     = { unpack(ARGV, 10) } -- of the value
-- Reply: 1

local tag_head = string.sub(epoch, 1, -2) .. 't:'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local versions = {}
local function version_of(key)
  versions[#versions + 1] = key
  local version = redis.call('GET', key)
  if not version then
    version = string.format('%016.0f', now) .. string.sub(id, 9, 12)
    redis.call('SET', key, version, 'PX', keep_ms)
  end
  return version
end

local marks = { version_of(epoch), struct.pack('>H', #tags) }
if #tags > 0 then marks[3] = version_of(generation) end
for _, tag in ipairs(tags) do
  marks[#marks + 1] = version_of(tag_head .. tag) .. struct.pack('>H', #tag) .. tag
end
-- No write before it that needs no memory: Redis refuses what needs memory that it has not got only until something was written.
local times = struct.pack('>ddd', now + fresh_ms * 1000, now + stale_ms * 1000, delta_ms)
redis.call('SET', value, form .. id .. times .. table.concat(marks) .. payload, 'PX', stale_ms)
redis.call('DEL', lease)
for _, version in ipairs(versions) do redis.call('PEXPIRE', version, keep_ms, 'GT') end
redis.call('PUBLISH', channel, message)
return 1
