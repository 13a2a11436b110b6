/**
 * A process that writes to a write-behind store and saves for it, to be killed and paused: `write-behind-process OPTIONS`.
 *
 * What was accepted is a line of its journal, written before the next step. The store is another Redis, which keeps every save in order.
 */
import { openSync, writeSync } from 'node:fs';
import { Redis } from 'ioredis';
import { createCache } from '../../src/cache/create-cache.ts';
import { createWriteBehind } from '../../src/cache/stores/write-behind.ts';
import { systemClock } from '../../src/clock.ts';
import { createLogger } from '../../src/log.ts';
import { createConnections } from '../../src/redis/connect.ts';

export interface WriteBehindProcess {
  redis: string;
  database: string;
  prefix: string;
  journal: string;
  /** Keys that this process alone writes to; none for one that only saves. */
  keys: readonly string[];
  /** The longest pause between two of its writes. */
  pauseMs: number;
  /** Whether saves of what the database already has newer are refused by it, as a careful store does. */
  refusesOlder: boolean;
}

/** Saves one change unless a newer one is there; each save is a line of the log. */
const SAVE = `
local older = tonumber(redis.call('HGET', KEYS[1], 'version:' .. ARGV[1]) or '0')
if ARGV[4] == '1' and older > tonumber(ARGV[2]) then redis.call('RPUSH', KEYS[3], ARGV[1]) return 0 end
redis.call('HSET', KEYS[1], 'version:' .. ARGV[1], ARGV[2], 'value:' .. ARGV[1], ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[1] .. ' ' .. ARGV[2])
return 1`;
const LONGEST_SAVE_MS = 30;

const options = JSON.parse(process.argv[2] ?? '{}') as WriteBehindProcess;
const file = openSync(options.journal, 'a');
const note = (...words: Array<string | number>): void => void writeSync(file, `${words.join(' ')}\n`);

const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); // The test was killed, and cannot end it any more.
}, 500).unref();

const database = new Redis(options.database);
const connections = createConnections({ url: options.redis, commandTimeout: 1_000 });
const log = createLogger({ level: 'warn', format: 'json', destination: process.stderr });
const cache = createCache(connections, { prefix: options.prefix, log });
const store = createWriteBehind<number>(
  { connections, cache: cache.namespace('rows'), prefix: options.prefix, log },
  {
    name: 'rows',
    load: async (key) => {
      const value = await database.hget('rows', `value:${key}`);
      return value === null ? undefined : Number(value);
    },
    async saveMany(changes) {
      note('saving', changes.length);
      await systemClock.sleep(Math.random() * LONGEST_SAVE_MS);
      for (const { key, value = -1, version } of changes) {
        await database.eval(SAVE, 3, 'rows', 'saves', 'refused', key, version, value, options.refusesOlder ? 1 : 0);
      }
      await systemClock.sleep(Math.random() * LONGEST_SAVE_MS);
      note('saved', changes.length);
    },
  },
  { flushAfter: '20ms', batchSize: 20, lease: '1s', attempts: 1_000, retry: { delay: '50ms', max: '500ms' } },
);
store.start();
console.log(`ready ${process.pid}`);

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());
for (let n = 1; !stopping.signal.aborted; n++) {
  const key = options.keys[n % options.keys.length];
  if (key === undefined) {
    await systemClock.sleep(20);
    continue;
  }
  try {
    const { version } = await store.set(key, n);
    note('accepted', key, n, version);
    const seen = await store.get(key);
    if (seen !== n) note('stale', key, n, String(seen));
  } catch {
    note('unsure', key, n); // Redis was away; whether it was accepted is unknown.
    await systemClock.sleep(50);
  }
  await systemClock.sleep(Math.random() * options.pauseMs);
}
await store.stop();
await cache.stop();
await connections.close();
database.disconnect();
