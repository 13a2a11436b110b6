-- Append events to a stream, and a reference of each to the list of all events.
-- Atomic, because the expected version must hold until the events are written, versions and positions must have no gaps, and a
-- stream must never hold an event that the list of all events lacks. All events of a call are appended, or none.
local versions  = KEYS[1]            -- HASH    stream id -> its last version; of all events, under no name, the last position
local stream    = KEYS[2]            -- STREAM  the events of the stream; ids are VERSION-0
local all       = KEYS[3]            -- STREAM  a reference to every event; ids are POSITION-0
local ids       = KEYS[4]            -- HASH    event id -> version, of those events that were named by their writer
local stream_id = ARGV[1]            -- the stream as the caller spells it
local expected  = ARGV[2]            -- any, none, exists, or the version that the stream must have
local is_named  = ARGV[3]            -- 1 when the caller has named the events
local mark      = ARGV[4]            -- random, of this call: tells its references from others that had the same positions and were lost
local events    = { unpack(ARGV, 5) }  -- of each event: type, data, id, metadata, how many upcasters its form had seen
-- Reply: {appended|duplicate|conflict|taken, the stream's version, the position of the last event; as text}

local last = redis.call('HMGET', versions, stream_id, '')
local version, position = tonumber(last[1] or '0'), tonumber(last[2] or '0')
local count = #events / 5

local function text(number)
  return string.format('%.0f', number)
end

if is_named == '1' then
  local named = {}
  for at = 3, #events, 5 do named[#named + 1] = events[at] end
  local known = redis.call('HMGET', ids, unpack(named))
  local first, is_same, is_new = tonumber(known[1] or '0'), true, true
  for at = 1, count do
    if known[at] then is_new = false end
    if tonumber(known[at] or '0') ~= first + at - 1 or first == 0 then is_same = false end
  end
  if is_same then
    local of_last = text(first + count - 1)
    local entry = redis.call('XRANGE', stream, of_last .. '-0', of_last .. '-0')[1]
    return { 'duplicate', of_last, entry and entry[2][10] or '0' }
  end
  if not is_new then return { 'taken', text(version), '0' } end
end

local fits = expected == 'any' or (expected == 'none' and version == 0) or (expected == 'exists' and version > 0)
  or tonumber(expected) == version
if not fits then return { 'conflict', text(version), '0' } end

local time = redis.call('TIME')
local at_ms = text(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
for at = 1, #events, 5 do
  version = version + 1
  position = position + 1
  local here, there = text(version), text(position)
  -- The same fields in the same order in each entry: Redis then keeps their names once for many entries.
  redis.call('XADD', stream, here .. '-0', 'type', events[at], 'data', events[at + 1], 'id', events[at + 2], 'at', at_ms,
    'position', there, 'metadata', events[at + 3], 'form', events[at + 4])
  redis.call('XADD', all, there .. '-0', 'stream', stream_id, 'version', here, 'type', events[at], 'mark', mark)
  if is_named == '1' then redis.call('HSET', ids, events[at + 2], here) end
end
redis.call('HSET', versions, stream_id, text(version), '', text(position))
return { 'appended', text(version), text(position) }
