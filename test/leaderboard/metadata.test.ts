/** Metadata: each board has that of its own members, which comes and goes with them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLeaderboards, type OwnedLeaderboards } from './own-boards.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedLeaderboards();

const processOf = (): OwnedLeaderboards => own({ url: server.url });

describe('metadata', () => {
  const meta = z.object({ name: z.string().max(20) });

  test('is told by every reading, and stays until it is set again', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('meta', { meta });
    await board.submit('ada', 5, { meta: { name: 'Ada' } });
    await board.submit('ada', 9);
    await board.submit('bob', 1);
    const ada = { member: 'ada', score: 9, rank: 1, meta: { name: 'Ada' } };
    const bob = { member: 'bob', score: 1, rank: 2, meta: undefined };
    expect(await board.top(5)).toEqual([ada, bob]);
    expect((await board.page(1)).entries).toEqual([ada, bob]);
    expect((await board.around('bob'))?.entries).toEqual([ada, bob]);
    expect(await board.of(['ada', 'bob'])).toEqual([ada, bob]);
    expect((await board.range(0, 10)).entries).toEqual([ada, bob]);
    expect(await board.setMeta('bob', { name: 'Bob' })).toBe(true);
    expect(await board.setMeta('nobody', { name: 'Nobody' })).toBe(false);
    expect((await board.rank('bob'))?.meta).toEqual({ name: 'Bob' });
    await board.submitMany([{ member: 'cleo', score: 3, meta: { name: 'Cleo' } }]);
    expect((await board.rank('cleo'))?.meta?.name).toBe('Cleo');
  });

  test('is checked before anything is sent', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('meta-checked', { meta, maxMetaBytes: 25 });
    await failureOf(board.submit('ada', 5, { meta: { name: 5 } as never }), 'INPUT_INVALID');
    await failureOf(board.submit('ada', 5, { meta: { name: 'x'.repeat(19) } }), 'PAYLOAD_TOO_LARGE');
    await failureOf(leaderboards.board('meta-none').submit('ada', 5, { meta: {} as never }), 'OPTIONS_INVALID');
    expect(await board.size()).toBe(0);
  });

  const windows = { daily: { every: 'day' }, week: { rolling: '7d', bucket: '1d', refresh: 100 } } as const;
  const ada = { name: 'Ada' };

  test('of who is trimmed off the all-time board stays where the member is', async () => {
    const { leaderboards } = processOf();
    const before = leaderboards.board('meta-trimmed', { meta, maxSize: 2 });
    await before.submitMany(['x', 'y'].map((member) => ({ member, score: 1_000, meta: { name: member } })));
    const board = leaderboards.board('meta-trimmed', { meta, maxSize: 2, windows });
    expect((await board.submit('ada', 50, { meta: ada })).rank).toBeUndefined();
    const expected = [{ member: 'ada', score: 50, rank: 1, meta: ada }];
    expect(await board.top(3, { window: 'daily' })).toEqual(expected);
    expect(await board.top(3, { window: 'week' })).toEqual(expected);
    expect(await board.of(['ada'], { window: 'week' })).toEqual(expected);
    const exported = [];
    for await (const entry of board.export({ window: 'week' })) exported.push(entry.meta);
    expect(exported).toEqual([ada]);
  });

  test('of a season goes with its archive, and not with what becomes of the member later', async () => {
    const { leaderboards, connections } = processOf();
    const board = leaderboards.board('meta-season', { meta, maxSize: 2, windows });
    await board.submit('ada', 500, { meta: ada });
    await board.closeSeason('one');
    await board.submitMany([10, 9].map((score) => ({ member: `m${score}`, score, meta: { name: 'M' } })));
    await board.submit('ada', 1, { meta: { name: 'Ada II' } });
    expect(await board.remove('ada')).toBe(true);
    expect(await board.archive('one').top(3)).toEqual([{ member: 'ada', score: 500, rank: 1, meta: ada }]);
    await board.closeSeason('two', { keep: '1d' });
    const redis = connections.commands();
    expect(await redis.pttl('millrace:leaderboard:{meta-season}:archive:two:metadata')).toBeGreaterThan(0);
    await board.deleteArchive('one');
    await board.deleteArchive('two');
    expect(await redis.keys('*{meta-season}*all*')).toEqual([]);
    expect(await redis.keys('*{meta-season}*archive:*')).toEqual([]);
  });

  test('is brought along by who is new in a window, and set on all that are under way', async () => {
    const { leaderboards, connections } = processOf();
    const before = leaderboards.board('meta-copied', { meta });
    await before.submit('ada', 5, { meta: ada });
    const board = leaderboards.board('meta-copied', { meta, windows });
    await board.submit('ada', 3);
    expect((await board.rank('ada', { window: 'daily' }))?.meta).toEqual(ada);
    expect((await board.rank('ada', { window: 'week' }))?.meta).toEqual(ada);
    expect(await board.setMeta('ada', { name: 'Ada II' })).toBe(true);
    for (const where of [{}, { window: 'daily' }, { window: 'week' }] as const)
      expect((await board.top(1, where))[0]?.meta).toEqual({ name: 'Ada II' });
    const redis = connections.commands();
    const keys = await redis.keys('*{meta-copied}*metadata');
    const times = await Promise.all(keys.map(async (key) => [key.includes(':all:'), await redis.pexpiretime(key)]));
    expect(times.filter(([isAll, time]) => isAll === (time === -1))).toHaveLength(3);
  });

  test('of a rolling window is that of the newest bucket which knows the member', async () => {
    const { leaderboards, connections } = processOf();
    const board = leaderboards.board('meta-buckets', { meta, windows });
    await board.submit('ada', 5, { meta: ada });
    await board.submit('bob', 4);
    const redis = connections.commands();
    const [today = ''] = await redis.keys('*{meta-buckets}:week:rolling-86400000:*:metadata');
    const number = Number(today.split(':').at(-2));
    const yesterday = today.replace(`:${number}:`, `:${number - 1}:`);
    await redis.hset(yesterday, 'ada', '{"name":"older"}', 'bob', '{"name":"Bob"}');
    const expected = [ada, { name: 'Bob' }];
    expect((await board.top(5, { window: 'week' })).map((one) => one.meta)).toEqual(expected);
    expect((await board.of(['ada', 'bob'], { window: 'week' })).map((one) => one.meta)).toEqual(expected);
    const exported = [];
    for await (const entry of board.export({ window: 'week' })) exported.push(entry.meta);
    expect(exported).toEqual(expected);
  });
});
