-- Become the one process that runs a projection or a subscription, or remain it.
-- Atomic, because two processes that find the place empty at once must not both take it.
local leader   = KEYS[1]            -- STRING  the token of the process that runs it now, for as long as its lease
local token    = ARGV[1]            -- the caller's token
local lease_ms = tonumber(ARGV[2])  -- how long without a word from it until another may take its place
-- Reply: {1 when it is the caller, 0 when it is another, ms until the other's lease ends}

local holder = redis.call('GET', leader)
if holder == token then
  redis.call('PEXPIRE', leader, lease_ms)
  return { 1, 0 }
end
if not holder then
  redis.call('SET', leader, token, 'PX', lease_ms)
  return { 1, 0 }
end
return { 0, redis.call('PTTL', leader) }
