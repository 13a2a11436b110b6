/**
 * Moves a limiter's state in time, on a real server whose clock goes on as it does.
 *
 * The scripts know times only as differences to the server's own, and as window starts that are multiples of a span. So a clock that
 * goes forward by `ms` is, to them, state that is older by `ms`; and one that is set back is state that is younger, as long as `ms` is a multiple
 * of the span. Expiry moves with it; what has expired is gone.
 */
import type { Redis } from 'ioredis';

const MOVE = `
local key, ms = KEYS[1], tonumber(ARGV[1])
local kind = redis.call('TYPE', key).ok
if kind == 'none' then return 0 end
local expires = redis.call('PEXPIRETIME', key)
if kind == 'hash' then
  redis.call('HSET', key, 'w', string.format('%.0f', redis.call('HGET', key, 'w') - ms * 1000))
elseif kind == 'zset' then
  local scored = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #scored, 2 do redis.call('ZADD', key, string.format('%.0f', scored[at + 1] - ms * 1000), scored[at]) end
else
  local value = redis.call('GET', key)
  -- GCRA keeps a time; the count of a fixed window is shorter by far.
  if #value > 15 then
    if #value < 19 then value = value .. '000' end
    redis.call('SET', key, string.format('%.0f', string.sub(value, 1, -4) - ms * 1000) .. string.sub(value, -3))
  end
end
redis.call('PEXPIREAT', key, string.format('%.0f', expires - ms))
return 1`;

/** As if the server's clock had gone forward by so much (back, if negative) since the key was written. @returns whether it was there. */
export async function travel(redis: Redis, key: string, ms: number): Promise<boolean> {
  return (await redis.eval(MOVE, 1, key, ms)) === 1;
}
