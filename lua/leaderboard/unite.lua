-- Puts the buckets of a rolling window together, unless that was done a moment ago.
-- Atomic, because of many readers who find it out of date only one should do the work, and all should read what it made.
-- Time stands still in a script, and a key expires as counted from its start: what the work took is measured, and added. A window that takes
-- long to put together stays for ten times as long, so that the server is never kept busy by it alone.
local ranks      = KEYS[1]              -- ZSET  the window, put together
local scores     = KEYS[2]              -- ZSET  the scores that somebody has in it, where ranks are dense
local buckets    = { unpack(KEYS, 3) }  -- ZSETs  its buckets
local aggregate  = ARGV[1]              -- MIN, or SUM
local ranking    = ARGV[2]              -- ordinal, competition or dense
local refresh_ms = tonumber(ARGV[3])    -- how old it may be
local spare_ms   = tonumber(ARGV[4])    -- how much longer it stays, for the reading that follows
-- Reply: 1 when it was put together now, else 0

if redis.call('PTTL', ranks) > spare_ms then return 0 end
-- Servers before Redis 7.4 have no clock that runs in scripts: there, it is reckoned from the members.
local library = rawget(_G, 'os')
local started = library and library.clock()
-- What is overwritten would be freed here and now.
redis.call('UNLINK', ranks, scores)
local call = { 'ZUNIONSTORE', ranks, #buckets }
for _, bucket in ipairs(buckets) do call[#call + 1] = bucket end
call[#call + 1] = 'AGGREGATE'
call[#call + 1] = aggregate
local size = redis.call(unpack(call))
if ranking == 'dense' then
  local last
  for from = 0, size - 1, 1000 do
    local list = redis.call('ZRANGE', ranks, from, from + 999, 'WITHSCORES')
    local add = { 'ZADD', scores }
    for index = 2, #list, 2 do
      local score = list[index]
      if score ~= last then
        add[#add + 1], add[#add + 2] = score, score
        last = score
      end
    end
    if add[3] then redis.call(unpack(add)) end
  end
end

local took_ms
if started then
  took_ms = (library.clock() - started) * 1000
else
  took_ms = 0
  for _, bucket in ipairs(buckets) do took_ms = took_ms + redis.call('ZCARD', bucket) * 0.002 end
end
local lasts_ms = string.format('%.0f', math.max(refresh_ms, 10 * took_ms) + took_ms + spare_ms)
redis.call('PEXPIRE', ranks, lasts_ms)
redis.call('PEXPIRE', scores, lasts_ms)
return 1
