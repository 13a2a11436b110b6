-- Takes scores onto every board that they count for: the all-time one, the periods that the server's clock is in, and the buckets of rolling
-- windows. Atomic, because whether a score is better, whether its operation has counted already, who is trimmed, and the rank that is told
-- must be decided on one state of all boards; and because a score must be on all of them or on none.
--
-- Scores are stored so that less is better: those of `highest` come and leave negated. Where ties go by time, a member is stored as a mark and
-- its id: 11 hex digits of a count of all stored scores, which no clock can set back, inverted where the last to reach a score is ahead.
-- Sent again with an operation that is known, it changes nothing and tells what it told then. Too early or too late for its periods, it
-- changes nothing either, and tells the time.
local state     = KEYS[1]               -- HASH  settings: what the stored form depends on; changes: how many scores were stored
local keys      = { unpack(KEYS, 2) }   -- of each board its ranks (ZSET), then marks (HASH) where ties go by time, then scores (ZSET) where
                                        -- ranks are dense, then metadata (HASH) where there is any; ranks of buckets; of buckets that a new
                                        -- score ends; metadata of buckets where there is any; operations (STRING)
local settings  = ARGV[1]               -- of this process
local policy    = ARGV[2]               -- best, last or sum
local adds      = ARGV[3]               -- 1: what comes is added to the score that stands
local ties      = ARGV[4]               -- first, last or member
local ranking   = ARGV[5]               -- ordinal, competition or dense
local tells     = ARGV[6]               -- 1: boards and buckets have metadata
local most      = tonumber(ARGV[7])     -- members that a board keeps; 0 for all
local largest   = tonumber(ARGV[8])     -- the largest score either way
local boards    = tonumber(ARGV[9])     -- how many boards with marks and scores; the first is the all-time one
local buckets   = tonumber(ARGV[10])    -- how many buckets
local ended     = tonumber(ARGV[11])    -- how many buckets that a new score ends
local told      = tonumber(ARGV[12])    -- the board whose facts are told
local from_ms   = tonumber(ARGV[13])    -- the periods are right from then on
local until_ms  = tonumber(ARGV[14])    -- and before then; 0 where there are no windows
local memory_ms = ARGV[15]              -- how long an operation is known
local rest      = { unpack(ARGV, 16) }  -- when each board and bucket expires in ms, 0 for never; then of each entry member, score,
                                        -- metadata or '', and 1 where it has an operation
-- Reply: {ms, then of each entry score, rank or 0, previous score or '', whether it is better 0|1, new|known|refused}; or
-- {'clock', ms}, or {'settings', those of the board}, and nothing was changed

local now = 0
if until_ms > 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now < from_ms or now >= until_ms then return { 'clock', now } end
end
local form = redis.call('HGET', state, 'settings')
if not form then
  redis.call('HSET', state, 'settings', settings)
elseif form ~= settings then
  return { 'settings', form }
end

local timed, dense = ties ~= 'member', ranking == 'dense'
tells = tells == '1'
-- How far from the ranks of a board its dense scores are, and the ranks of the next board.
local to_scores = timed and 2 or 1
local stride = 1 + (timed and 1 or 0) + (dense and 1 or 0) + (tells and 1 or 0)
local function exact(score) return string.format('%.17g', score) end

-- The index in `keys` of a board's or bucket's ranks.
local function place(board)
  if board <= boards then return (board - 1) * stride + 1 end
  return boards * (stride - 1) + board
end

local function metadata_of(board)
  if board <= boards then return keys[board * stride] end
  return keys[boards * stride + buckets + ended + board - boards]
end

-- A score of the dense companion goes with the last member that has it.
local function forget_score(at, score)
  if redis.call('ZCOUNT', keys[at], score, score) == 0 then redis.call('ZREM', keys[at + to_scores], score) end
end

-- Not all at once where a board was allowed far more before: a script holds up everybody.
local trims = 1000
local function trim(board, at, has_marks, size)
  local first = math.max(most, size - trims)
  if first >= size then return end
  trims = trims - (size - first)
  local out = redis.call('ZRANGE', keys[at], first, -1, 'WITHSCORES')
  for index = 1, #out, 2 do
    local id = out[index]
    redis.call('ZREM', keys[at], id)
    if has_marks then
      id = string.sub(id, 12)
      redis.call('HDEL', keys[at + 1], id)
    end
    if dense and board <= boards then forget_score(at, exact(out[index + 1])) end
    if tells then redis.call('HDEL', metadata_of(board), id) end
  end
end

