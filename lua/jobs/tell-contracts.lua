-- Note that contracts are in use, and forget those that were not for long, or are too many; what is secret in their inputs stays.
-- The clock is the server's, so that processes whose clocks differ agree on what to forget. Atomic, so that a contract is known with all
-- that is told of it, or not at all.
local seen         = KEYS[1]            -- ZSET  contract -> when it was told last, in ms since 1970
local facts        = KEYS[2]            -- HASH  contract -> what is told of it, as JSON
local schemas      = KEYS[3]            -- HASH  contract -> JSON Schema of its input, if it has one
local secrets      = KEYS[4]            -- HASH  contract -> its name and the paths of what is secret, as JSON, if it has some
local keep_ms      = tonumber(ARGV[1])  -- how long a contract is remembered
local most         = tonumber(ARGV[2])  -- of how many; those told longest ago go first
local most_secrets = tonumber(ARGV[3])  -- of how many the secrets are kept
local replaces     = ARGV[4]            -- 1 to write over what is known, 0 to write only what is not known
local told         = { unpack(ARGV, 5) }  -- contract, facts, schema or an empty text, secrets or an empty text, of each
-- Reply: how many were forgotten

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 1, #told, 4 do
  local contract, fact, schema, secret = told[at], told[at + 1], told[at + 2], told[at + 3]
  if redis.call('ZADD', seen, now_ms, contract) == 1 or replaces == '1' then
    redis.call('HSET', facts, contract, fact)
    if schema == '' then redis.call('HDEL', schemas, contract) else redis.call('HSET', schemas, contract, schema) end
    if secret == '' then
      redis.call('HDEL', secrets, contract)
    elseif redis.call('HEXISTS', secrets, contract) == 1 or redis.call('HLEN', secrets) < most_secrets then
      redis.call('HSET', secrets, contract, secret)
    end
  end
end

local forgotten = redis.call('ZRANGE', seen, '-inf', now_ms - keep_ms, 'BYSCORE', 'LIMIT', 0, 1000)
for _, contract in ipairs(redis.call('ZRANGE', seen, 0, -most - 1)) do forgotten[#forgotten + 1] = contract end
if #forgotten == 0 then return 0 end
redis.call('ZREM', seen, unpack(forgotten))
redis.call('HDEL', facts, unpack(forgotten))
redis.call('HDEL', schemas, unpack(forgotten))
return #forgotten
