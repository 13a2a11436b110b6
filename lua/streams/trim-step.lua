-- Remove some of the entries that may go: those beyond the bounds that every group has finished.
-- Atomic, because a group that is made or reads on between the look and the removal would miss what it has not finished. Bounded, because Redis
-- does nothing else meanwhile: whole nodes of the stream go (`~`), of at most `step` entries, and only once there are none, the rest of one.
--   finished by a group   up to its last delivered id, and neither pending for one of its consumers nor for its retries
--   ACKED                 removes what is finished behind an entry that is still pending, too; it looks through all that comes before, so it is
--                         not led beyond the first pending ones
local entries = KEYS[1]            -- STREAM  the entries
local most    = tonumber(ARGV[1])  -- how many entries are kept; -1 for no bound
local age_ms  = tonumber(ARGV[2])  -- how long entries are kept; -1 for no bound
local step    = tonumber(ARGV[3])  -- how many entries may go now
local acked   = ARGV[4]            -- 1 where the server has XTRIM ~ ACKED
local needed  = {unpack(ARGV, 5)}  -- groups without which nothing is removed
-- Reply: {how many were removed, the group that holds back more or '', why: absent, pending or unread, the first id that it has to finish or ''}

local PENDING_LOOKED_AT = 200
local HIGHEST = '18446744073709551615-18446744073709551615'

local function half_below(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function below(a, b)
  local a_ms, a_seq = a:match('^(%d+)-(%d+)$')
  local b_ms, b_seq = b:match('^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return half_below(a_ms, b_ms) end
  return half_below(a_seq, b_seq)
end

local function lesser(a, b) return below(a, b) and a or b end

-- A number of Lua is exact up to 15 digits; of a larger one the entry itself is kept.
local function next_after(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return #seq > 15 and id or string.format('%s-%.0f', ms, tonumber(seq) + 1)
end

if redis.call('EXISTS', entries) == 0 then return { 0, '', '', '' } end

local groups = {}
local is_there = {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', entries)) do
  local one = {}
  for at = 1, #flat, 2 do one[flat[at]] = flat[at + 1] end
  groups[#groups + 1] = one
  is_there[one['name']] = true
end

-- All groups have finished what is below `safe`, and have been given what is below `reach`.
local safe, reach = HIGHEST, HIGHEST
local holder, why = '', ''
for _, one in ipairs(groups) do
  local unread = next_after(one['last-delivered-id'])
  local unfinished, reason = unread, 'unread'
  reach = lesser(unread, reach)
  if one['pending'] > 0 then
    unfinished, reason = redis.call('XPENDING', entries, one['name'])[2], 'pending'
    local looked = redis.call('XPENDING', entries, one['name'], '-', '+', PENDING_LOOKED_AT)
    if #looked == PENDING_LOOKED_AT then reach = lesser(looked[PENDING_LOOKED_AT][1], reach) end
  end
  if below(unfinished, safe) then safe, holder, why = unfinished, one['name'], reason end
end
for _, name in ipairs(needed) do
  if not is_there[name] then safe, reach, holder, why = '0-0', '0-0', name, 'absent' end
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local old = '0-0'
if age_ms >= 0 and age_ms < now_ms then old = string.format('%.0f-0', now_ms - age_ms) end

local function excess() return most < 0 and 0 or redis.call('XLEN', entries) - most end

-- Removes what is below `bound` of what is too old, or too many; `...` is for ACKED.
local function remove(bound, ...)
  local aged = lesser(bound, old)
  local removed = redis.call('XTRIM', entries, 'MINID', '~', aged, 'LIMIT', step, ...)
  if removed == 0 then removed = redis.call('XTRIM', entries, 'MINID', '=', aged, ...) end
  local limit = math.min(excess(), step - removed)
  if limit > 0 then
    local more = redis.call('XTRIM', entries, 'MINID', '~', bound, 'LIMIT', limit, ...)
    if more == 0 and most == 0 then more = redis.call('XTRIM', entries, 'MINID', '=', bound, ...) end
    removed = removed + more
  end
  return removed
end

local removed = remove(safe)
if removed == 0 and acked == '1' and below(safe, reach) then removed = remove(reach, 'ACKED') end

local first = redis.call('XRANGE', entries, '-', '+', 'COUNT', 1)[1]
local is_held = holder ~= '' and first and not below(first[1], safe) and (excess() > 0 or below(first[1], old))
if not is_held then return { removed, '', '', '' } end
return { removed, holder, why, why == 'absent' and '' or safe }
