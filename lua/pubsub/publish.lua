-- Say a message of a reliable topic, and keep it for those who are away.
-- Atomic, so that what is heard and what is kept have one order, and each message names the one before it: who hears a message and does not
-- know the one before has missed some, and finds them in the ring. Positions are by the server's clock, so that what is said after a
-- failover stands after what the new master never got.
local ring         = KEYS[1]            -- STREAM  the last messages: topic, before, echo, body
local last         = KEYS[2]            -- STRING  the position of the last message; outlives the ring
local channel      = ARGV[1]            -- where it is said; no key, which would be missing for as long as the slot moves
local publish_verb = ARGV[2]            -- PUBLISH or SPUBLISH
local topic        = ARGV[3]            -- the first line of the message
local echo         = ARGV[4]            -- the process that is not to hear it, or '-'
local body         = ARGV[5]            -- the rest of the message
local keep         = tonumber(ARGV[6])  -- how many messages are kept
local age_ms       = tonumber(ARGV[7])  -- and for how long
-- Reply: {position, clients that heard it}

local LAST_MS = 2592000000 -- how long the last position is known after nothing was said: 30 days

local before = redis.call('GET', last) or '0'
local position = redis.call('XADD', ring, 'MAXLEN', keep, '*', 'topic', topic, 'before', before, 'echo', echo, 'body', body)
local now_ms = tonumber(string.match(position, '^%d+'))
redis.call('XTRIM', ring, 'MINID', string.format('%.0f', now_ms - age_ms))
redis.call('PEXPIRE', ring, age_ms)
redis.call('SET', last, position, 'PX', age_ms + LAST_MS)
local message = topic .. '\n' .. position .. ' ' .. before .. ' ' .. echo .. '\n' .. body
return { position, redis.call(publish_verb, channel, message) }
