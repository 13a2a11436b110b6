-- Replace the data of a session, if it is still the version that the new data was made of.
-- Atomic, because a session that was ended since it was read must not come back, and neither of two changes may be lost. The expiry stays:
-- a change is no use of the session.
local home        = KEYS[1]            -- HASH  id -> session; in the layout `keys` ZSET  ids by the end of their TTL
local own         = KEYS[2]            -- HOME; in the layout `keys` STRING  the session
local layout      = ARGV[1]            -- `fields`, or `keys`
local id          = ARGV[2]            -- of the session
local of_version  = ARGV[3]            -- the version that was read
local rest        = ARGV[4]            -- user, device and new data, as JSON or sealed
local idle_ms     = tonumber(ARGV[5])  -- how long a session lives without being used
local absolute_ms = tonumber(ARGV[6])  -- how long it lives at most
-- Reply: {'gone'}, {'version'} when it is another one by now, {'updated', the session}

local by_fields = layout == 'fields'
local value
if by_fields then
  value = redis.call('HGET', home, id)
else
  value = redis.call('GET', own)
  -- Without its place in the index nobody could end it.
  if value and not redis.call('ZSCORE', home, id) then
    redis.call('UNLINK', own)
    value = false
  end
end
if not value then return { 'gone' } end
local form = '^(%[1,"[^"]*","[^"]*","[^"]*",%d+,"[^"]*","[^"]*",(%d+),%d+,(%d+),%d+,"[^"]*",%d+,)(%d+),'
local head, born, seen, version = string.match(value, form)
if not head then return { 'gone' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- It may have begun when the rules let it live longer.
if now >= seen + idle_ms or now >= born + absolute_ms then return { 'gone' } end
if version ~= of_version then return { 'version' } end
value = head .. string.format('%.0f', version + 1) .. ',' .. rest .. ']'
if by_fields then
  redis.call('HSETEX', home, 'FXX', 'KEEPTTL', 'FIELDS', 1, id, value)
else
  redis.call('SET', own, value, 'XX', 'KEEPTTL')
end
return { 'updated', value }
