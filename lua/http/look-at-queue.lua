-- How much work a queue has now, and what was counted of it lately.
-- Atomic, so that a job which moves is not seen twice or not at all; and by the server's clock, which dates the records. Writes nothing.
local wait           = KEYS[1]            -- LIST  jobs that wait, the newest first
local paused         = KEYS[2]            -- LIST  likewise, of a queue that an earlier BullMQ has paused
local prioritized    = KEYS[3]            -- ZSET  likewise, of jobs with a priority
local delayed        = KEYS[4]            -- ZSET  jobs by when they are due, in 4096ths of a ms
local active         = KEYS[5]            -- LIST  jobs that run
local meta           = KEYS[6]            -- HASH  settings of the queue
local minutes_before = KEYS[7]            -- HASH  records of the minutes of the hour before, in pieces
local minutes        = KEYS[8]            -- HASH  those of this hour
local hours_before   = KEYS[9]            -- HASH  records of the hours of the day before
local hours          = KEYS[10]           -- HASH  those of this day
local job_prefix     = ARGV[1]            -- what stands before a job's id in its key
local looked_back    = tonumber(ARGV[2])  -- minutes whose records are wanted, this one included; at most 60
-- Reply: {now in ms, jobs that could run, jobs that run, 1 when paused, ms that the oldest has waited or -1,
--         {field, piece ...} of minutes_before, minutes, hours_before and hours: of the hours when in these minutes nothing ran}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = redis.call('ZCOUNT', delayed, '-inf', string.format('(%.0f', (now + 1) * 4096))
local depth = redis.call('LLEN', wait) + redis.call('LLEN', paused) + redis.call('ZCARD', prioritized) + due

-- One that was tried before has an old date, and has not waited since then.
local function waited(id)
  if not id then return -1 end
  local job = redis.call('HMGET', job_prefix .. id, 'timestamp', 'opts', 'ats')
  if not job[1] or (job[3] and job[3] ~= '0') then return -1 end
  local is_json, opts = pcall(cjson.decode, job[2] or '{}')
  local delay = is_json and type(opts) == 'table' and tonumber(opts.delay) or 0
  return math.max(0, now - tonumber(job[1]) - delay)
end
local oldest = math.max(waited(redis.call('LINDEX', wait, -1)), waited(redis.call('ZRANGE', prioritized, 0, 0)[1]))

local minute = math.floor(now / 60000)
local found = false
local function lately(key, is_before)
  local fields, pieces = redis.call('HGETALL', key), {}
  for place = 1, #fields, 2 do
    local of_hour = tonumber(fields[place]) % 60
    local ago = minute % 60 - of_hour + (is_before and 60 or 0)
    if ago >= 0 and ago < looked_back then
      pieces[#pieces + 1] = fields[place]
      pieces[#pieces + 1] = fields[place + 1]
      -- A record begins with how many attempts ended well and how many did not; one with neither only tells that somebody looked.
      local is_first = tonumber(fields[place]) < 60
      if is_first and (fields[place + 1]:byte(1) ~= 0 or fields[place + 1]:byte(2) ~= 0) then found = true end
    end
  end
  return pieces
end
local before, this = {}, lately(minutes, false)
if minute % 60 + 1 < looked_back then before = lately(minutes_before, true) end

local of_day, of_today = {}, {}
if not found and depth > 0 then
  of_day = redis.call('HGETALL', hours_before)
  of_today = redis.call('HGETALL', hours)
end
return { now, depth, redis.call('LLEN', active), redis.call('HEXISTS', meta, 'paused'), oldest, before, this, of_day, of_today }
