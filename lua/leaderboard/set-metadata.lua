-- Sets what is told with a member, on the boards that it is on. Atomic, because metadata of a member who is removed meanwhile would stay for as
-- long as the board; and held to the server's clock, because a board that has begun since would be left out.
local keys     = { unpack(KEYS, 1) }  -- of each board its ranks (ZSET), marks (HASH), scores (ZSET) and metadata (HASH); then of each bucket
                                      -- its ranks and metadata
local member   = ARGV[1]              -- whom
local boards   = tonumber(ARGV[2])    -- how many boards
local timed    = ARGV[3]              -- 1: they store members with a mark
local from_ms  = tonumber(ARGV[4])    -- the boards are right from then on
local until_ms = tonumber(ARGV[5])    -- and before then; 0 where there are no windows
local about    = ARGV[6]              -- as JSON
-- Reply: on how many it was set; or {'clock', ms}, and nothing was changed

if until_ms > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now < from_ms or now >= until_ms then return { 'clock', now } end
end

local count = 0
local function set(ranks, stored, metadata)
  if not redis.call('ZSCORE', ranks, stored) then return end
  redis.call('HSET', metadata, member, about)
  local expires = redis.call('PEXPIRETIME', ranks)
  if expires > 0 then redis.call('PEXPIREAT', metadata, expires) end
  count = count + 1
end

for board = 1, boards do
  local at = 4 * board - 3
  local mark = ''
  if timed == '1' then mark = redis.call('HGET', keys[at + 1], member) end
  if mark then set(keys[at], mark .. member, keys[at + 3]) end
end
for at = 4 * boards + 1, #keys, 2 do set(keys[at], member, keys[at + 1]) end
return count
