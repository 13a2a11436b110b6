-- What a group of a stream has still to do, and who works on it.
-- Atomic, so that the figures belong together. It changes nothing.
local entries = KEYS[1]            -- STREAM  the entries
local members = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local tokens  = KEYS[3]            -- HASH    `~paused CONSUMER` -> 1 while that one takes nothing
local retries = KEYS[4]            -- ZSET    entry id -> when it is due again, in ms
local dead    = KEYS[5]            -- STREAM  the group's dead letters
local group   = ARGV[1]            -- its name
local most    = tonumber(ARGV[2])  -- how many consumers to tell of; when there are more, those for which most is pending
-- Reply: {0, the groups that there are}, or {1, the facts as texts in the order below ('' for unknown), then of each consumer: its name, how many
-- entries are pending for it, for how many ms its lease goes on, 0 once it is over and '' if it never had one, for how many ms it has asked for
-- nothing, '' if it never has, and 1 if it is paused}

local function by_name(flat)
  local map = {}
  for at = 1, #flat, 2 do map[flat[at]] = flat[at + 1] end
  return map
end

local function text(value)
  if not value then return '' end
  return type(value) == 'number' and string.format('%.0f', value) or value
end

local names = {}
local found = nil
if redis.call('EXISTS', entries) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
    local one = by_name(flat)
    names[#names + 1] = one['name']
    if one['name'] == group then found = one end
  end
end
if not found then return { 0, names } end

local stream = by_name(redis.call('XINFO', 'STREAM', entries))
local first = stream['first-entry']
local last = stream['last-entry']
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = redis.call('XPENDING', entries, group)[2]

local facts = {
  text(now_ms),
  text(stream['length']),
  text(stream['entries-added']),
  text(first and first[1]),
  text(last and last[1]),
  found['last-delivered-id'],
  text(found['entries-read']),
  text(found['lag']),
  text(found['pending']),
  text(oldest),
  text(redis.call('ZCARD', retries)),
  text(redis.call('XLEN', dead)),
}

-- What waits for its next attempt is pending for a name that is no consumer.
local known, seen = {}, {}
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', entries, group)) do
  local one = by_name(flat)
  if one['name'] ~= '~retries' then known[#known + 1] = one end
  seen[one['name']] = true
end
-- Redis hears of a consumer with its first read: one that stands by, or was paused before, has only its lease.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', members, '(' .. text(now_ms), '+inf')) do
  if not seen[name] then known[#known + 1] = { name = name, pending = 0 } end
end
facts[#facts + 1] = text(#known)
if #known > most then
  table.sort(known, function(a, b) return a['pending'] > b['pending'] end)
end

local consumers = {}
for at = 1, math.min(most, #known) do
  local one = known[at]
  local ends_ms = redis.call('ZSCORE', members, one['name'])
  consumers[#consumers + 1] = one['name']
  consumers[#consumers + 1] = text(one['pending'])
  consumers[#consumers + 1] = ends_ms and text(math.max(0, tonumber(ends_ms) - now_ms)) or ''
  consumers[#consumers + 1] = text(one['idle'])
  consumers[#consumers + 1] = redis.call('HGET', tokens, '~paused ' .. one['name']) or ''
end
return { 1, facts, consumers }
