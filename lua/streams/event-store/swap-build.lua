-- Put a new build of a projection in the place of the one that is read.
-- Atomic, because readers must find one build or the other, and the new one must have come at least as far, or they would see time go back.
local builds        = KEYS[1]            -- HASH  live, next, recipe: numbers of builds; at:NUMBER: how far each has come
local old_documents = KEYS[2]            -- HASH  the documents of the build that is read
local old           = ARGV[1]            -- its number
local new           = ARGV[2]            -- the number of the new one
local keep_ms       = tonumber(ARGV[3])  -- how long the old documents stay, for those who read them now
-- Reply: swapped, behind, or changed when these are not the builds any more

if redis.call('HGET', builds, 'live') ~= old or redis.call('HGET', builds, 'next') ~= new then return 'changed' end
local old_at = tonumber(redis.call('HGET', builds, 'at:' .. old) or '0')
local new_at = tonumber(redis.call('HGET', builds, 'at:' .. new) or '0')
if new_at < old_at then return 'behind' end
redis.call('HSET', builds, 'live', new)
redis.call('HDEL', builds, 'next', 'recipe', 'at:' .. old)
redis.call('PEXPIRE', old_documents, keep_ms)
return 'swapped'
