-- Deletes an archive. Atomic, so that its name is free when, and only when, it is gone.
local archives = KEYS[1]              -- HASH  name of an archive -> when it was closed, how many were on it, when it expires
local keys     = { unpack(KEYS, 2) }  -- of the archive ranks (ZSET), marks (HASH), scores (ZSET) and metadata (HASH)
local name     = ARGV[1]              -- of the archive
-- Reply: 1 when it was there, else 0

redis.call('UNLINK', unpack(keys))
return redis.call('HDEL', archives, name)
