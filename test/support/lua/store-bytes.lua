-- Write bytes and read them back.
local blob  = KEYS[1]  -- STRING  the bytes
local bytes = ARGV[1]
-- Reply: {the bytes as stored, how many}

redis.call('SET', blob, bytes)
return { redis.call('GET', blob), #bytes }
