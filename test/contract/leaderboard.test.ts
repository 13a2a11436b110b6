/** Leaderboards on each topology, and on Valkey. */
import { describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import type { Leaderboards } from '../../src/leaderboard/leaderboards.ts';
import type { Topology } from '../../src/redis/address.ts';
import { lineOf, ownedLeaderboards } from '../leaderboard/own-boards.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { openAll, startForFile } from './topologies.ts';

/** Such that on a Cluster each of its three masters has some. */
const NAMES = ['game', 'level:17', 'level {2}', 'уровень'];
const WINDOWS = {
  daily: { every: 'day', timeZone: 'Asia/Tokyo' },
  week: { rolling: '7d', bucket: '1d' },
} as const;

/** All that a board can do, in short. @returns how many members stay. */
async function useAll(leaderboards: Leaderboards, name: string): Promise<number> {
  const board = leaderboards.board(name, {
    windows: WINDOWS,
    rank: 'dense',
    maxSize: 50,
    policy: 'last',
    meta: z.string(),
  });
  await board.submitMany(
    Array.from({ length: 60 }, (_, at) => ({ member: `m ${at}`, score: at % 30, operation: 'load', meta: `M ${at}` })),
  );
  expect(await board.submit('{ada}', 12.5, { operation: 'game:1' })).toMatchObject({ rank: 18, isBest: true });
  expect((await board.submit('{ada}', 99, { operation: 'game:1' })).isRepeat).toBe(true);
  expect(await board.setMeta('{ada}', 'Ada')).toBe(true);
  expect(lineOf(await board.top(3))).toBe('m 29 29 #1, m 59 29 #1, m 28 28 #2');
  const windows = [undefined, 'daily', 'week'] as const;
  for (const window of windows) {
    const where = window === undefined ? {} : { window };
    expect(await board.size(where)).toBe(50);
    expect((await board.rank('{ada}', where))?.rank).toBe(18);
    expect((await board.around('{ada}', 3, where))?.entries).toHaveLength(7);
    expect((await board.page(2, { ...where, size: 20 })).pages).toBe(3);
    expect((await board.range(20, 25, where)).total).toBe(12);
    expect(await board.of(['m 29', '{ada}', 'nobody'], where)).toHaveLength(2);
    expect((await board.rank('m 29', where))?.meta).toBe('M 29');
    expect(await board.percentile('m 29', where)).toBeGreaterThan(95);
  }
  let exported = 0;
  for await (const { score } of board.export({ batch: 20 })) exported += score >= 0 ? 1 : 0;
  expect(exported).toBe(50);
  expect((await board.closeSeason('one')).members).toBe(50);
  expect(await board.archive('one').size()).toBe(50);
  expect(await board.size()).toBe(0);
  expect(await board.remove('{ada}')).toBe(true);
  expect(await board.deleteArchive('one')).toBe(true);
  const left = await board.size({ window: 'daily' });
  await board.delete();
  expect(await board.size({ window: 'daily' })).toBe(0);
  return left;
}

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const leaderboardsOf = ownedLeaderboards();
  const fresh = async (): Promise<Leaderboards> => {
    const { leaderboards, connections } = leaderboardsOf({ ...topologyOf().redis, commandTimeout: 2_000 });
    await openAll(connections.commands());
    return leaderboards;
  };

  test('boards of every node do all that boards can do', async () => {
    const leaderboards = await fresh();
    for (const name of NAMES) expect(await useAll(leaderboards, name)).toBe(49);
    const tags = NAMES.map((name) => name.replaceAll(/[{}]/g, (brace) => (brace === '{' ? '%7B' : '%7D')));
    const masters = await Promise.all(tags.map((tag) => topologyOf().masterOf(`millrace:leaderboard:{${tag}}:state`)));
    expect(new Set(masters).size).toBe(topology === 'cluster' ? 3 : 1);
  });

  test('scores that are sent again after a failover count once', { timeout: 90_000 }, async () => {
    const board = (await fresh()).board('failover', { policy: 'sum' });
    await board.submit('ada', 1, { operation: 'before' });
    // What a master had answered and not passed on is lost with it: the operation is what makes it safe to send again.
    await topologyOf().failOver('millrace:leaderboard:{failover}');
    await eventually(() => board.submit('ada', 1, { operation: 'before' }), 30_000);
    await eventually(() => board.submit('ada', 10, { operation: 'after' }), 30_000);
    await eventually(() => board.submit('ada', 10, { operation: 'after' }), 30_000);
    expect((await board.rank('ada'))?.score).toBe(11);
  });
});

describe('on Valkey', () => {
  const own = ownedByTest();
  const leaderboardsOf = ownedLeaderboards();
  const { valkey } = inject('servers');

  test.skipIf(typeof valkey === 'string')('a board does all that boards can do', async () => {
    const server = own(await startRedis(typeof valkey === 'string' ? {} : { binary: valkey }));
    expect(await useAll(leaderboardsOf({ url: server.url }).leaderboards, 'game')).toBe(49);
  });
});
