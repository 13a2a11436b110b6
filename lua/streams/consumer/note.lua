-- Note of entries how often they were tried, or that an attempt begins.
-- Atomic, because whose entry is pending for another consumer by now has nothing to say of it.
local entries  = KEYS[1]            -- STREAM  the entries
local attempts = KEYS[2]            -- HASH    entry id -> attempts so far, how many ended with their process, and 1 if one was begun
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who notes
local items    = { unpack(ARGV, 3) }  -- of each entry: id, what is noted
-- Reply: for each entry 1 when it is still the consumer's, else 0

local reply = {}
for at = 1, #items, 2 do
  local id = items[at]
  local is_mine = #redis.call('XPENDING', entries, group, id, id, 1, consumer) > 0
  if is_mine then redis.call('HSET', attempts, id, items[at + 1]) end
  reply[#reply + 1] = is_mine and 1 or 0
end
return reply
