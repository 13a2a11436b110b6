-- Take the right to load a key, unless there is a fresh value, or somebody else loads, or a load has just failed.
-- Atomic, so that of all processes that miss one is granted, and so that the versions it captures are those of before its load:
-- they are kept in the lease, and a value is stored only while they are still those of now.
-- A lease whose versions are no longer those of now is of a load that will not be stored: it holds nobody up.
-- The same token asks again after a lost answer and is granted again.
local epoch    = KEYS[1]            -- STRING  version of the whole namespace in this bucket
local value    = KEYS[2]            -- STRING  the value, as read.lua has it (read only)
local lease    = KEYS[3]            -- STRING  12 bytes of token, epoch, tags with their versions; or '!' while a failed load backs off
local token    = ARGV[1]            -- of this load, 12 bytes
local seen     = ARGV[2]            -- id of a value that is to be replaced although it is fresh, or empty
local lease_ms = tonumber(ARGV[3])  -- how long it holds others up
local keep_ms  = tonumber(ARGV[4])  -- versions live at least that long from now
local tags     = { unpack(ARGV, 5) } -- the tags of the load
-- Reply: {1 granted | 2 found | 3 busy | 4 backing off, server µs, the value or nil, ms to wait}

local FORMAT, SHORTEST = 1, 70
local tag_head = string.sub(epoch, 1, -2) .. 't:'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Whether the epoch at `at`, the number of tags after it, and the tags at `tags_at` are as now. Each tag: its version, the length of its
-- name, its name.
local function is_current(text, at, tags_at)
  if string.sub(text, at, at + 19) ~= redis.call('GET', epoch) then return false end
  local high, low = string.byte(text, at + 20, at + 21)
  if not low then return false end
  at = tags_at
  for _ = 1, high * 256 + low do
    high, low = string.byte(text, at + 20, at + 21)
    if not low then return false end
    local name_end = at + 21 + high * 256 + low
    local key = tag_head .. string.sub(text, at + 22, name_end)
    if redis.call('GET', key) ~= string.sub(text, at, at + 19) then return false end
    at = name_end + 1
  end
  return true
end

-- Server µs and some of the token: not even a clock that was set back makes the same version twice.
local function version_of(key)
  local version = redis.call('GET', key)
  if version then
    redis.call('PEXPIRE', key, keep_ms, 'GT')
    return version
  end
  version = string.format('%016.0f', now) .. string.sub(token, 9, 12)
  redis.call('SET', key, version, 'PX', keep_ms)
  return version
end

local stored = redis.pcall('GET', value)
local is_usable = type(stored) == 'string' and #stored >= SHORTEST and string.byte(stored, 1) == FORMAT
if not is_usable or not is_current(stored, 49, 91) then stored = false end
if stored and struct.unpack('>d', stored, 25) > now and string.sub(stored, 13, 24) ~= seen then
  return { 2, now, stored, 0 }
end

local held = redis.call('GET', lease)
if held == '!' then
  if stored then return { 4, now, stored, redis.call('PTTL', lease) } end
elseif held and string.sub(held, 1, 12) ~= token and is_current(held, 13, 35) then
  return { 3, now, stored, redis.call('PTTL', lease) }
end

local marks = { version_of(epoch), struct.pack('>H', #tags) }
for _, tag in ipairs(tags) do
  marks[#marks + 1] = version_of(tag_head .. tag) .. struct.pack('>H', #tag) .. tag
end
redis.call('SET', lease, token .. table.concat(marks), 'PX', lease_ms)
return { 1, now, stored, lease_ms }
