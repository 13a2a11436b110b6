-- Claim a request by its idempotency key, or tell what became of the one that had it before.
-- Atomic, because of two equal requests at one moment only one may do the work. The lease is by the server's clock, so that a process
-- that dies with it holds nobody up for longer.
local request     = KEYS[1]            -- HASH  print, claim, until_ms, answer
local fingerprint = ARGV[1]            -- of what is asked for
local claim       = ARGV[2]            -- tells this claim from a later one
local lease_ms    = tonumber(ARGV[3])  -- how long nobody else may do the work
local keep_ms     = tonumber(ARGV[4])  -- how long the key counts
-- Reply: {'claimed'}, {'other'} for another request, {'busy', ms left of its lease}, or {'answered', the answer}

local known = redis.call('HMGET', request, 'print', 'until_ms', 'answer', 'claim')
if known[1] and known[1] ~= fingerprint then return { 'other' } end
if known[3] then return { 'answered', known[3] } end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- A claim of its own is there when the connection broke and the script was sent again.
local left_ms = tonumber(known[2] or 0) - now
if left_ms > 0 and known[4] ~= claim then return { 'busy', left_ms } end
redis.call('HSET', request, 'print', fingerprint, 'claim', claim, 'until_ms', string.format('%.0f', now + lease_ms))
redis.call('PEXPIRE', request, keep_ms)
return { 'claimed' }
