-- Write a document, a part of a long one, or its removal: the steps that put and remove its chunks, then its manifest.
-- Atomic, because a chunk that no manifest names could never be removed again, and because two who write one document must not mix
-- its chunks: the steps were planned from the manifest that was seen, so they are refused when another one is there by now.
--
-- While a new version of the index is built, what changes here is noted for it; once that version is about to take over, nothing may
-- change any more. A version that is built is sealed by whoever builds it, who alone may write it: another one is refused for good.
--
-- A step is the name of a command, the number of its target, the count of its further arguments, and those. All steps are one argument, in
-- which the length of each value stands before it (4 bytes, little-endian): they are more values than Lua takes at once.
local manifests = KEYS[1]              -- HASH    document -> manifest, which begins with its revision
local lists     = KEYS[2]              -- HASH    document -> its chunks, where they are too many for the manifest
local phase     = KEYS[3]              -- STRING  none | `building WHO`: a new version is built | `closed N`: it has taken over
local seal      = KEYS[4]              -- STRING  there while nobody else may change anything; who sealed it
local dirty     = KEYS[5]              -- SET     documents that changed while a new version was built
local targets   = { unpack(KEYS, 6) }  -- the keys that steps work on
local id        = ARGV[1]              -- the document
local seen      = ARGV[2]              -- the revision that was seen; empty for none
local manifest  = ARGV[3]              -- the new manifest; empty to remove it
local list      = ARGV[4]              -- the new list of chunks; empty for none
local builder   = ARGV[5]              -- who builds this version; empty for everybody else
local steps     = ARGV[6]              -- the steps, one after another
-- Reply: 'written' | 'changed' when another manifest is there | 'sealed' | 'closed'

local is_in = redis.call('GET', phase)
if is_in and string.match(is_in, '^closed') then return 'closed' end
if (redis.call('GET', seal) or '') ~= builder then return builder == '' and 'sealed' or 'closed' end
local there = redis.call('HGET', manifests, id)
if (there and string.match(there, '^[^ ]*') or '') ~= seen then return 'changed' end

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

local at = 1
local function next_value()
  local value
  value, at = struct.unpack('<I4c0', steps, at)
  return value
end
while at <= #steps do
  local command = next_value()
  local target = targets[tonumber(next_value())]
  local arguments = {}
  for number = 1, tonumber(next_value()) do arguments[number] = next_value() end
  if command == 'VREM' then find_top_again(target, arguments[1]) end
  if command == 'VADD' and there then find_top_again(target, arguments[3]) end -- One that is there is removed first.
  redis.call(command, target, unpack(arguments))
end
if list ~= '' then redis.call('HSET', lists, id, list) else redis.call('HDEL', lists, id) end
if is_in then redis.call('SADD', dirty, id) end
if manifest ~= '' then redis.call('HSET', manifests, id, manifest) else redis.call('HDEL', manifests, id) end
return 'written'
