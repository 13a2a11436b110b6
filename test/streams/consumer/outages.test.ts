/** A consumer whose Redis is down, frozen, full, or loses its answers. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { consume } from '../../../src/streams/consumer/consume.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate, untilAborted } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { freePort, startRedis } from '../../support/servers.ts';
import { bury, putBack } from '../../../src/streams/consumer/scripts.ts';
import { add, anyStream, consumers, groupKeys, ownedProcesses, pending, processOn, QUICK } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
const stream = anyStream();

test('it starts once Redis is there, and throws for what waiting does not mend', async () => {
  const server = own(await startRedis());
  const keys = groupKeys();
  const proxy = own(await startProxy(await freePort()));
  const definition = consume(stream, QUICK, () => undefined);
  const starting = start([definition], { redis: { url: proxy.url }, keys });
  await systemClock.sleep(300);
  proxy.leadTo(server.port);
  const { consumer } = await starting;
  await eventually(() => expect(consumer.ready()).toBeUndefined());
  const other = groupKeys();
  await server.ask((redis) => redis.set(other.entries, 'text'));
  const { host, connections } = processOn({ url: server.url }, other.prefix);
  own(connections);
  await failureOf(definition.start(host), 'SCRIPT_FAILED');
});

test('it goes on by itself after Redis was away, says meanwhile that it is not ready, and what ran is done once', async () => {
  const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const on = { redis: { url: server.url, commandTimeout: 500 }, keys: groupKeys() };
  const hold = gate();
  const seen: unknown[] = [];
  const { consumer, lines } = await start(
    [
      consume(stream, { ...QUICK, lease: '20s' }, async (data) => {
        seen.push(data);
        if (data === 1) await hold.opened;
      }),
    ],
    on,
  );
  await server.ask((redis) => add(redis as never, on.keys, 1));
  await eventually(() => expect(seen).toEqual([1]));
  await server.kill();
  await eventually(() => expect(consumer.ready()).toContain('group g'));
  hold.open();
  await server.startAgain();
  await server.ask((redis) => add(redis as never, on.keys, 2));
  await eventually(() => expect(seen).toEqual([1, 2]));
  await eventually(() => expect(consumer.ready()).toBeUndefined());
  await eventually(async () => expect(await server.ask((redis) => pending(redis as never, on.keys))).toEqual({}));
  expect(seen).toEqual([1, 2]);
  expect(lines.warnings().length).toBeLessThan(10);
});

test('a lease that cannot be renewed is lost by its own clock, before Redis says so', async () => {
  const server = own(await startRedis());
  const on = { redis: { url: server.url, commandTimeout: 300 }, keys: groupKeys() };
  const reasons: unknown[] = [];
  let calls = 0;
  const { consumer } = await start(
    [
      consume(stream, { ...QUICK, lease: '700ms' }, async (_data, { signal }) => {
        if (++calls > 1) return;
        await untilAborted(signal).catch((error: unknown) => {
          reasons.push((error as { code: string }).code);
          throw error;
        });
      }),
    ],
    on,
  );
  await server.ask((redis) => add(redis as never, on.keys, 1));
  await eventually(() => expect(calls).toBe(1));
  server.freeze();
  await eventually(() => expect(reasons).toEqual(['LEASE_LOST']), 2_000);
  expect(consumer.ready()).toBeDefined();
  server.thaw();
  await eventually(() => expect(calls).toBe(2));
  await eventually(async () => expect(await server.ask((redis) => pending(redis as never, on.keys))).toEqual({}));
  expect(consumer.ready()).toBeUndefined();
});

/** A consumer behind a proxy, and a server that can be asked past it. */
async function lossy(run: (data: unknown, attempt: number) => unknown, options = {}) {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const keys = groupKeys();
  const definition = consume(stream, { ...QUICK, lease: '30s', ...options }, (data, { entry }) =>
    run(data, entry.attempt),
  );
  const process = await start([definition], { redis: { url: proxy.url, commandTimeout: 500 }, keys });
  await server.ask(async (redis) => {
    await eventually(async () => expect(await consumers(redis as never, keys)).toHaveLength(1)); // It reads.
    // The first call of a script does nothing but tell that the server does not know it.
    const nothing = { group: 'g', consumer: 'nobody', items: [] };
    await Promise.all([putBack(redis, keys, nothing), bury(redis, keys, nothing)]);
  });
  return { server, proxy, keys, ...process };
}

