-- Begin a new build of a projection, or join the one that is under way if it is made by the same code.
-- Atomic, because of processes that rebuild at once each must work on the same build, and what is left of an abandoned one must go with it.
local builds    = KEYS[1]  -- HASH  live, next, last, recipe: numbers of builds; at:NUMBER: how far each has come
local abandoned = KEYS[2]  -- HASH  the documents of the build that the caller has found under way; of any build when it has found none
local found     = ARGV[1]  -- the number of that build, empty when there was none
local recipe    = ARGV[2]  -- a hash of the code that makes it
-- Reply: the number of the build, or 0 when another build is under way by now than the caller has found

local following = redis.call('HGET', builds, 'next')
if (following or '') ~= found then return '0' end
if following then
  if redis.call('HGET', builds, 'recipe') == recipe then return following end
  redis.call('UNLINK', abandoned)
  redis.call('HDEL', builds, 'at:' .. following)
end
local number = string.format('%.0f', tonumber(redis.call('HGET', builds, 'last') or '0') + 1)
redis.call('HSET', builds, 'next', number, 'last', number, 'recipe', recipe, 'at:' .. number, '0')
return number
