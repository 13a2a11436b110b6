-- Add to a counter.
local counter = KEYS[1]            -- STRING  the count
local step    = tonumber(ARGV[1])  -- how much is added
-- Reply: the new count

return redis.call('INCRBY', counter, step)
