/** What could tear a transaction on Redis, and does not. */
import { describe, expect, test } from 'vitest';
import type { Step } from '../../../src/jobs/transactions.ts';
import { startForFile } from '../../contract/topologies.ts';
import { clientsOf } from '../../support/client-list.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis } from '../../support/servers.ts';
import { Graves } from './graves.ts';

const own = ownedByTest();

/** Does something at a step, the first times that it comes. */
function once(at: Step, act: () => Promise<unknown>, times = 1): (step: Step) => Promise<void> {
  let left = times;
  return async (step) => {
    if (step !== at || left === 0) return;
    left--;
    await act();
  };
}

describe('a move', () => {
  test.each(['read', 'ready'] as const)('whose connection is lost at "%s" begins anew', async (step) => {
    const server = own(await startRedis());
    const killAll = () => server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    const all = own(new Graves({ url: server.url }, { onStep: once(step, killAll) }));
    await all.fail({ id: 'a' });
    expect(await all.mover.moved('mail', 'a')).toBe('moved');
    expect(await all.states()).toEqual({ failed: [], waiting: [], dead: ['a~0'] });
  });

  test('of a job that comes back while its connection is lost does not take it away', async () => {
    const server = own(await startRedis());
    const all: Graves = own(
      new Graves(
        { url: server.url },
        {
          onStep: once('ready', async () => {
            // What was watched is forgotten with the connection; on a new one the EXEC would not know of the retry.
            await (await all.queues.get('mail').queue.getJob('a'))?.retry('failed');
            await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
          }),
        },
      ),
    );
    await all.fail({ id: 'a' });
    expect(await all.mover.moved('mail', 'a')).toBe('gone');
    expect(await all.states()).toEqual({ failed: [], waiting: ['a'], dead: [] });
  });

  test('whose answer is lost is told as done', async () => {
    const server = own(await startRedis());
    let isFirst = true;
    const moved: string[] = [];
    const all = own(
      new Graves(
        { url: server.url },
        {
          onMoved: ({ id }) => moved.push(id),
          onStep: async (step) => {
            if (step !== 'done' || !isFirst) return;
            isFirst = false;
            throw new Error('Connection is closed.');
          },
        },
      ),
    );
    await all.fail({ id: 'a' });
    expect(await all.mover.moved('mail', 'a')).toBe('moved');
    expect(moved).toEqual(['a~0']);
    isFirst = true;
    expect(await all.letters.redrive('a~0')).toMatchObject({ redriven: 1, skipped: [] });
    expect((await all.states()).waiting).toEqual(['a']);
  });

  test('on a server that has forgotten the scripts loses nothing', async () => {
    const server = own(await startRedis());
    const forget = () => server.ask((redis) => redis.script('FLUSH'));
    const all = own(new Graves({ url: server.url }, { onStep: once('ready', forget, 100) }));
    for (const id of ['a', 'b', 'c']) {
      await all.fail({ id });
      expect(await all.mover.moved('mail', id)).toBe('moved');
    }
    expect((await all.states()).dead).toEqual(['c~0', 'b~0', 'a~0']);
    expect(await all.letters.redrive({})).toMatchObject({ redriven: 3 });
    expect((await all.states()).waiting).toEqual(['c', 'b', 'a']);
  });

  test('that somebody breaks again and again is left to the reconciler, and holds up no other', async () => {
    const server = own(await startRedis());
    const all: Graves = own(
      new Graves(
        { url: server.url },
        {
          onStep: async (step) => {
            if (step === 'ready')
              await all.queues
                .get('mail')
                .queue.getJob('a')
                .then((job) => job?.updateProgress(1));
          },
        },
      ),
    );
    for (const id of ['a', 'b', 'c']) await all.fail({ id });
    expect(await Promise.all(['a', 'b', 'c'].map((id) => all.mover.moved('mail', id)))).toEqual([
      'left',
      'moved',
      'moved',
    ]);
    expect(await all.states()).toEqual({ failed: ['a'], waiting: [], dead: ['c~0', 'b~0'] });
  });

  test('of a job that cannot be read is left, and holds up no other', async () => {
    const server = own(await startRedis());
    const all = own(new Graves({ url: server.url }));
    for (const id of ['a', 'b', 'c']) await all.fail({ id });
    await all.queues.client.hset(all.queues.get('mail').key('b'), 'opts', 'no JSON');
    const outcomes = await Promise.all(['a', 'b', 'c'].map((id) => all.mover.moved('mail', id)));
    expect(outcomes).toEqual(['moved', 'left', 'moved']);
    expect(await all.states()).toEqual({ failed: ['b'], waiting: [], dead: ['c~0', 'a~0'] });
  });

  test('on a server that is out of memory keeps the job', async () => {
    const server = own(await startRedis());
    const limit = (bytes: string) => server.ask((redis) => redis.config('SET', 'maxmemory', bytes));
    const all = own(new Graves({ url: server.url }));
    await all.fail({ id: 'a', data: { blob: 'x'.repeat(1_000) } });
    await limit('1');
    expect(await all.mover.moved('mail', 'a')).toBe('left');
    await limit('0');
    expect(await all.states()).toEqual({ failed: ['a'], waiting: [], dead: [] });
    expect(await all.mover.moved('mail', 'a')).toBe('moved');
    await limit('1');
    await failureOf(all.letters.redrive('a~0'), 'REDIS_WRITES_REFUSED');
    await limit('0');
    expect(await all.states()).toEqual({ failed: [], waiting: [], dead: ['a~0'] });
  });

  test.each([
    ['with', true, ['job']],
    ['without', false, []],
  ] as const)(
    'on a server whose memory runs out right before EXEC: %s the command that does nothing',
    async (_with, isGuarded, left) => {
      const server = own(await startRedis());
      const keys = await server.ask(async (redis) => {
        await redis.set('job', 'x'.repeat(1_000));
        await redis.multi({ pipeline: false });
        if (isGuarded) await redis.lpushx('nothing', '');
        await redis.eval("return redis.call('SET', KEYS[1], 'letter')", 1, 'letter');
        await redis.eval("return redis.call('DEL', KEYS[1])", 1, 'job');
        await server.ask((other) => other.config('SET', 'maxmemory', '1'));
        await redis.exec().catch(() => undefined);
        return redis.scan('0').then(([, found]) => found);
      });
      expect(keys).toEqual(left);
    },
  );

  test('while Redis is down is left, and the next one moves on a new connection', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const all = own(new Graves({ url: server.url }));
    await all.fail({ id: 'a' });
    await all.fail({ id: 'b' });
    await all.mover.moved('mail', 'a');
    await server.kill();
    expect(await all.mover.moved('mail', 'b')).toBe('left');
    await server.startAgain();
    expect(await all.mover.moved('mail', 'b')).toBe('moved');
    expect((await all.states()).dead).toEqual(['b~0', 'a~0']);
    const names = (await clientsOf(server)).map(({ name }) => name.split(':')[1]);
    expect(names.filter((name) => name === 'transaction')).toHaveLength(1);
  });
});

describe.each(['sentinel', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);

  test('a move after a failover goes to the new master', { timeout: 60_000 }, async () => {
    const all = own(new Graves(running().redis));
    await all.fail({ id: 'a' });
    expect(await all.mover.moved('mail', 'a')).toBe('moved');
    for (const server of running().servers) await server.ask((redis) => redis.wait(1, 500).catch(() => 0));
    await running().failOver(all.queues.keys.queuePrefix('mail'));
    // What the old master accepted in its last moments is gone with it.
    await eventually(() => all.fail({ id: 'b' }), 20_000);
    expect(await all.mover.moved('mail', 'b')).toBe('moved');
    expect((await all.states()).dead).toContain('b~0');
  });
});
