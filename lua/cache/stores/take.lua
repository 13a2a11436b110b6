-- The next batch that is to be saved: changes whose retry is due, and fresh ones once they are enough or old enough.
-- Atomic, because only the flusher may take, and each taken change must be counted before anybody works on it: a change that kills its
-- process would otherwise be taken for ever.
local changes        = KEYS[1]            -- STREAM  pending changes
local attempts       = KEYS[2]            -- HASH    id -> how often it was taken to be saved
local retries        = KEYS[3]            -- ZSET    id -> when it may be tried again, in us since 1970
local untold         = KEYS[4]            -- HASH    id -> 1 until its writer has dropped what the cache held
local flusher        = KEYS[5]            -- STRING  the token of the process that saves now
local hurry          = KEYS[6]            -- STRING  up to this version nothing waits for a fuller batch
local token          = ARGV[1]            -- the caller's token
local lease_ms       = tonumber(ARGV[2])  -- the lease begins anew
local after          = ARGV[3]            -- the id of the last fresh change that the caller took; 0-0 for the first call
local batch_size     = tonumber(ARGV[4])  -- how many changes at most
local batch_bytes    = tonumber(ARGV[5])  -- how many bytes of values, give or take one value
local flush_after_us = tonumber(ARGV[6])  -- how long a change waits for others
local max_delay_us   = tonumber(ARGV[7])  -- no retry waits longer; one that seems to was set before the clock went back
-- Reply: {mine 0|1, after, what to do next, ms until then (-1: not known), then of each change: id, key, kind, value, accepted, redriven, attempts, untold 0|1};
-- what to do next: 'more' is there to be taken now, 'filling' a batch is, 'idle' is all until a change comes

if redis.call('GET', flusher) ~= token then return { 0, after, 'idle', -1 } end
-- Comes first: a full server refuses a script's first write if it may take memory, and what is saved makes room.
redis.call('PEXPIRE', flusher, lease_ms)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply, taken, bytes = { 1, after, 'idle', -1 }, 0, 0

local function take(entry)
  local id, fields = entry[1], entry[2]
  taken = taken + 1
  bytes = bytes + #fields[6]
  for _, value in ipairs({ id, fields[2], fields[4], fields[6], fields[8], fields[10],
    redis.call('HINCRBY', attempts, id, 1), redis.call('HEXISTS', untold, id) }) do
    reply[#reply + 1] = value
  end
end

local due = redis.call('ZRANGEBYSCORE', retries, '-inf', string.format('%.0f', now), 'LIMIT', 0, math.ceil(batch_size / 2))
local late = redis.call('ZRANGEBYSCORE', retries, string.format('(%.0f', now + max_delay_us), '+inf', 'LIMIT', 0, 10)
for _, id in ipairs(late) do due[#due + 1] = id end
for _, id in ipairs(due) do
  if taken >= batch_size or bytes >= batch_bytes then break end
  local entry = redis.call('XRANGE', changes, id, id)[1]
  redis.call('ZREM', retries, id)
  if entry then take(entry) end
end

-- Fresh changes stand behind `after`, those that wait for a retry among them when the caller has just become the flusher. One that was taken
-- before and is here again was left by a flusher that did not live to tell; from the second time on it goes alone, as it may be to blame.
local fresh, cursor, scanned, fresh_bytes, is_cut = {}, after, 0, bytes, false
while not is_cut do
  local page = redis.call('XRANGE', changes, '(' .. cursor, '+', 'COUNT', 50)
  for _, entry in ipairs(page) do
    local is_waiting = redis.call('ZSCORE', retries, entry[1])
    local is_suspect = not is_waiting and tonumber(redis.call('HGET', attempts, entry[1]) or '0') >= 2
    is_cut = #fresh + taken >= batch_size or fresh_bytes >= batch_bytes or scanned >= 5000 or (is_suspect and #fresh + taken > 0)
    if is_cut then break end
    cursor = entry[1]
    scanned = scanned + 1
    if not is_waiting then
      fresh[#fresh + 1] = entry
      fresh_bytes = fresh_bytes + #entry[2][6]
    end
    is_cut = is_suspect
    if is_cut then break end
  end
  if #page < 50 then break end
end
local is_full = is_cut or #fresh + taken >= batch_size or fresh_bytes >= batch_bytes
local wait_us
if #fresh > 0 then
  local oldest = tonumber(string.match(fresh[1][1], '^%d+'))
  local age = now - oldest
  local is_asked = oldest <= tonumber(redis.call('GET', hurry) or '0')
  -- A negative age: the clock went back, and would make the change wait for as long.
  if is_full or is_asked or age < 0 or age >= flush_after_us then
    for _, entry in ipairs(fresh) do take(entry) end
    reply[2] = cursor
  else
    wait_us = flush_after_us - age
  end
elseif scanned > 0 then
  reply[2] = cursor
end
if taken > 0 or (is_full and #fresh == 0) then
  reply[3], reply[4] = 'more', 0
  return reply
end
if #fresh > 0 then reply[3] = 'filling' end
local next_due = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')[2]
if next_due then wait_us = math.min(wait_us or math.huge, math.max(0, tonumber(next_due) - now)) end
if wait_us then reply[4] = math.ceil(wait_us / 1000) end
return reply
