-- Forget that a key was near the edge of its limits: it was let in again.
-- Atomic, because both keys must hold the same fields.
local seen  = KEYS[1]  -- ZSET  `limiter/key` by when it was last told of, in ms
local facts = KEYS[2]  -- HASH  `limiter/key` -> its facts
local field = ARGV[1]  -- `limiter/key`
-- Reply: 1; 0 when it was not remembered

redis.call('ZREM', seen, field)
return redis.call('HDEL', facts, field)
