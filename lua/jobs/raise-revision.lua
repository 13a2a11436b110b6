-- Remember the revision of an application, unless a newer one is known.
-- Atomic, because of two processes that start at once the older one must not take back what the newer one has said.
local revisions = KEYS[1]  -- HASH  the newest revision, by owner
local owner     = ARGV[1]  -- the application
local revision  = ARGV[2]  -- its revision in this process
-- Reply: the newest revision, as text

local newest = redis.call('HGET', revisions, owner)
if newest and tonumber(newest) >= tonumber(revision) then return newest end
redis.call('HSET', revisions, owner, revision)
return revision
