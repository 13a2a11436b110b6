/**
 * Boards against a model that sorts lists, on a real server: any history of scores, by any policy, order, rank and tie, with windows, sizes,
 * operations, metadata, removals and closed seasons, leaves what the model says, as seen by every reading.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, test } from 'vitest';
import { createLeaderboards, type Leaderboards } from '../../src/leaderboard/leaderboards.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { onServerClock, ServerClock } from '../leaderboard/server-clock.ts';
import { LeaderboardHistory, type Act, type Settings } from './leaderboard-history.ts';

let server: TestServer;
let connections: Connections;
let leaderboards: Leaderboards[];
const clock = new ServerClock();
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  leaderboards = [-3_600_000, 3_600_000].map((aheadMs) =>
    createLeaderboards(onServerClock(connections), { deadline: '1h', clock: clock.ofProcess(aheadMs) }),
  );
});
afterAll(async () => {
  for (const each of leaderboards) await each.stop();
  await connections.close();
  await server.stop();
});

const MEMBERS = ['a', 'b', 'ab', 'a:b', '*', '{a}', 'ключ', '🙂', '[a-c]?', '00000000001a', ' ', 'é'];
const settings: fc.Arbitrary<Settings> = fc.record({
  order: fc.constantFrom('highest', 'lowest'),
  policy: fc.constantFrom('best', 'last', 'sum'),
  rank: fc.constantFrom('ordinal', 'competition', 'dense'),
  ties: fc.constantFrom('first', 'last', 'member'),
  maxSize: fc.constantFrom(undefined, undefined, 4),
  timeZone: fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe'),
  tells: fc.boolean(),
});
const member = fc.constantFrom(...MEMBERS);
// Few, so that there are ties; sums of them are exact.
const score = fc.constantFrom(0, -0, 1, 2, 3, -1, 0.5, 1.75, 1e15, -2.25, 2 ** -20);
const acts: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      act: fc.constant('submit'),
      member,
      score,
      operation: fc.option(fc.nat({ max: 3 }), { nil: undefined, freq: 4 }),
      meta: fc.option(fc.nat({ max: 9 }), { nil: undefined }),
      process: fc.nat({ max: 1 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('increment'), member, score }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('tell'), member, meta: fc.nat({ max: 9 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constant('many'), list: fc.array(fc.tuple(member, score), { maxLength: 8 }) }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('remove'), member }) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('pass'), ms: fc.integer({ min: 1, max: 40 * 3_600_000 }) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('close') }) },
);

let count = 0;

test('any history leaves what the model says', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(acts, { minLength: 1, maxLength: 40, size: 'max' }),
      async (chosen, history) => {
        const startMs = Date.UTC(2027, count % 12, 26);
        const board = new LeaderboardHistory(`p${count++}`, chosen, startMs, leaderboards, (ms) =>
          clock.set(connections.commands(), ms),
        );
        await board.begin();
        for (const act of history) await board.run(act);
        await board.compare();
      },
    ),
    { numRuns: 50 },
  );
});
