-- A token is presented to a session, where a look at it was not enough: something of it is due, or the token is not the current one.
-- Slides the idle expiry, replaces the token by its successor, notes that the successor has come, raises the level, or ends the session because
-- a former token came back.
-- Atomic, because of requests at once with one token only one may replace it; because a session that was ended meanwhile must stay so; and
-- because only the server's clock knows whether the grace of a former token is over.
--
-- The grace begins when the successor is used: until then it may be that nobody was told of it. So sent again after a lost answer, and by
-- whomever, a call finds the same successor.
local home        = KEYS[1]             -- HASH  id -> session; in the layout `keys` ZSET  ids by the end of their TTL
local own         = KEYS[2]             -- HOME; in the layout `keys` STRING  the session
local layout      = ARGV[1]             -- `fields`, or `keys`
local id          = ARGV[2]             -- of the session
local presented   = ARGV[3]             -- hash of the token
local kin         = ARGV[4]             -- hash of what all tokens of one session have in common, as the presented one has it
local number      = tonumber(ARGV[5])   -- how many tokens of the session came before it
local wants       = ARGV[6]             -- `look`, `touch`, `rotate`, `elevate`
local successor   = ARGV[7]             -- hash of the token that may replace it
local seed        = ARGV[8]             -- of which its holder can make that one
local to_level    = ARGV[9]             -- for `elevate`
local at_least    = ARGV[10]            -- for `elevate`: that level and those above it, each between spaces
local idle_ms     = tonumber(ARGV[11])  -- how long a session lives without being used
local absolute_ms = tonumber(ARGV[12])  -- how long it lives at most
local touch_ms    = tonumber(ARGV[13])  -- how long after its last slide one is due
local rotate_ms   = tonumber(ARGV[14])  -- how old a token may become; 0 for ever
local grace_ms    = tonumber(ARGV[15])  -- how long a replaced token is let in once its successor was used
local rest        = ARGV[16]            -- user, device and data with another device; empty for none
local of_version  = ARGV[17]            -- of the data in it
local channel     = ARGV[18]            -- where the end of sessions is told
local message     = ARGV[19]            -- what is told before its id
-- Reply: {'gone' | 'stranger' | 'stale' | 'reused'}, or {'current' | 'rotated' | 'elevated' | 'previous', the session};
-- reused comes with the session as it was

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local by_fields = layout == 'fields'

local function whole(n) return string.format('%.0f', n) end
-- Both ways, because a clock that was set back must neither end a grace nor make it last.
local function is_fresh(since) return math.abs(now - since) < grace_ms end

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
local form = '^%[1,"([^"]*)","([^"]*)","([^"]*)",(%d+),"([^"]*)","([^"]*)",(%d+),(%d+),(%d+),(%d+),"([^"]*)",(%d+),(%d+),(.*)%]$'
if not value then return { 'gone' } end
local hash, prev, prev_seed, used, prev_level, family, born, absolute, seen, rotated, level, count, version, kept =
  string.match(value, form)
if not hash then return { 'gone' } end
-- It may have begun when the rules let it live longer.
local last = math.min(tonumber(absolute), born + absolute_ms)
if now >= seen + idle_ms or now >= last then return { 'gone' } end
if family ~= kin then return { 'stranger' } end

local is_unused = prev ~= '' and used == '0'
local in_grace = is_unused or is_fresh(tonumber(used))
local outcome = 'current'
if presented ~= hash then
  -- No former one: a failover has lost what replaced another by it.
  if number >= tonumber(count) then return { 'stranger' } end
  if presented ~= prev or not in_grace then
    -- Of a token that was replaced twice within one grace nobody can say how old it is: it is refused, and ends nothing.
    if presented ~= prev and is_fresh(tonumber(rotated)) then return { 'stale' } end
    if by_fields then
      redis.call('HDEL', home, id)
    else
      redis.call('UNLINK', own)
      redis.call('ZREM', home, id)
    end
    redis.call('PUBLISH', channel, message .. ' ' .. id)
    return { 'reused', value }
  end
  -- What a login of a higher level has replaced must not come to that level by itself.
  if prev_level ~= '' and wants == 'rotate' then return { 'stale' } end
  outcome = 'previous'
end

local since = now - tonumber(rotated)
local is_old = rotate_ms > 0 and (since >= rotate_ms or since < 0)
local is_current = outcome == 'current'
if is_current and wants == 'elevate' then
  outcome = 'elevated'
elseif is_current and (wants == 'rotate' or (wants == 'touch' and is_old and successor ~= '')) then
  outcome = 'rotated'
end

local replaces = outcome == 'rotated' or outcome == 'elevated'
-- Asked again, because the answer was lost: the level is proved once more, maybe another one.
local proves = wants == 'elevate' and (replaces or prev_level ~= '')
local raises = proves and not string.find(at_least, ' ' .. level .. ' ', 1, true)
local idle_for = now - tonumber(seen)
local slides = replaces or (wants ~= 'look' and (idle_for >= touch_ms or idle_for < 0))
local confirms = is_current and is_unused
if not (slides or raises or confirms) then return { outcome, value } end

if replaces then
  prev, prev_seed, used, prev_level = hash, seed, '0', outcome == 'elevated' and level or ''
  hash, rotated, count = successor, whole(now), whole(count + 1)
elseif confirms then
  used = whole(now)
elseif not in_grace then
  prev, prev_seed, prev_level = '', '', ''
end
if raises then level = to_level end
if slides then seen = whole(now) end
if rest ~= '' and of_version == version then kept = rest end
value = '[1,"' .. hash .. '","' .. prev .. '","' .. prev_seed .. '",' .. used .. ',"' .. prev_level .. '","' .. family .. '",' .. born
  .. ',' .. absolute .. ',' .. seen .. ',' .. rotated .. ',"' .. level .. '",' .. count .. ',' .. version .. ',' .. kept .. ']'
local ends = whole(math.min(seen + idle_ms, last))
if by_fields then
  redis.call('HSETEX', home, 'FXX', 'PXAT', ends, 'FIELDS', 1, id, value)
else
  redis.call('SET', own, value, 'XX', 'PXAT', ends)
  redis.call('ZADD', home, ends, id)
  if redis.call('PEXPIRETIME', home) < tonumber(ends) then redis.call('PEXPIREAT', home, ends) end
end
return { outcome, value }
