-- Take a place that one process has at a time, or keep it.
-- Atomic, because two processes that find the place empty at once must not both take it.
local place    = KEYS[1]            -- STRING  the token of the process that has it now, for as long as its lease
local token    = ARGV[1]            -- the caller's token
local lease_ms = tonumber(ARGV[2])  -- how long without a word from it until another may take its place
-- Reply: {1 when it is the caller's, 0 when it is another's, ms until the other's lease ends}

local holder = redis.call('GET', place)
if holder == token then
  redis.call('PEXPIRE', place, lease_ms)
  return { 1, 0 }
end
if not holder then
  -- A full server refuses a script's first write if it may take memory; whoever would make room in it must not need any.
  redis.call('DEL', place)
  redis.call('SET', place, token, 'PX', lease_ms)
  return { 1, 0 }
end
return { 0, redis.call('PTTL', place) }
