-- Accept a token unless a newer one has been here before.
-- Atomic, because of two holders that come at once the older must not pass after the newer one has.
local checked = KEYS[1]            -- STRING  the newest token that was accepted
local token   = tonumber(ARGV[1])  -- the token of who comes
local keep_ms = tonumber(ARGV[2])  -- how long the newest token is remembered after anybody came
-- Reply: {1 when accepted, else 0; the newest token, as text}

local latest = tonumber(redis.call('GET', checked) or '0')
if token >= latest then
  redis.call('SET', checked, token, 'PX', keep_ms)
  return { 1, string.format('%.0f', token) }
end
-- An older holder that keeps coming is a reason to remember.
redis.call('PEXPIRE', checked, keep_ms)
return { 0, string.format('%.0f', latest) }
