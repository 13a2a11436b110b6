-- How many jobs a queue has in each state, and how many dead letters.
-- Atomic, so that a job which moves is not counted twice or not at all. Writes nothing.
local wait             = KEYS[1]  -- LIST  jobs that wait
local active           = KEYS[2]  -- LIST  jobs that run
local delayed          = KEYS[3]  -- ZSET  jobs that wait for their time
local prioritized      = KEYS[4]  -- ZSET  jobs that wait, with a priority
local waiting_children = KEYS[5]  -- ZSET  jobs that wait for others
local completed        = KEYS[6]  -- ZSET
local failed           = KEYS[7]  -- ZSET
local dead             = KEYS[8]  -- LIST  dead letters of the queue
-- Reply: the counts, in this order

return {
  redis.call('LLEN', wait),
  redis.call('LLEN', active),
  redis.call('ZCARD', delayed),
  redis.call('ZCARD', prioritized),
  redis.call('ZCARD', waiting_children),
  redis.call('ZCARD', completed),
  redis.call('ZCARD', failed),
  redis.call('LLEN', dead),
}
