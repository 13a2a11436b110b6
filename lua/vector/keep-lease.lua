-- Take the lease of rebuilding an index, prolong it, or give it back.
-- Atomic, because one whose lease has run out must not take it from whoever has it by then.
local lease  = KEYS[1]  -- STRING  who rebuilds
local who    = ARGV[1]  -- the process
local ttl_ms = ARGV[2]  -- how long it holds; 0 gives it back
-- Reply: 1 when it is held now, or given back; 0 when another has it

local holder = redis.call('GET', lease)
if holder and holder ~= who then return 0 end
if ttl_ms == '0' then redis.call('DEL', lease) else redis.call('SET', lease, who, 'PX', ttl_ms) end
return 1
