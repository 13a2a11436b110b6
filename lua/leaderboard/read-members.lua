-- Reads where members are on a board. Atomic, because members who are compared must be compared at one moment.
local ranks   = KEYS[1]              -- ZSET  members, less is better
local others  = { unpack(KEYS, 2) }  -- HASH  member -> the mark before its id, where ties go by time; ZSET  the scores that somebody has,
                                     -- where ranks are dense; HASHes  member -> metadata as JSON, where there is any: of a rolling window
                                     -- that of each bucket, the newest first
local ranking = ARGV[1]              -- ordinal, competition or dense
local timed   = ARGV[2]              -- 1: members are stored with a mark
local tells   = ARGV[3]              -- 1: with metadata
local members = { unpack(ARGV, 4) }  -- whom
-- Reply: {members of the board, then of each that is there: its number in what was asked from 0, place from 0, rank, score,
-- how many have a worse score, metadata or nil}

local first_told = 1 + (timed == '1' and 1 or 0) + (ranking == 'dense' and 1 or 0)
local reply = { redis.call('ZCARD', ranks) }
for number, member in ipairs(members) do
  local mark = ''
  if timed == '1' then mark = redis.call('HGET', others[1], member) end
  local stored = mark and mark .. member
  local place = stored and redis.call('ZRANK', ranks, stored)
  if place then
    local score = redis.call('ZSCORE', ranks, stored)
    local rank = place + 1
    if ranking == 'competition' then
      rank = redis.call('ZCOUNT', ranks, '-inf', '(' .. score) + 1
    elseif ranking == 'dense' then
      rank = redis.call('ZCOUNT', others[timed == '1' and 2 or 1], '-inf', '(' .. score) + 1
    end
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = number - 1, place, rank, score
    reply[at + 5] = redis.call('ZCOUNT', ranks, '(' .. score, '+inf')
    local about = false
    for told = first_told, tells == '1' and #others or 0 do
      about = about or redis.call('HGET', others[told], member)
    end
    reply[at + 6] = about
  end
end
return reply
