-- Remove the events of a stream, and what was made of them here: its snapshots, and the ids by which its events were named.
-- Atomic, because a snapshot that outlives its events would bring back what was to be forgotten. The last version stays, so that no
-- version is ever given twice.
local stream    = KEYS[1]  -- STREAM  the events of the stream
local snapshots = KEYS[2]  -- HASH    aggregate -> its snapshot of the stream
local ids       = KEYS[3]  -- HASH    event id -> version
-- Reply: how many events were removed

local removed = redis.call('XLEN', stream)
redis.call('UNLINK', stream, snapshots, ids)
return removed
