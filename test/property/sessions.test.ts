/**
 * Sessions against a model, on a real server, in both layouts: any history of logins, requests with current and former tokens, rotations,
 * elevations, changes and ends, from two processes. Each answer, and what is listed at the end, must be what the model says.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, test } from 'vitest';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { createSessions, type Sessions } from '../../src/session/sessions.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { History, LEVELS, MOST, type Act } from './session-history.ts';

const LAYOUTS = ['fields', 'keys'] as const;

let server: TestServer;
let opened: Array<{ connections: Connections; sessions: Sessions }>;
beforeAll(async () => {
  server = await startRedis();
  opened = LAYOUTS.flatMap((layout) =>
    [0, 1].map(() => {
      const connections = createConnections({ url: server.url });
      return { connections, sessions: createSessions(connections, { layout, deadline: '10s' }) };
    }),
  );
  await Promise.all(opened.map(({ connections }) => connections.commands().ping()));
});
afterAll(async () => {
  for (const { connections, sessions } of opened) {
    await sessions.stop();
    await connections.close();
  }
  await server.stop();
});

const process = fc.nat({ max: 1 });
const pick = fc.nat({ max: 100 });
const user = fc.nat({ max: 1 });
const level = fc.nat({ max: 2 });
const back = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constant(1) },
  fc.nat({ max: 3 }),
);
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ act: fc.constant('create' as const), process, user, level }) },
  {
    weight: 5,
    arbitrary: fc.record({ act: fc.constantFrom('validate' as const, 'rotate' as const), process, pick, back }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('elevate' as const), process, pick, back, level }) },
  {
    weight: 3,
    arbitrary: fc.record({ act: fc.constant('update' as const), process, pick, n: fc.nat(), isOld: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('revoke' as const), process, pick }) },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('revoke-all' as const),
      process,
      user,
      pick: fc.option(pick, { nil: undefined }),
    }),
  },
);

let runs = 0;

test('any history is answered as the model says', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(act, { minLength: 1, maxLength: 30, size: 'max' }),
      fc.boolean(),
      fc.nat({ max: 1 }),
      async (acts, hasGrace, layout) => {
        const rule = {
          rotateEvery: false,
          rotateGrace: hasGrace ? '10m' : 0,
          levels: LEVELS,
          maxPerUser: MOST,
        } as const;
        const number = runs++ % 50;
        const realms = opened
          .slice(layout * 2, layout * 2 + 2)
          .map(({ sessions }) => sessions.realm(`p${number}-${hasGrace}`, rule));
        const history = new History(realms, hasGrace, `${runs}`);
        for (const one of acts) await history.run(one);
        await history.end();
      },
    ),
    { numRuns: 60 },
  );
});
