-- Acknowledge entries that were tried before, or taken from the dead.
-- Atomic, because what was counted of an entry must not outlive it.
local entries  = KEYS[1]            -- STREAM  the entries
local attempts = KEYS[2]            -- HASH    entry id -> attempts so far and how many of them ended with their process
local group    = ARGV[1]            -- its name
local ids      = { unpack(ARGV, 2) }  -- of the entries
-- Reply: how many were pending

redis.call('HDEL', attempts, unpack(ids))
return redis.call('XACK', entries, group, unpack(ids))
