-- Find the nearest chunks, with what is told of each: one round trip instead of two, for searches that are over sooner than that.
-- Atomic, because a chunk that goes between the search and the look at its text would be missing among the nearest.
local vectors   = KEYS[1]  -- VECTOR SET
local manifests = KEYS[2]  -- HASH  document -> manifest
local texts     = KEYS[3]  -- HASH  chunk -> its place, its text
local query     = ARGV[1]  -- the vector, FP32
local count     = ARGV[2]  -- how many chunks
local ef        = ARGV[3]  -- how far the graph is looked through
local with_text = ARGV[4]  -- 1 | 0
-- Reply: {chunk, score, manifest | '', place and text | '', chunk ...}

local found = redis.call('VSIM', vectors, 'FP32', query, 'WITHSCORES', 'COUNT', count, 'EF', ef)
if #found == 0 then return {} end
local chunks, documents = {}, {}
for at = 1, #found, 2 do
  chunks[#chunks + 1] = found[at]
  documents[#documents + 1] = string.match(found[at], '^(.*)#')
end
local told = redis.call('HMGET', manifests, unpack(documents))
local said = with_text == '1' and redis.call('HMGET', texts, unpack(chunks)) or {}
local reply = {}
for at = 1, #chunks do
  local size = #reply
  reply[size + 1] = chunks[at]
  reply[size + 2] = found[at * 2]
  reply[size + 3] = told[at] or ''
  reply[size + 4] = said[at] or ''
end
return reply
