-- Read what a search needs of jobs: a few fields, and the beginning of the input.
-- A script, because Redis cannot send a part of a field: a large input would else travel whole. It ends early, before a job that would make it
-- hold up the server.
local jobs      = { unpack(KEYS, 1) }  -- HASHes of BullMQ's jobs (read only)
local from_ms   = tonumber(ARGV[1])    -- of jobs enqueued then or later
local to_ms     = tonumber(ARGV[2])    -- and before then
local most      = tonumber(ARGV[3])    -- bytes of inputs that may be read
local largest   = tonumber(ARGV[4])    -- a larger input is not read
local sent      = tonumber(ARGV[5])    -- bytes of an input that are sent
local names     = { unpack(ARGV, 6) }  -- of these contracts; of any if there are none
-- Reply: {bytes of inputs read, a list of jobs, as far as they were read: empty for one that does not fit or is gone, else
--   {name, enqueued at, started at, finished at, attempts made, options as JSON, reason, bytes of the input, its beginning}}

local LONGEST_OPTIONS, LONGEST_REASON = 16384, 2048

local is_meant = {}
for _, name in ipairs(names) do is_meant[name] = true end

local function first(text, length) return string.sub(text or '', 1, length) end

local read, found = 0, {}
for _, job in ipairs(jobs) do
  local name, enqueued_at, started_at, finished_at, made, options, reason =
    unpack(redis.call('HMGET', job, 'name', 'timestamp', 'processedOn', 'finishedOn', 'atm', 'opts', 'failedReason'))
  local at_ms = enqueued_at and tonumber(enqueued_at)
  if at_ms and at_ms >= from_ms and at_ms < to_ms and (#names == 0 or is_meant[name]) then
    local bytes = redis.call('HSTRLEN', job, 'data')
    local input = ''
    if bytes <= largest then
      if read > 0 and read + bytes > most then break end
      input = first(redis.call('HGET', job, 'data'), sent)
      read = read + bytes
    end
    found[#found + 1] = {
      name or '', enqueued_at, started_at or '', finished_at or '', made or '0',
      first(options, LONGEST_OPTIONS), first(reason, LONGEST_REASON), bytes, input,
    }
  else
    found[#found + 1] = {}
  end
end
return { read, found }
