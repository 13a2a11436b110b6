-- Write down how a start of an operation has ended.
-- Atomic, because a start that was taken for dead must not end the one that came after it.
local operation = KEYS[1]            -- HASH    progress, state, note, holder, spent
local alive     = KEYS[2]            -- STRING  the token of the start that works on it
local token     = ARGV[1]            -- of the start that has ended
local state     = ARGV[2]            -- how
local progress  = ARGV[3]            -- as JSON
local note      = ARGV[4]            -- why, or ''
local unspent   = tonumber(ARGV[5])  -- letters that were counted as spent and have not moved
local keep_ms   = tonumber(ARGV[6])  -- how long the operation is kept
-- Reply: 1 | 0 when the operation is another's, or gone

if redis.call('HGET', operation, 'holder') ~= token then return 0 end
redis.call('HSET', operation, 'state', state, 'progress', progress, 'note', note)
if unspent > 0 then redis.call('HINCRBY', operation, 'spent', -unspent) end
redis.call('PEXPIRE', operation, keep_ms)
redis.call('DEL', alive)
return 1
