-- Takes a member off boards. Atomic, because somebody who submits for the member meanwhile would find it half there; and held to the server's
-- clock, because a board that has begun since would be left out.
local keys     = { unpack(KEYS, 1) }  -- of each board its ranks (ZSET), marks (HASH), scores (ZSET) and metadata (HASH); then of each bucket
                                      -- its ranks and metadata
local member   = ARGV[1]              -- whom
local boards   = tonumber(ARGV[2])    -- how many boards
local timed    = ARGV[3]              -- 1: they store members with a mark
local from_ms  = tonumber(ARGV[4])    -- the boards are right from then on
local until_ms = tonumber(ARGV[5])    -- and before then; 0 where there are no windows
-- Reply: from how many it was taken; or {'clock', ms}, and nothing was changed

if until_ms > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now < from_ms or now >= until_ms then return { 'clock', now } end
end

local count = 0
for board = 1, boards do
  local at = 4 * board - 3
  local ranks, mark = keys[at], ''
  if timed == '1' then mark = redis.call('HGET', keys[at + 1], member) end
  local score = mark and redis.call('ZSCORE', ranks, mark .. member)
  if score then
    redis.call('ZREM', ranks, mark .. member)
    redis.call('HDEL', keys[at + 1], member)
    if redis.call('ZCOUNT', ranks, score, score) == 0 then
      redis.call('ZREM', keys[at + 2], string.format('%.17g', score))
    end
    count = count + 1
  end
  redis.call('HDEL', keys[at + 3], member)
end
for at = 4 * boards + 1, #keys, 2 do
  count = count + redis.call('ZREM', keys[at], member)
  redis.call('HDEL', keys[at + 1], member)
end
return count
