/** Any history of changes, saves, failures, deaths and redrives, held against a model: each change is in one place, and nothing is left behind. */
import { array, assert, asyncProperty, constantFrom, integer, oneof } from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { KEYS, Model } from './model.ts';

let server: TestServer;
let connections: Connections;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  await connections.commands().ping();
});
afterAll(async () => {
  await connections.close();
  await server.stop();
});

/** One step of a history. */
interface Step {
  act(model: Model): Promise<void>;
}

const key = constantFrom(...KEYS);
const outcome = constantFrom('saved', 'retry', 'back', 'dead', 'lost');
const append = array(key, { minLength: 1, maxLength: 4 }).map((keys): Step => ({ act: (model) => model.append(keys) }));
const take = integer({ min: 1, max: 4 }).map((size): Step => ({ act: (model) => model.take(size) }));
const settle = array(outcome, { minLength: 4, maxLength: 4 }).map((outcomes): Step => ({
  act: (model) => model.settle(outcomes),
}));
const rare = constantFrom<Step>(
  { act: (model) => model.takeover() },
  { act: (model) => model.redrive() },
  { act: (model) => model.discard() },
);
const step = oneof(
  { weight: 4, arbitrary: append },
  { weight: 3, arbitrary: take },
  { weight: 4, arbitrary: settle },
  { weight: 3, arbitrary: rare },
);

test('whatever happens, each change is in one place, the latest of its key, and nothing else stays', async () => {
  await assert(
    asyncProperty(array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const model = new Model(connections);
      for (const one of steps) {
        await one.act(model);
        await model.check();
      }
      // And all of it can be brought home.
      await model.takeover();
      for (let round = 0; model.pending.size > 0 && round < 100; round++) {
        await model.take(4);
        await model.settle(['saved']);
      }
      expect(model.pending.size).toBe(0);
      await model.check();
      await model.end();
    }),
    { numRuns: 60 },
  );
});
