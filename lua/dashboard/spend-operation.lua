-- Count letters of an operation's limit as spent, before they are moved.
-- Atomic, because a start that was taken for dead must spend nothing that the one after it counts on.
local operation = KEYS[1]            -- HASH  holder, spent
local token     = ARGV[1]            -- of the start that is about to move them
local count     = tonumber(ARGV[2])  -- how many
-- Reply: 1 | 0 when the operation is another's, or gone

if redis.call('HGET', operation, 'holder') ~= token then return 0 end
redis.call('HINCRBY', operation, 'spent', count)
return 1
