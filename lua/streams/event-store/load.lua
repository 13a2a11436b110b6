-- What an aggregate is made of: its snapshot, and the first events behind it.
-- Atomic, so that the snapshot, the version and the events are of one moment. Changes nothing.
local versions   = KEYS[1]  -- HASH    stream id -> its last version
local stream     = KEYS[2]  -- STREAM  the events of the stream
local snapshots  = KEYS[3]  -- HASH    aggregate -> `version hash state`
local ids        = KEYS[4]  -- HASH    event id -> version, of those events that were named by their writer
local stream_id  = ARGV[1]  -- the stream as the caller spells it
local aggregate  = ARGV[2]  -- whose snapshot
local hash       = ARGV[3]  -- of what code and schema; a snapshot of another one is as if it were not there
local command_id = ARGV[4]  -- of a command that may have been carried out before: its events are named ID/0, ID/1 and so on; empty for none
local count      = ARGV[5]  -- how many events at most
-- Reply: {the stream's version, the snapshot's version or 0, its state, the version of the command's last event or 0, the events}

local version = tonumber(redis.call('HGET', versions, stream_id) or '0')
local done = 0
if command_id ~= '' then
  local index, following = 0, redis.call('HGET', ids, command_id .. '/0')
  while following and (index == 0 or tonumber(following) == done + 1) do
    done, index = tonumber(following), index + 1
    following = redis.call('HGET', ids, command_id .. '/' .. index)
  end
end
local from, state = 0, ''
local snapshot = redis.call('HGET', snapshots, aggregate)
if snapshot then
  local of_version, of_hash, rest = string.match(snapshot, '^(%d+) (%S+) (.*)$')
  if of_hash == hash and tonumber(of_version) <= version then
    from, state = tonumber(of_version), rest
  end
end
local events = redis.call('XRANGE', stream, string.format('%.0f-0', from + 1), '+', 'COUNT', count)
return { string.format('%.0f', version), string.format('%.0f', from), state, string.format('%.0f', done), events }
