-- Remove a group of a stream with all that is kept for it, unless it has something to finish.
-- Atomic, because an entry that was published or read between the look and the removal would be lost for the group.
local entries  = KEYS[1]  -- STREAM  the entries
local members  = KEYS[2]  -- ZSET    consumer -> when its lease ends, in ms
local tokens   = KEYS[3]  -- HASH    lasting name -> the consumer that has it
local retries  = KEYS[4]  -- ZSET    entry id -> when it is due again, in ms
local attempts = KEYS[5]  -- HASH    entry id -> attempts so far
local dead     = KEYS[6]  -- STREAM  the group's dead letters
local leader   = KEYS[7]  -- STRING  the consumer that works on an ordered group
local group    = ARGV[1]  -- its name
local force    = ARGV[2]  -- 1 to remove it whatever it has to finish
-- Reply: 'absent', 'kept' or 'removed'

local delivered = nil
local pending = 0
if redis.call('EXISTS', entries) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
    local one = {}
    for at = 1, #flat, 2 do one[flat[at]] = flat[at + 1] end
    if one['name'] == group then
      delivered = one['last-delivered-id']
      pending = one['pending']
    end
  end
end

if force ~= '1' then
  if not delivered then return 'absent' end
  local time = redis.call('TIME')
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local is_busy = pending > 0
    or redis.call('XLEN', dead) > 0
    or redis.call('ZCOUNT', members, now_ms, '+inf') > 0
    or #redis.call('XRANGE', entries, '(' .. delivered, '+', 'COUNT', 1) > 0
  if is_busy then return 'kept' end
end
if delivered then redis.call('XGROUP', 'DESTROY', entries, group) end
redis.call('UNLINK', members, tokens, retries, attempts, dead, leader)
return delivered and 'removed' or 'absent'
