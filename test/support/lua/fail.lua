-- Fail in the way that is asked for.
local text = KEYS[1]  -- STRING
local how  = ARGV[1]  -- 'type', 'lua' or 'reply'
-- Reply: none

redis.call('SET', text, 'not a list')
if how == 'type' then return redis.call('LPUSH', text, 'item') end
if how == 'lua' then return text + {} end
return redis.error_reply('BROKEN as asked')
