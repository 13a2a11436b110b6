-- Give the vectors of all chunks that a filter lets pass, if they are few: comparing each of them costs less than a walk through a
-- graph in which hardly anything passes.
-- Atomic, because a chunk that went between the look at the members and the read of its vector would be missing for no reason.
--
-- The filter names alternatives, each a list of ranges of members; any one of them contains all that passes, so the smallest is taken.
local vectors = KEYS[1]              -- VECTOR SET
local indexes = { unpack(KEYS, 2) }  -- ZSETs  of tags: `VALUE NUL CHUNK`, score 0; of numbers: the chunk by its number
local most    = tonumber(ARGV[1])    -- how many chunks may be given
local plan    = ARGV[2]              -- JSON   [[[index, 'tag' | 'number', from, to], ...], ...]
-- Reply: {members of the smallest alternative, its number, chunk, kind, vector, norm, range | '', chunk ...}; chunks only if they are few

local function count(range)
  local command = range[2] == 'tag' and 'ZLEXCOUNT' or 'ZCOUNT'
  return redis.call(command, indexes[range[1]], range[3], range[4])
end

local smallest, chosen
local alternatives = cjson.decode(plan)
for number, ranges in ipairs(alternatives) do
  local members = 0
  for _, range in ipairs(ranges) do members = members + count(range) end
  if not smallest or members < smallest then smallest, chosen = members, number end
end
local reply = { smallest, chosen }
if smallest > most then return reply end

local known = {}
for _, range in ipairs(alternatives[chosen]) do
  local isTag = range[2] == 'tag'
  local command = isTag and 'ZRANGEBYLEX' or 'ZRANGEBYSCORE'
  for _, member in ipairs(redis.call(command, indexes[range[1]], range[3], range[4])) do
    local chunk = isTag and string.match(member, '%z(.*)$') or member
    if not known[chunk] then
      known[chunk] = true
      local embedded = redis.call('VEMB', vectors, chunk, 'RAW')
      if embedded then
        local size = #reply
        reply[size + 1] = chunk
        reply[size + 2] = embedded[1]
        reply[size + 3] = embedded[2]
        reply[size + 4] = embedded[3]
        reply[size + 5] = embedded[4] or ''
      end
    end
  end
end
return reply
