-- Ask the flusher not to wait for fuller batches, for all that is pending now.
-- Atomic, because a change that is accepted in between would be waited for and not be asked for.
local last   = KEYS[1]            -- STRING  the last version that was given
local hurry  = KEYS[2]            -- STRING  up to this version nothing waits for a fuller batch
local ttl_ms = tonumber(ARGV[1])  -- how long the wish stands
-- Reply: the version, '0' when none was ever given

local version = redis.call('GET', last) or '0'
redis.call('SET', hurry, version, 'PX', ttl_ms)
return version
