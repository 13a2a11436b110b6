-- Keep what events made of the documents of a projection, together with how far it has come.
-- Atomic, because that is what makes each event count once: documents and checkpoint move together or not at all, only from
-- where the caller has read them, and only if the last event that it has read is still the one at its position: a failover may
-- have lost it, and what came in its place has not been looked at.
local builds    = KEYS[1]            -- HASH  at:NUMBER: how far each build has come
local documents = KEYS[2]            -- HASH  key -> document as JSON, of this build
local all       = KEYS[3]            -- STREAM  a reference to every event
local build     = ARGV[1]            -- the build's number
local read_at   = ARGV[2]            -- how far it had come when the caller read the documents
local new_at    = ARGV[3]            -- how far it has come with this
local mark      = ARGV[4]            -- of the reference there, as the caller has read it; empty if it had none
local changes   = { unpack(ARGV, 5) }  -- of each document: key, set|delete, JSON
-- Reply: {moved|other|gone, how far it has come, as text}; `other` when another process was quicker or
-- the events are others by now, `gone` when there is no such build

local at = redis.call('HGET', builds, 'at:' .. build)
if not at then return { 'gone', '0' } end
if at ~= read_at then return { 'other', at } end
local last = redis.call('XRANGE', all, new_at .. '-0', new_at .. '-0')[1]
if not last or (mark ~= '' and last[2][8] ~= mark) then return { 'other', at } end
for index = 1, #changes, 3 do
  if changes[index + 1] == 'set' then
    redis.call('HSET', documents, changes[index], changes[index + 2])
  else
    redis.call('HDEL', documents, changes[index])
  end
end
redis.call('HSET', builds, 'at:' .. build, new_at)
return { 'moved', new_at }
