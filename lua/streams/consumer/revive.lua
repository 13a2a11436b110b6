-- Make a group again that was deleted under its consumers, with what is known of it: how far it had come, what waits for a retry, and what
-- the caller works on.
-- Atomic, because a group without these would be read past them. A consumer that comes after another one adds what it works on itself.
local entries  = KEYS[1]            -- STREAM  the entries
local retries  = KEYS[2]            -- ZSET    entry id -> when it is due, in ms
local group    = ARGV[1]            -- its name
local consumer = ARGV[2]            -- who revives it
local last     = ARGV[3]            -- the last id that it was given
local ids      = { unpack(ARGV, 4) }  -- of the entries that it works on
-- Reply: {1 when the group was made, else 0, entries that are pending for the caller again}

-- In a stream that is new everything is new, whatever the ids of the old one were.
local start = redis.call('EXISTS', entries) == 1 and last or '0'
local made = redis.pcall('XGROUP', 'CREATE', entries, group, start, 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
if not made.err then
  for _, id in ipairs(redis.call('ZRANGE', retries, 0, -1)) do
    if #redis.call('XCLAIM', entries, group, '~retries', 0, id, 'FORCE', 'JUSTID') == 0 then redis.call('ZREM', retries, id) end
  end
end
local again = 0
for _, id in ipairs(ids) do
  if #redis.call('XPENDING', entries, group, id, id, 1) == 0 then
    again = again + #redis.call('XCLAIM', entries, group, consumer, 0, id, 'FORCE', 'JUSTID')
  end
end
return { made.err and 0 or 1, again }
