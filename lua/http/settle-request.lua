-- Keep the answer to a claimed request, or let go of the claim.
-- Atomic, because one whose lease ran out must not write over what came after.
local request = KEYS[1]  -- HASH  print, claim, until_ms, answer
local claim   = ARGV[1]  -- the one that claim-request.lua was given
local outcome = ARGV[2]  -- answered | undone (as if it had never been asked) | unknown (the same request may try again)
local answer  = ARGV[3]  -- of `answered`, as JSON
-- Reply: 1 when it was settled, 0 when the claim is another's.

if redis.call('HGET', request, 'claim') ~= claim then return 0 end
if outcome == 'answered' then
  redis.call('HSET', request, 'answer', answer)
elseif outcome == 'undone' then
  redis.call('DEL', request)
else
  redis.call('HSET', request, 'until_ms', '0')
end
return 1
