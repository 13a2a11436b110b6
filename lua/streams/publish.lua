-- Add entries, each once under its idempotency key if it has one.
-- Atomic, so that of those who race for a key one adds and all are told the same id, and so that the entries of one call follow one another
-- and are there together. A key is kept on the server's clock.
local entries = KEYS[1]            -- STREAM  the entries
local sent    = {unpack(KEYS, 2)}  -- STRING  of each entry with a key, in order: the id that it was added under; expires
local items   = {unpack(ARGV, 1)}  -- of each entry: its data, its headers or '', its key or '', how many ms the key is kept
-- Reply: of each entry its id, then 1 if it was added or 0 if it had been before

local reply = {}
local keyed = 0
for at = 1, #items, 4 do
  local fields = { 'data', items[at] }
  if items[at + 1] ~= '' then
    fields[#fields + 1] = 'headers'
    fields[#fields + 1] = items[at + 1]
  end
  local known = false
  if items[at + 2] ~= '' then
    keyed = keyed + 1
    known = redis.call('GET', sent[keyed])
    fields[#fields + 1] = 'key'
    fields[#fields + 1] = items[at + 2]
  end
  local id = known or redis.call('XADD', entries, '*', unpack(fields))
  if not known and items[at + 2] ~= '' then redis.call('SET', sent[keyed], id, 'PX', items[at + 3]) end
  reply[#reply + 1] = id
  reply[#reply + 1] = known and 0 or 1
end
return reply
