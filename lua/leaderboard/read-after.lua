-- Reads the members after a score and a member, in the order of the board. Atomic, because the place of the last one that was read must be
-- found on the state that is read from: places shift with every write, scores and members do not.
local ranks    = KEYS[1]              -- ZSET  members, less is better
local metadata = { unpack(KEYS, 2) }  -- HASHes  member -> metadata as JSON, where there is any: of a rolling window that of each bucket, the
                                      -- newest first
local timed    = ARGV[1]              -- 1: members are stored with a mark
local score    = ARGV[2]              -- of the last one that was read; '' to begin
local stored   = ARGV[3]              -- the last one, as it is stored
local count    = tonumber(ARGV[4])    -- how many at most
-- Reply: {[member, score, ...], [metadata, ...]}, each as JSON

-- Text is compared as the ZSET compares it: by bytes, which `<` of Lua need not do.
local function is_after(one, other)
  for at = 1, math.min(#one, #other) do
    local left, right = string.byte(one, at), string.byte(other, at)
    if left ~= right then return left > right end
  end
  return #one > #other
end

local start = 0
if score ~= '' then
  local now = redis.call('ZSCORE', ranks, stored)
  if now and tonumber(now) == tonumber(score) then
    start = redis.call('ZRANK', ranks, stored) + 1
  else
    -- It has gone or changed: the first of its score that comes after where it was.
    local low = redis.call('ZCOUNT', ranks, '-inf', '(' .. score)
    local high = redis.call('ZCOUNT', ranks, '-inf', score)
    while low < high do
      local middle = math.floor((low + high) / 2)
      if is_after(redis.call('ZRANGE', ranks, middle, middle)[1], stored) then high = middle else low = middle + 1 end
    end
    start = low
  end
end

local list = redis.call('ZRANGE', ranks, start, start + count - 1, 'WITHSCORES')
local about = '{}'
if metadata[1] and list[1] then
  local ids = {}
  for index = 1, #list, 2 do ids[#ids + 1] = timed == '1' and string.sub(list[index], 12) or list[index] end
  local found = redis.call('HMGET', metadata[1], unpack(ids))
  for at = 2, #metadata do
    local places, missing = {}, {}
    for place, one in ipairs(found) do
      if not one then places[#places + 1], missing[#missing + 1] = place, ids[place] end
    end
    if not missing[1] then break end
    for number, one in ipairs(redis.call('HMGET', metadata[at], unpack(missing))) do found[places[number]] = one end
  end
  about = cjson.encode(found)
end
return { cjson.encode(list), about }
