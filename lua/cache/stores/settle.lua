-- Note what became of the changes of a batch: saved, to be tried again, given back untried, or a dead letter.
-- Atomic, because a change must be in one place at any moment, and only as long as the caller is the flusher: one that was paused past
-- its lease must not remove what its successor works on. A change that a newer one has replaced meanwhile is not there any more.
local changes   = KEYS[1]            -- STREAM  pending changes
local latest    = KEYS[2]            -- HASH    key -> the id of its pending change
local attempts  = KEYS[3]            -- HASH    id -> how often it was taken to be saved
local retries   = KEYS[4]            -- ZSET    id -> when it may be tried again, in us since 1970
local untold    = KEYS[5]            -- HASH    id -> 1 until its writer has dropped what the cache held
local flusher   = KEYS[6]            -- STRING  the token of the process that saves now
local dead      = KEYS[7]            -- STREAM  dead letters
local dead_keys = KEYS[8]            -- HASH    key -> the id of its dead letter
local token     = ARGV[1]            -- the caller's token
local lease_ms  = tonumber(ARGV[2])  -- the lease begins anew
local max_dead  = tonumber(ARGV[3])  -- how many dead letters are kept; a change beyond them stays pending
local outcomes  = { unpack(ARGV, 4) }  -- of each change: id, saved|retry|back|dead, ms until the retry (of dead: when there is no room), error as JSON
-- Reply: {mine 0|1, then for each change what became of it: saved|retry|back|dead|full|replaced}

if redis.call('GET', flusher) ~= token then return { 0 } end
-- Comes first: a full server refuses a script's first write if it may take memory, and what was saved makes room.
redis.call('PEXPIRE', flusher, lease_ms)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply = { 1 }

local function forget(id, key)
  redis.call('XDEL', changes, id)
  redis.call('HDEL', attempts, id)
  redis.call('ZREM', retries, id)
  redis.call('HDEL', untold, id)
  if redis.call('HGET', latest, key) == id then redis.call('HDEL', latest, key) end
end

for at = 1, #outcomes, 4 do
  local id, outcome, delay_ms, failure = outcomes[at], outcomes[at + 1], tonumber(outcomes[at + 2]), outcomes[at + 3]
  local entry = redis.call('XRANGE', changes, id, id)[1]
  if not entry then
    -- What the take counted for it is left of it, if it was replaced before that.
    redis.call('HDEL', attempts, id)
    redis.call('ZREM', retries, id)
    outcome = outcome == 'saved' and 'saved' or 'replaced'
  else
    local fields = entry[2]
    local key = fields[2]
    if outcome == 'dead' and redis.call('XLEN', dead) >= max_dead then outcome = 'full' end
    if outcome == 'saved' then
      forget(id, key)
    elseif outcome == 'dead' then
      local letter = redis.call('XADD', dead, '*', 'key', key, 'kind', fields[4], 'value', fields[6], 'accepted', fields[8],
        'redriven', fields[10], 'version', string.match(id, '^%d+'), 'attempts', redis.call('HGET', attempts, id) or '0', 'error', failure)
      redis.call('HSET', dead_keys, key, letter)
      forget(id, key)
    else
      if outcome == 'back' and redis.call('HINCRBY', attempts, id, -1) <= 0 then redis.call('HDEL', attempts, id) end
      redis.call('ZADD', retries, string.format('%.0f', now + delay_ms * 1000), id)
    end
  end
  reply[#reply + 1] = outcome
end
return reply
