-- Write one value to each of a list of keys, and tell what came.
local total  = KEYS[1]               -- STRING  how many were written
local others = { unpack(KEYS, 2) }   -- STRINGs, one a value
local label  = ARGV[1]               -- what to call it
local values = { unpack(ARGV, 2) }   -- the values
-- Reply: {label, total, the values as they came}

for index, key in ipairs(others) do
  redis.call('SET', key, values[index])
end
redis.call('SET', total, #others)
return { label, #others, values }
