-- Take a page of all that is pending in an ordered group, in the order of its ids, for the consumer that works on it now.
-- Atomic, because only who leads may take, and a death must be counted before the entry can end another process. Only an entry that was
-- noted as begun has its process' death counted: most of what was pending had only been read. What a living consumer has stays with it.
local entries  = KEYS[1]            -- STREAM  the entries
local retries  = KEYS[2]            -- ZSET    entry id -> when it is due, in ms
local attempts = KEYS[3]            -- HASH    entry id -> attempts so far, how many ended with their process, and 1 if one was begun
local leader   = KEYS[4]            -- STRING  the consumer that works on the group
local members  = KEYS[5]            -- ZSET    consumer -> when its lease ends, in ms
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who takes
local after    = ARGV[3]            -- the id that the page before ended with; empty for the first
local count    = tonumber(ARGV[4])  -- entries of a page
local own      = ARGV[5]            -- 1 to be given also what is the caller's already: the answer that brought it may have got lost
-- Reply: {leads 0|1, the id that the page ends with (empty when it was the last), deleted entries, {id, fields, attempts, deaths, ms until it is due}...}

if redis.call('GET', leader) ~= consumer then return { 0, '', 0 } end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local page = redis.call('XPENDING', entries, group, after == '' and '-' or '(' .. after, '+', count)
local taken, vanished = {}, 0

local function is_free(owner)
  if owner == consumer then return own == '1' end
  local ends = redis.call('ZSCORE', members, owner)
  return not ends or tonumber(ends) <= now
end

for _, one in ipairs(page) do
  local id, owner = one[1], one[2]
  if is_free(owner) then
    local due = redis.call('ZSCORE', retries, id)
    local got = redis.call('XCLAIM', entries, group, consumer, 0, id)
    redis.call('ZREM', retries, id)
    if #got == 0 then
      redis.call('HDEL', attempts, id)
      vanished = vanished + 1
    else
      local record = redis.call('HGET', attempts, id) or '0 0'
      local made, deaths, begun = string.match(record, '^(%d+) (%d+) ?(%d?)')
      made, deaths = tonumber(made), tonumber(deaths)
      if begun == '1' and owner ~= consumer then
        made, deaths = made + 1, deaths + 1
        redis.call('HSET', attempts, id, string.format('%d %d', made, deaths))
      end
      taken[#taken + 1] = { id, got[1][2], made, deaths, due and math.max(0, tonumber(due) - now) or 0 }
    end
  end
end
return { 1, #page == count and page[#page][1] or '', vanished, unpack(taken) }
