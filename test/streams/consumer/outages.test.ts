/** A consumer whose Redis is down, frozen, full, or loses its answers. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { consume } from '../../../src/streams/consumer/consume.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
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

test('an outage of seconds, shorter than the lease: it reads again once Redis is back', async () => {
  const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const on = { redis: { url: server.url, commandTimeout: 500 }, keys: groupKeys() };
  const seen: unknown[] = [];
  const { consumer } = await start([consume(stream, { ...QUICK, lease: '60s' }, (data) => void seen.push(data))], on);
  await server.ask((redis) => add(redis as never, on.keys, 1));
  await eventually(() => expect(seen).toEqual([1]));
  await server.kill();
  await systemClock.sleep(9_000); // Longer than any read may be without an answer.
  await server.startAgain();
  await server.ask((redis) => add(redis as never, on.keys, 2));
  await eventually(() => expect(seen).toEqual([1, 2]), 15_000);
  await eventually(() => expect(consumer.ready()).toBeUndefined());
}, 40_000);

describe('an outage longer than the lease', () => {
  test('what was done meanwhile is not done again', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const on = { redis: { url: server.url, commandTimeout: 300 }, keys: groupKeys() };
    const hold = gate();
    const seen: unknown[] = [];
    const { consumer, lines } = await start(
      [
        consume(stream, QUICK, async (data) => {
          seen.push(data);
          if (data === 1) await hold.opened;
        }),
      ],
      on,
    );
    await server.ask((redis) => add(redis as never, on.keys, 1));
    await eventually(() => expect(seen).toEqual([1]));
    await server.kill();
    hold.open();
    await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('lost its lease'))).toBe(true));
    await systemClock.sleep(1_000); // Longer than what it then still tries.
    await server.startAgain();
    await server.ask((redis) => add(redis as never, on.keys, 2));
    await eventually(() => expect(seen).toEqual([1, 2]), 15_000);
    await eventually(async () => expect(await server.ask((redis) => pending(redis as never, on.keys))).toEqual({}));
    expect((await timed(consumer.stop(1_000))).ms).toBeLessThan(1_500);
    expect(seen).toEqual([1, 2]);
  }, 40_000);

  test('stop ends within its time', async () => {
    const server = own(await startRedis());
    const on = { redis: { url: server.url, commandTimeout: 300 }, keys: groupKeys() };
    const { consumer, lines } = await start([consume(stream, { ...QUICK, grace: '5s' }, () => undefined)], on);
    await server.kill();
    await eventually(
      () => expect(lines.warnings().some(({ msg }) => msg.includes('lost its lease'))).toBe(true),
      15_000,
    );
    const { ms } = await timed(consumer.stop(1_000));
    expect(ms).toBeLessThan(1_500);
    expect(lines.warnings().filter(({ level }) => level > 40)).toEqual([]);
  });

  test('while it stops: handlers are told', async () => {
    const server = own(await startRedis());
    const on = { redis: { url: server.url, commandTimeout: 300 }, keys: groupKeys() };
    const reasons: unknown[] = [];
    const { consumer } = await start(
      [
        consume(stream, QUICK, (_data, { signal }) =>
          untilAborted(signal).catch((error: unknown) => void reasons.push((error as { code: string }).code)),
        ),
      ],
      on,
    );
    await server.ask((redis) => add(redis as never, on.keys, 1));
    await eventually(() => expect(consumer.active).toBe(1));
    server.freeze();
    const stopping = consumer.stop(4_000);
    await eventually(() => expect(reasons).toEqual(['LEASE_LOST']), 2_000);
    server.thaw();
    await stopping;
  });
});

test('connections that are closed under a consumer leave nothing unhandled', async () => {
  const server = own(await startRedis());
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  try {
    const on = { redis: { url: server.url }, keys: groupKeys() };
    const { consumer, connections } = await start([consume(stream, QUICK, () => undefined)], on);
    await connections.close();
    await eventually(() => expect(consumer.ready()).toBeDefined());
    await systemClock.sleep(1_500); // Longer than the lease, so that it has tried to join again.
    const { ms } = await timed(consumer.stop(1_000));
    expect(ms).toBeLessThan(1_500);
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
  }
});

test('a full server lets consumers into groups that are there', async () => {
  const server = own(await startRedis());
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: unknown[] = [];
  const definition = consume(stream, { ...QUICK, consumer: 'pod-1' }, (data) => void seen.push(data));
  const { consumer } = await start([definition], on);
  await consumer.stop(1_000);
  await server.ask(async (redis) => {
    await add(redis, on.keys, 1);
    await redis.config('SET', 'maxmemory', '1');
    await start([definition], on);
    await eventually(() => expect(seen).toEqual([1]));
    const { host, connections } = processOn({ url: server.url }, groupKeys().prefix);
    own(connections);
    const stopping = new AbortController();
    const starting = definition.start({ ...host, stopping: stopping.signal });
    await systemClock.sleep(300);
    stopping.abort();
    expect((await starting).ready()).toContain('maxmemory'); // Its group is not there.
  });
});

test('what Redis refuses holds up nothing else, and is told again', async () => {
  const server = own(await startRedis());
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: unknown[] = [];
  const { lines } = await start(
    [
      consume(stream, { ...QUICK, attempts: 2 }, (data, { entry }) => {
        seen.push(`${String(data)} ${entry.attempt}`);
        if (data === 'bad' || entry.attempt === 1) throw new Error('no');
      }),
    ],
    on,
  );
  await server.ask(async (redis) => {
    await redis.set(on.keys.dead, 'text');
    await add(redis, on.keys, 'bad');
    await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('Redis refuses'))).toBe(true));
    await add(redis, on.keys, 'good');
    await eventually(() => expect(seen).toEqual(['bad 1', 'bad 2', 'good 1', 'good 2']));
    await redis.del(on.keys.dead);
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
    await eventually(async () => expect(await pending(redis as never, on.keys)).toEqual({}));
  });
  expect(seen).toHaveLength(4);
  expect(lines.warnings().filter(({ msg }) => msg.includes('Redis refuses'))).toHaveLength(1);
});