describe('answers that get lost', () => {
  test('of a read are found: their entries are worked on, and it is no attempt', async () => {
    const seen: Array<[unknown, number]> = [];
    const { server, proxy, keys } = await lossy((data, attempt) => void seen.push([data, attempt]));
    proxy.loseAnswers();
    await server.ask((redis) => add(redis as never, keys, 1, 2, 3));
    await eventually(async () => {
      const all = await server.ask((redis) => pending(redis as never, keys));
      expect(Object.values(all).flat().length).toBeGreaterThan(0);
    });
    proxy.restore();
    proxy.cut();
    await eventually(() =>
      expect(seen.toSorted(([left], [right]) => Number(left) - Number(right))).toEqual([
        [1, 1],
        [2, 1],
        [3, 1],
      ]),
    );
    await eventually(async () => expect(await server.ask((redis) => pending(redis as never, keys))).toEqual({}));
  });

  test.each([
    ['an acknowledgement', { attempts: 1 }, false, 0],
    ['a retry', { attempts: 3, backoff: 5 }, true, 1],
    ['a dead letter', { attempts: 1 }, true, 1],
  ] as const)('of %s are asked for again, and nothing is done twice', async (what, options, fails, dead) => {
    const attempts: number[] = [];
    const { opened, open } = gate();
    const { server, proxy, keys } = await lossy(async (_data, attempt) => {
      attempts.push(attempt);
      await opened;
      if (fails) throw new Error('no');
    }, options);
    await server.ask((redis) => add(redis as never, keys, 1));
    await eventually(() => expect(attempts).toEqual([1]));
    proxy.loseAnswers();
    open();
    // The server has done it, and the consumer does not know.
    await eventually(async () => {
      const all = await server.ask((redis) => pending(redis as never, keys));
      expect(Object.keys(all)).toEqual(what === 'a retry' ? ['~retries'] : []);
    });
    proxy.restore();
    proxy.cut();
    await eventually(async () => expect(await server.ask((redis) => redis.xlen(keys.dead))).toBe(dead));
    await eventually(async () => expect(await server.ask((redis) => pending(redis as never, keys))).toEqual({}));
    expect(attempts).toEqual(what === 'a retry' ? [1, 2, 3] : [1]);
    expect(await server.ask((redis) => redis.exists(keys.attempts, keys.retries))).toBe(0);
  });
});

test('on a full server entries are worked on and acknowledged; dead letters wait until there is room', async () => {
  const server = own(await startRedis());
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: unknown[] = [];
  await start(
    [
      consume(stream, { ...QUICK, attempts: 1, lease: '1s' }, (data) => {
        seen.push(data);
        if (data === 'bad') throw new Error('no');
      }),
    ],
    on,
  );
  await server.ask(async (redis) => {
    const before = await add(redis, on.keys, 1);
    expect(before).toHaveLength(1);
    await eventually(() => expect(seen).toEqual([1]));
    await redis
      .multi()
      .xadd(on.keys.entries, '*', 'data', '"bad"')
      .xadd(on.keys.entries, '*', 'data', '2')
      .config('SET', 'maxmemory', '1')
      .exec();
    await eventually(() => expect(seen).toEqual([1, 'bad', 2]));
    await eventually(async () => expect(Object.values(await pending(redis as never, on.keys)).flat()).toHaveLength(1));
    await systemClock.sleep(1_200); // Longer than the lease, which is renewed all the same.
    await redis.config('SET', 'maxmemory', '0');
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
    await eventually(async () => expect(await pending(redis as never, on.keys)).toEqual({}));
  });
  expect(seen).toEqual([1, 'bad', 2]);
});
