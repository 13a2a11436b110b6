-- Make a group again that was deleted under its consumers, with what is known of it: how far it had come, what waits for a retry, and what
-- the caller works on.
-- Atomic, because a group without these would be read past them. A consumer that comes after another one adds what it works on itself, and
-- moves the group to where it had come to if that is further: all up to there had been given to somebody, who adds it, too.
local entries  = KEYS[1]            -- STREAM  the entries
local retries  = KEYS[2]            -- ZSET    entry id -> when it is due, in ms
local tokens   = KEYS[3]            -- HASH    lasting name -> the consumer that has it; ~last, ~generation: see keys.ts
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who revives it
local last     = ARGV[3]            -- the last id that it knows to have been given to anybody; where the group begins if it knows of none
local ids      = { unpack(ARGV, 4) }  -- of the entries that it works on
-- Reply: {1 when the group was made, else 0, entries that are pending for the caller again}

local function is_behind(one, other)
  local ms, seq = string.match(one, '^(%d+)-?(%d*)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-?(%d*)$')
  if not ms or not other_ms then return not ms and other_ms ~= nil end
  if ms ~= other_ms then return tonumber(ms) < tonumber(other_ms) end
  return (tonumber(seq) or 0) < (tonumber(other_seq) or 0)
end

local function fact_of(list, name)
  for at = 1, #list, 2 do
    if list[at] == name then return list[at + 1] end
  end
end

local noted = redis.call('HGET', tokens, '~last')
if noted and is_behind(last, noted) then last = noted end
local newest = redis.call('EXISTS', entries) == 1 and fact_of(redis.call('XINFO', 'STREAM', entries), 'last-generated-id') or '0'
-- In a stream that is new everything is new, whatever the ids of the old one were.
local is_new = is_behind(newest, last) or newest == '0'
local made = redis.pcall('XGROUP', 'CREATE', entries, group, is_new and '0' or last, 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
if not made.err then
  local time = redis.call('TIME')
  redis.call('HSET', tokens, '~generation', time[1] .. '.' .. time[2])
  for _, id in ipairs(redis.call('ZRANGE', retries, 0, -1)) do
    if #redis.call('XCLAIM', entries, group, '~retries', 0, id, 'FORCE', 'JUSTID') == 0 then redis.call('ZREM', retries, id) end
  end
elseif not is_new then
  for _, one in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
    if one[2] == group and is_behind(one[8], last) then redis.call('XGROUP', 'SETID', entries, group, last) end
  end
end
local again = 0
for _, id in ipairs(ids) do
  if #redis.call('XPENDING', entries, group, id, id, 1) == 0 then
    again = again + #redis.call('XCLAIM', entries, group, consumer, 0, id, 'FORCE', 'JUSTID')
  end
end
return { made.err and 0 or 1, again }
