-- Delete values of one bucket, and with each the lease of a load that is under way, so that the load stores nothing.
-- Atomic, so that no load can store between the two, and nobody hears of it before it is done.
local keys     = { unpack(KEYS, 1) } -- STRINGs: a value, its lease, the next value, its lease, ...
local channel  = ARGV[1]             -- where the processes hear of it
local messages = { unpack(ARGV, 2) } -- one a value
-- Reply: how many values there were

local deleted = 0
for index = 1, #keys, 2 do
  deleted = deleted + redis.call('UNLINK', keys[index])
  redis.call('DEL', keys[index + 1])
end
for _, message in ipairs(messages) do redis.call('PUBLISH', channel, message) end
return deleted
