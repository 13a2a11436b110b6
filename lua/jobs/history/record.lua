-- Add what was counted of a queue to its records of this minute and this hour.
-- Atomic, because many workers add to one record, and what is sent again after a lost answer must not be added twice.
-- The form of a record is told in src/jobs/history/packed.ts, its pieces in src/jobs/history/keys.ts.
local minutes     = KEYS[1]            -- HASH    the records of an hour's minutes, in pieces; expires
local hours       = KEYS[2]            -- HASH    the records of a day's hours, in pieces; expires
local noted       = KEYS[3]            -- STRING  the last sequence number of the caller that was added; expires
local hour        = tonumber(ARGV[1])  -- since 1970, of which the caller takes the keys to be
local sequence    = tonumber(ARGV[2])  -- the caller's, growing with each record; 0 when it does no harm to add it twice
local added       = ARGV[3]            -- the record to add
local minutes_ms  = tonumber(ARGV[4])  -- how long minutes are kept
local hours_ms    = tonumber(ARGV[5])  -- how long hours are kept
local noted_ms    = tonumber(ARGV[6])  -- how long a sequence number is kept
-- Reply: {1 when it is added, now or before; 0 when the keys are of another hour than the server's, now in ms}

local HOUR_MS = 3600000
local PIECE = 64

local function numbers_of(packed)
  local numbers, number, scale = {}, 0, 1
  for place = 1, #packed do
    local byte = packed:byte(place)
    number = number + byte % 128 * scale
    scale = scale * 128
    if byte < 128 then
      numbers[#numbers + 1] = number
      number, scale = 0, 1
    end
  end
  return numbers
end

local function add(total, packed)
  local numbers = numbers_of(packed)
  for place = 1, 4 do total[place] = total[place] + (numbers[place] or 0) end
  for place = 5, 6 do total[place] = math.max(total[place], numbers[place] or 0) end
  local at = 7
  for _, histogram in ipairs(total.histograms) do
    local bucket = 0
    while numbers[at] do
      local hits = numbers[at]
      at = at + 1
      if hits > 0 then
        histogram[bucket] = (histogram[bucket] or 0) + hits
        histogram.last = math.max(histogram.last, bucket)
        bucket = bucket + 1
      else
        local skipped = numbers[at] or 0
        at = at + 1
        if skipped == 0 then break end
        bucket = bucket + skipped
      end
    end
  end
end

local function pack(total)
  local bytes = {}
  local function put(number)
    while number >= 128 do
      bytes[#bytes + 1] = string.char(number % 128 + 128)
      number = math.floor(number / 128)
    end
    bytes[#bytes + 1] = string.char(number)
  end
  for place = 1, 6 do put(total[place]) end
  for _, histogram in ipairs(total.histograms) do
    local skipped = 0
    for bucket = 0, histogram.last do
      local hits = histogram[bucket]
      if hits then
        if skipped > 0 then
          put(0)
          put(skipped)
        end
        skipped = 0
        put(hits)
      else
        skipped = skipped + 1
      end
    end
    put(0)
    put(0)
  end
  return table.concat(bytes)
end

local function read(key, place, places)
  local pieces = {}
  repeat
    local piece = redis.call('HGET', key, place + places * #pieces)
    pieces[#pieces + 1] = piece or nil
  until not piece or #piece < PIECE
  return table.concat(pieces)
end

local function write(key, place, places, packed)
  for from = 1, #packed, PIECE do
    redis.call('HSET', key, place, packed:sub(from, from + PIECE - 1))
    place = place + places
  end
end

local function sum(key, place, places)
  local total = { 0, 0, 0, 0, 0, 0, histograms = { { last = -1 }, { last = -1 } } }
  add(total, read(key, place, places))
  add(total, added)
  return pack(total)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if sequence > 0 and sequence <= tonumber(redis.call('GET', noted) or 0) then return { 1, now } end
if math.floor(now / HOUR_MS) ~= hour then return { 0, now } end
local minute = math.floor(now / 60000) % 60
-- Both are read before either is written, so that a key of another type leaves nothing half done.
local of_minute, of_hour = sum(minutes, minute, 60), sum(hours, hour % 24, 24)
write(minutes, minute, 60, of_minute)
write(hours, hour % 24, 24, of_hour)
redis.call('PEXPIRE', minutes, minutes_ms)
redis.call('PEXPIRE', hours, hours_ms)
if sequence > 0 then redis.call('SET', noted, sequence, 'PX', noted_ms) end
return { 1, now }