local function rank_of(at, member, score)
  if most > 0 and not redis.call('ZSCORE', keys[at], member) then return 0 end
  if ranking == 'competition' then return redis.call('ZCOUNT', keys[at], '-inf', '(' .. score) + 1 end
  if dense then return redis.call('ZCOUNT', keys[at + to_scores], '-inf', '(' .. score) + 1 end
  return redis.call('ZRANK', keys[at], member) + 1
end

-- What the entry makes of each board, before any of them is changed. Nil when a score would be too large.
local function reckon(id, amount)
  local found = {}
  for board = 1, boards + buckets do
    local at = place(board)
    local mark = ''
    if timed and board <= boards then mark = redis.call('HGET', keys[at + 1], id) end
    local before = mark and redis.call('ZSCORE', keys[at], mark .. id)
    local stands = before and tonumber(before)
    local score = adds == '1' and (stands or 0) + amount or amount
    if score > largest or score < -largest then return nil end
    if stands and policy == 'best' and score > stands then score = stands end
    found[board] = { at = at, mark = mark or '', before = before, stands = stands, score = score }
  end
  return found
end

local function store(id, given, board, one, mark)
  local ranks, has_marks = keys[one.at], timed and board <= boards
  local text = adds == '1' and exact(one.score) or given
  if one.stands and has_marks then redis.call('ZREM', ranks, one.mark .. id) end
  if has_marks then
    redis.call('HSET', keys[one.at + 1], id, mark)
    one.mark = mark
  end
  redis.call('ZADD', ranks, text, one.mark .. id)
  if dense and board <= boards then
    redis.call('ZADD', keys[one.at + to_scores], text, exact(one.score))
    if one.stands then forget_score(one.at, exact(one.stands)) end
  end
  if one.stands then return end
  local expires = rest[board]
  if most == 0 and expires == '0' then return end
  local size = redis.call('ZCARD', ranks)
  if size == 1 and expires ~= '0' then
    for at = one.at, one.at + (board <= boards and stride - 1 or 0) do redis.call('PEXPIREAT', keys[at], expires) end
  end
  if most > 0 and size > most then trim(board, one.at, has_marks, size) end
end

-- Each board and bucket has the metadata of its own members, which goes with them and with it. Who is new on one, and tells nothing, brings along
-- what the all-time board has.
local function tell(id, about, found)
  local is_given = about ~= ''
  for board = 1, boards + buckets do
    if is_given or board > 1 and not found[board].stands then
      if about == '' then about = redis.call('HGET', metadata_of(1), id) end
      if not about then return end
      redis.call('HSET', metadata_of(board), id, about)
      if rest[board] ~= '0' then redis.call('PEXPIREAT', metadata_of(board), rest[board]) end
    end
  end
end

local ids = {}
local function take(id, given, about)
  local found = reckon(id, tonumber(given))
  if not found then return '', 0, '', 0, 'refused' end
  if tells then tell(id, about, found) end
  if ended > 0 then ids[#ids + 1] = id end
  local mark
  for board = 1, boards + buckets do
    local one = found[board]
    if one.score ~= one.stands then
      if timed and not mark then
        local count = redis.call('HINCRBY', state, 'changes', 1)
        mark = string.format('%011x', ties == 'first' and count or 17592186044415 - count)
      end
      store(id, given, board, one, mark)
    end
  end
  local facts = found[told]
  local text = facts.score == facts.stands and facts.before or adds == '1' and exact(facts.score) or given
  local better = (not facts.stands or facts.score < facts.stands) and 1 or 0
  return text, rank_of(facts.at, facts.mark .. id, text), facts.before or '', better, 'new'
end

local reply, operation = { now }, boards * stride + buckets + ended + (tells and buckets or 0)
for at = boards + buckets + 1, #rest, 4 do
  local score, rank, previous, better, outcome
  local key
  if rest[at + 3] == '1' then
    operation = operation + 1
    key = keys[operation]
    local known = redis.call('GET', key)
    if known then
      score, rank, previous, better = string.match(known, '^(%S+) (%d+) (%S*) (%d)$')
      outcome = 'known'
    end
  end
  if not outcome then
    score, rank, previous, better, outcome = take(rest[at], rest[at + 1], rest[at + 2])
    if key and outcome == 'new' then
      redis.call('SET', key, score .. ' ' .. rank .. ' ' .. previous .. ' ' .. better, 'PX', memory_ms)
    end
  end
  local last = #reply
  reply[last + 1], reply[last + 2], reply[last + 3], reply[last + 4], reply[last + 5] = score, rank, previous, better, outcome
end
if ids[1] then
  for index = 1, ended do redis.call('ZREM', keys[boards * stride + buckets + index], unpack(ids)) end
end
return reply
