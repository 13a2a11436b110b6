-- Read dead letters, as many as come to so many bytes.
-- A script, because what they come to is known only where they are: a hundred small letters travel together, large ones a few at a time.
local letters = { unpack(KEYS, 1) }  -- HASHes of BullMQ's jobs (read only)
local most    = tonumber(ARGV[1])    -- bytes; one letter at least is read
-- Reply: the data of the letters, as far as they were read; '' for one that is gone

local bytes, found = 0, {}
for _, letter in ipairs(letters) do
  local size = redis.call('HSTRLEN', letter, 'data')
  if bytes > 0 and bytes + size > most then break end
  bytes = bytes + size
  found[#found + 1] = redis.call('HGET', letter, 'data') or ''
end
return found
