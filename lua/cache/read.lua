-- Read values of one bucket, each with whether it is valid: the epoch that it carries and the versions of its tags are those of now.
-- Atomic, so that a value and the versions that decide about it are of one moment.
-- The tags of a value stand in the value, so their keys cannot be named before: they are built here, in the same slot. A value whose tags
-- were found valid is stamped with the generation, which goes away with the next invalidation of any tag of the bucket: as long as it
-- is there, nobody need look at the tags.
local epoch      = KEYS[1]            -- STRING  version of the whole namespace in this bucket
local generation = KEYS[2]            -- STRING  version of all tags of this bucket together
local values     = { unpack(KEYS, 3) } -- STRINGs: form (12 bytes), id (12), fresh until, stale until, delta (doubles), epoch, tags, payload
local fresh_mark = ARGV[1]            -- 4 characters that tell a new generation from every other of the same µs
local keep_ms    = tonumber(ARGV[2])  -- a new generation lives that long
-- Reply: {server µs, then for each value: itself | nil when missing or invalid | 1 to be asked for again | 2 when it is no value}

local FORMAT, SHORTEST, ENOUGH_BYTES = 1, 70, 4 * 1024 * 1024
local tag_head = string.sub(epoch, 1, -2) .. 't:'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local versions = redis.call('MGET', epoch, generation)

-- Each tag: its version (20 bytes), the length of its name (2), its name.
local function are_current(text, at, count)
  for _ = 1, count do
    local high, low = string.byte(text, at + 20, at + 21)
    if not low then return false end
    local name_end = at + 21 + high * 256 + low
    local key = tag_head .. string.sub(text, at + 22, name_end)
    if redis.call('GET', key) ~= string.sub(text, at, at + 19) then return false end
    at = name_end + 1
  end
  return true
end

-- Best effort: a server that takes no writes still answers.
local function stamp(key)
  if not versions[2] then
    local made = string.format('%016.0f', now) .. fresh_mark
    if type(redis.pcall('SET', generation, made, 'PX', keep_ms)) ~= 'table' then return end
    versions[2] = made
  end
  redis.pcall('SETRANGE', key, 70, versions[2])
end

local function is_valid(key, value)
  if string.sub(value, 49, 68) ~= versions[1] then return false end
  local high, low = string.byte(value, 69, 70)
  local count = high * 256 + low
  if count == 0 or string.sub(value, 71, 90) == versions[2] then return true end
  if not are_current(value, 91, count) then return false end
  stamp(key)
  return true
end

local reply, bytes = { now }, 0
for index, key in ipairs(values) do
  local value = 1
  if bytes < ENOUGH_BYTES then value = redis.pcall('GET', key) end
  if type(value) == 'string' then
    if #value < SHORTEST or string.byte(value, 1) ~= FORMAT then
      value = 2
    elseif is_valid(key, value) then
      bytes = bytes + #value
    else
      value = false
    end
  elseif type(value) == 'table' then
    value = 2
  end
  reply[index + 1] = value
end
return reply
