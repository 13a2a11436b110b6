-- Write documents of one shard, or parts of long ones, or their removal: of each the steps that put and remove its chunks, then its manifest.
-- Atomic, because a chunk that no manifest names could never be removed again, and because two who write one document must not mix
-- its chunks: the steps were planned from the manifest that was seen, so they are refused when another one is there by now. Each document
-- is written or refused by itself; several in one call only cost the server less than a call for each.
--
-- While a new version of the index is built, what changes here is noted for it; once that version is about to take over, nothing may
-- change any more. A version that is built is sealed by whoever builds it, who alone may write it: another one is refused for good.
--
-- All documents are one argument, since they are more values than Lua takes at once. Numbers in it have 4 bytes, little-endian, and text has
-- its length before it. A document is
--   its id | the revision that was seen, empty for none | the new manifest, empty to remove it | the new list of chunks, empty for none, `*` as it is |
--   how many bytes its steps have | the steps
-- and a step is
--   the name of a command | the number of its target | how many further arguments it has | which of them is a blob, 0 for none |
--   the number of that blob | the arguments, empty where the blob belongs
-- Blobs are arguments by themselves: to cut each out of a longer one takes the server as long as all the rest of this script.
local manifests = KEYS[1]              -- HASH    document -> manifest, which begins with its revision
local lists     = KEYS[2]              -- HASH    document -> its chunks, where they are too many for the manifest
local phase     = KEYS[3]              -- STRING  none | `building WHO`: a new version is built | `closed N`: it has taken over
local seal      = KEYS[4]              -- STRING  there while nobody else may change anything; who sealed it
local dirty     = KEYS[5]              -- SET     documents that changed while a new version was built
local targets   = { unpack(KEYS, 6) }  -- the keys that steps work on
local builder   = ARGV[1]              -- who builds this version; empty for everybody else
local documents = ARGV[2]              -- the documents, one after another
local blobs     = { unpack(ARGV, 3) }  -- what steps put in: vectors, FP32
-- Reply: {'written' | 'changed' when another manifest is there | the error of a command ...} | 'sealed' | 'closed'

local is_in = redis.call('GET', phase)
if is_in and string.match(is_in, '^closed') then return 'closed' end
if (redis.call('GET', seal) or '') ~= builder then return builder == '' and 'sealed' or 'closed' end

-- A set may lose sight of its top layer when an element is removed, by which others are left up there; the server dies when one of those is
-- removed in turn (redis/redis issue 15424). A set that is loaded finds its top, so it is loaded anew. It is seldom needed.
local function find_top_again(set, element)
  local links = redis.call('VLINKS', set, element)
  if not links or #links == 1 then return end
  local facts = redis.call('VINFO', set)
  for fact = 1, #facts, 2 do
    local name = facts[fact].ok or facts[fact]
    if name == 'max-level' and #links - 1 > facts[fact + 1] then
      redis.call('RESTORE', set, 0, redis.call('DUMP', set), 'REPLACE')
    end
  end
end

local formats = {}
local function read_list(count, from)
  local format = formats[count]
  if not format then
    format = '<' .. string.rep('I4c0', count)
    formats[count] = format
  end
  local values = { struct.unpack(format, documents, from) }
  return values, table.remove(values)
end

local function take_step(from, is_there)
  local command, number, count, place, blob, after = struct.unpack('<I4c0I4I4I4I4', documents, from)
  local target = targets[number]
  local arguments, next_step = read_list(count, after)
  if place > 0 then arguments[place] = blobs[blob] end
  if command == 'VREM' then find_top_again(target, arguments[1]) end
  if command == 'VADD' and is_there then find_top_again(target, arguments[3]) end -- One that is there is removed first.
  redis.call(command, target, unpack(arguments))
  return next_step
end

local function write(id, seen, manifest, list, from, to)
  local there = redis.call('HGET', manifests, id)
  if (there and string.match(there, '^[^ ]*') or '') ~= seen then return 'changed' end
  while from < to do from = take_step(from, there) end
  if list ~= '' then
    if list ~= '*' then redis.call('HSET', lists, id, list) end
  elseif there then
    redis.call('HDEL', lists, id)
  end
  if is_in then redis.call('SADD', dirty, id) end
  if manifest ~= '' then redis.call('HSET', manifests, id, manifest) else redis.call('HDEL', manifests, id) end
  return 'written'
end

local outcomes, at = {}, 1
while at <= #documents do
  local id, seen, manifest, list, size, from = struct.unpack('<I4c0I4c0I4c0I4c0I4', documents, at)
  at = from + size
  local is_done, outcome = pcall(write, id, seen, manifest, list, from, at)
  if not is_done then
    if type(outcome) ~= 'table' then outcome = redis.error_reply(outcome) end
    if string.match(outcome.err, '^READONLY') then error(outcome) end -- Which lets the client look for the new master.
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
