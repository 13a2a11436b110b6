/**
 * Presence against a model, on a real server: any history of enters, updates, leaves, crashes, lapses and lost data of three processes, heard
 * by one that misses messages now and then. What is in Redis, what was heard, and what was told of each user must be what the model says.
 */
import * as fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, test } from 'vitest';
import { startRedis, type TestServer } from '../support/servers.ts';
import { History, PROCESSES, type Act } from './presence-history.ts';

let server: TestServer;
let redis: Redis;
let listener: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.port);
  listener = new Redis(server.port);
  await Promise.all([redis.ping(), listener.ping()]);
});
afterAll(async () => {
  redis.disconnect();
  listener.disconnect();
  await server.stop();
});

const pick = fc.nat({ max: 1_000 });
const process = fc.nat({ max: PROCESSES - 1 });
const state = fc.nat({ max: 2 });
const acts: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      act: fc.constant('enter'),
      process,
      user: fc.nat({ max: 2 }),
      connection: fc.nat({ max: 2 }),
      state,
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('update'), pick, state }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constant('leave'), pick, isDebounced: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('again'), pick }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('crash'), process }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('beat'), process }) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('lapse'), lookers: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('lose-data') }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('miss'), count: fc.integer({ min: 1, max: 3 }) }) },
);

test('any history leaves Redis, the view and what was told as the model says', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(acts, { minLength: 1, maxLength: 40, size: 'max' }), async (history) => {
      const room = new History(redis, listener);
      await room.open();
      try {
        for (const act of history) await room.run(act);
      } finally {
        await room.close();
      }
    }),
    { numRuns: 60 },
  );
});
