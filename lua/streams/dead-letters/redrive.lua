-- Publish dead letters again, for the one group that they died in.
-- Atomic, so that a letter is either a dead letter or an entry: of several who redrive it one does, and a call that is sent again finds it gone.
local dead    = KEYS[1]            -- STREAM  the group's dead letters
local entries = KEYS[2]            -- STREAM  the entries
local group   = ARGV[1]            -- its name
local ids     = {unpack(ARGV, 2)}  -- of the letters, the oldest first
-- Reply: {0} when there is no such group, else {1, of each letter the id of its new entry, or '' if there was no such letter}

local is_there = false
if redis.call('EXISTS', entries) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
    for at = 1, #flat, 2 do
      if flat[at] == 'name' and flat[at + 1] == group then is_there = true end
    end
  end
end
if not is_there then return { 0 } end

local reply = { 1 }
for _, id in ipairs(ids) do
  local letter = redis.call('XRANGE', dead, id, id)[1]
  if not letter then
    reply[#reply + 1] = ''
  else
    local flat = letter[2]
    local field = {}
    for at = 1, #flat, 2 do field[flat[at]] = flat[at + 1] end
    local fields = { 'data', field['data'] or '' }
    for _, name in ipairs({ 'headers', 'key' }) do
      if field[name] then
        fields[#fields + 1] = name
        fields[#fields + 1] = field[name]
      end
    end
    local redriven = string.format('%d', (tonumber(field['redriven']) or 0) + 1)
    reply[#reply + 1] = redis.call('XADD', entries, '*', 'only', group, 'origin', field['id'] or id, 'redriven', redriven, unpack(fields))
    redis.call('XDEL', dead, id)
  end
end
return reply
