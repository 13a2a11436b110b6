-- Enter a consumer into its group, which is made if it is not there.
-- Atomic, because who comes with a lasting name puts out the process that had it: from then on that one's entries are free to be taken.
-- Who comes back after its lease was lost puts out nobody: a process that was paused for long is not the newer one.
local entries  = KEYS[1]            -- STREAM  the entries
local members  = KEYS[2]            -- ZSET    consumer -> when its lease ends, in ms
local tokens   = KEYS[3]            -- HASH    lasting name -> the consumer that has it; ~last, ~generation: see keys.ts
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who enters
local name     = ARGV[3]            -- its lasting name; empty for none
local lease_ms = tonumber(ARGV[4])  -- how long it is a member without a word from it
local start_at = ARGV[5]            -- after which id a group begins that is made now
local before   = ARGV[6]            -- the consumer that it was until its lease was lost; empty for who comes for the first time
-- Reply: made|joined|replaced; `made`: the group, too; `replaced`: its lasting name is another's, and it has not entered

local holder = name ~= '' and redis.call('HGET', tokens, name)
if before ~= '' and holder and holder ~= before and holder ~= consumer then return 'replaced' end

local answer = 'joined'
local found = redis.pcall('XINFO', 'CONSUMERS', entries, group)
if not found.err then
  -- Comes first: a full server refuses a script's first write if it may take memory, and who only works off what is there must get in.
  redis.call('ZREM', members, '')
else
  local is_absent = string.find(found.err, 'NOGROUP', 1, true) or string.find(found.err, 'no such key', 1, true)
  if not is_absent then return found end
  -- A group that was there before, as Redis or whoever comes back knows, is made again with the first look, by revive.lua: with what is known
  -- of it.
  if before == '' and redis.call('HEXISTS', tokens, '~last') == 0 then
    local made = redis.pcall('XGROUP', 'CREATE', entries, group, start_at, 'MKSTREAM')
    if made.err then return made end
    answer = 'made'
  end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if name ~= '' then
  if holder and holder ~= consumer then redis.call('ZADD', members, 'XX', 0, holder) end
  redis.call('HSET', tokens, name, consumer)
end
redis.call('ZADD', members, string.format('%.0f', now + lease_ms), consumer)
return answer
