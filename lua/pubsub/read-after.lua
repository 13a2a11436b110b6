-- Read the messages of a reliable topic that come after a position, and the last position of all.
-- Atomic, so that an empty answer can be told from messages that are no longer kept.
local ring  = KEYS[1]  -- STREAM  the last messages
local last  = KEYS[2]  -- STRING  the position of the last message
local after = ARGV[1]  -- a position, or '' for all that are kept
local count = ARGV[2]  -- the most messages of one answer; 0 for the last position only
-- Reply: {last position or '', {position, fields} of each message}

local known = redis.call('GET', last) or ''
if count == '0' then return { known, {} } end
local from = after == '' and '-' or '(' .. after
return { known, redis.call('XRANGE', ring, from, '+', 'COUNT', count) }
