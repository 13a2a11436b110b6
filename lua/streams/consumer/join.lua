-- Enter a consumer into its group, which is made if it is not there.
-- Atomic, because who comes with a lasting name puts out the process that had it: from then on that one's entries are free to be taken.
local entries  = KEYS[1]            -- STREAM  the entries
local members  = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local tokens   = KEYS[3]            -- HASH    lasting name -> the consumer that has it
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who enters
local name     = ARGV[3]            -- its lasting name; empty for none
local lease_ms = tonumber(ARGV[4])  -- how long it is a member without a word from it
local start_at = ARGV[5]            -- after which id a group begins that is made now
-- Reply: 1 when the group was made, else 0

local made = redis.pcall('XGROUP', 'CREATE', entries, group, start_at, 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if name ~= '' then
  local before = redis.call('HGET', tokens, name)
  if before and before ~= consumer then redis.call('ZADD', members, 'XX', 0, before) end
  redis.call('HSET', tokens, name, consumer)
end
redis.call('ZADD', members, string.format('%.0f', now + lease_ms), consumer)
return made.err and 0 or 1
