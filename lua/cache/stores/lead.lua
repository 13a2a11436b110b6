-- Become the flusher of a store, or remain it.
-- Atomic, because two processes that find the place empty at once must not both take it.
local flusher  = KEYS[1]            -- STRING  the token of the process that saves now, for as long as its lease
local token    = ARGV[1]            -- the caller's token
local lease_ms = tonumber(ARGV[2])  -- how long without a word from it until another may take its place
-- Reply: {1 when it is the caller, 0 when it is another, ms until the other's lease ends}

local holder = redis.call('GET', flusher)
if holder == token then
  redis.call('PEXPIRE', flusher, lease_ms)
  return { 1, 0 }
end
if not holder then
  -- A full server refuses a script's first write if it may take memory; without a flusher it would stay full.
  redis.call('DEL', flusher)
  redis.call('SET', flusher, token, 'PX', lease_ms)
  return { 1, 0 }
end
return { 0, redis.call('PTTL', flusher) }
