-- Reads a run of a board: between two places, around a member, or between two scores.
-- Atomic, because places, ranks and scores that were read one after the other would disagree once somebody submits in between.
local ranks  = KEYS[1]              -- ZSET  members, less is better
local others = { unpack(KEYS, 2) }  -- HASH  member -> the mark before its id, where ties go by time; ZSET  the scores that somebody has,
                                    -- where ranks are dense; HASHes  member -> metadata as JSON, where there is any: of a rolling window
                                    -- that of each bucket, the newest first
local form   = ARGV[1]              -- c, d or o: competition, dense or ordinal; then m where members have marks; then t to tell metadata
local how    = ARGV[2]              -- places, member or scores
local first  = ARGV[3]              -- a place from 0; a member; the best score
local last   = ARGV[4]              -- the last place; how many on either side; the worst score
local slice  = { unpack(ARGV, 5) }  -- of scores, how many to leave out, and how many at most
-- Reply: {members of the board, or between the scores, or 0 around a member; place of the first from 0; its rank; how many entries come
-- before it; the place of the member that was asked for; [member, score, ...] and [metadata, ...] as JSON, which clients read faster than as
-- many strings}; or nil when the member is not there

local ranking = string.sub(form, 1, 1)
local timed = string.sub(form, 2, 2) == 'm'
local total, list
local start, own = 0, 0
-- Whether the first shares its score with those before is seen by reading one entry more, which costs less than to count the better ones.
local lead = 0
if how == 'scores' then
  total = redis.call('ZCOUNT', ranks, first, last)
  list = redis.call('ZRANGE', ranks, first, last, 'BYSCORE', 'LIMIT', slice[1], slice[2], 'WITHSCORES')
  if list[1] then start = redis.call('ZRANK', ranks, list[1]) end
elseif how == 'member' then
  local mark = ''
  if timed then mark = redis.call('HGET', others[1], first) end
  own = mark and redis.call('ZRANK', ranks, mark .. first)
  if not own then return false end
  local width = 2 * last + 1
  total, start = 0, math.max(own - last, 0)
  if start > 0 and ranking == 'c' then lead = 1 end
  list = redis.call('ZRANGE', ranks, start - lead, start + width - 1, 'WITHSCORES')
  if start > 0 and #list < 2 * (lead + width) then
    start = math.max(redis.call('ZCARD', ranks) - width, 0)
    if start == 0 then lead = 0 end
    list = redis.call('ZRANGE', ranks, start - lead, -1, 'WITHSCORES')
  end
else
  total, start = redis.call('ZCARD', ranks), tonumber(first)
  if start > 0 and ranking == 'c' then lead = 1 end
  list = redis.call('ZRANGE', ranks, start - lead, last, 'WITHSCORES')
end

local rank = start + 1
if start > 0 and list[1] then
  if ranking == 'd' then
    rank = redis.call('ZCOUNT', others[timed and 2 or 1], '-inf', '(' .. list[2]) + 1
  elseif ranking == 'c' and (lead == 0 or list[2] == list[4]) then
    rank = redis.call('ZCOUNT', ranks, '-inf', '(' .. list[2]) + 1
  end
end
local about = '{}'
if string.sub(form, -1) == 't' and list[1] then
  local ids = {}
  for index = 1, #list, 2 do ids[#ids + 1] = timed and string.sub(list[index], 12) or list[index] end
  local first_told = 1 + (timed and 1 or 0) + (ranking == 'd' and 1 or 0)
  local found = redis.call('HMGET', others[first_told], unpack(ids))
  for at = first_told + 1, #others do
    local places, missing = {}, {}
    for place, one in ipairs(found) do
      if not one then places[#places + 1], missing[#missing + 1] = place, ids[place] end
    end
    if not missing[1] then break end
    for number, one in ipairs(redis.call('HMGET', others[at], unpack(missing))) do found[places[number]] = one end
  end
  about = cjson.encode(found)
end
return { total, start, rank, lead, own, cjson.encode(list), about }
