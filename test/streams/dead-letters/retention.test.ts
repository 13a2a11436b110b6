/** Dead letters do not grow without bound: the oldest go, told of before and after. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMetrics } from '../../../src/metrics/registry.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import type { KeepLetters } from '../../../src/streams/contract.ts';
import { consume } from '../../../src/streams/consumer/consume.ts';
import { LetterRetention } from '../../../src/streams/dead-letters/retention.ts';
import { createStreamKeys } from '../../../src/streams/keys.ts';
import { createLetterMetrics } from '../../../src/streams/streams-metrics.ts';
import { eventually } from '../../support/eventually.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../../support/servers.ts';
import { createScene, failureOf, idsOf, notes } from '../scene.ts';

let server: TestServer;
let cluster: TestCluster;
beforeAll(async () => {
  [server, cluster] = await Promise.all([startRedis(), startCluster({ replicas: false })]);
});
afterAll(() => Promise.all([server.stop(), cluster.stop()]));
const own = ownedByTest();

const DAY = 86_400_000;

describe.each<[string, () => RedisOptions]>([
  ['a single server', () => ({ url: server.url })],
  ['a Cluster', () => ({ cluster: cluster.addresses })],
])('on %s', (_what, redis) => {
  /** A group, letters of it that died so long ago, and processes that look after them. */
  async function graves(deadLetters: KeepLetters, prefix?: string) {
    const it = createScene(own, redis(), prefix === undefined ? {} : { prefix });
    const contract = notes({ deadLetters });
    const { dead } = it.keysOf(contract).group('billing');
    const [seconds] = await it.client.time();
    let last = 0;
    const bury = async (count: number, agoMs = 0): Promise<string[]> => {
      const ids = Array.from({ length: count }, () => `${Number(seconds) * 1_000 - agoMs}-${++last}`);
      for (const id of ids) await it.client.xadd(dead, id, 'id', id, 'data', '{"n":1}');
      return ids;
    };
    const process = (connections = it.connections) => {
      const lines = collectLog();
      const metrics = createMetrics();
      const retention = new LetterRetention({
        connections,
        keys: createStreamKeys(it.prefix),
        log: lines.log,
        meter: createLetterMetrics(metrics),
      });
      own({ stop: async () => retention.stop() });
      const counted = async (name: string, limit: string): Promise<number> => {
        const labels = `{stream="${contract.name}",group="billing",limit="${limit}"}`;
        const [, value] = (await metrics.render()).split(`millrace_streams_dead_letters_${name}_total${labels} `);
        return Number.parseInt(value ?? '0', 10);
      };
      return { retention, lines, counted, look: () => retention.look(contract, 'billing') };
    };
    return { ...it, contract, dead, bury, process, left: () => idsOf(it.client, dead) };
  }

  test('beyond their number the oldest go, and it is told before and after', async () => {
    const { bury, process, left } = await graves({ count: 10 });
    const { look, lines, counted } = process();
    await bury(7);
    await look();
    expect(lines.warnings()).toEqual([]);
    const ids = await bury(1);
    await look();
    expect(lines.warnings()).toMatchObject([{ group: 'billing', limit: 'count', letters: 8 }]);
    expect(await left()).toHaveLength(8);
    ids.push(...(await bury(2_500)));
    await look();
    expect(await left()).toEqual(ids.slice(-10));
    expect([await counted('near_limit', 'count'), await counted('dropped', 'count')]).toEqual([2, 2_498]);
    expect(await counted('near_limit', 'age')).toBe(0);
    expect(lines.warnings().slice(1)).toMatchObject([{ group: 'billing', dropped: { age: 0, count: 2_498 } }]);
  });

  test('those that are too old go by the clock of the server', async () => {
    const { bury, process, left } = await graves({ age: '30d' });
    const { look, lines, counted } = process();
    await bury(1_700, 31 * DAY);
    await bury(40, 30 * DAY + 1);
    const kept = await bury(3, 28.5 * DAY);
    await look();
    expect(await left()).toEqual(kept);
    expect([await counted('near_limit', 'age'), await counted('dropped', 'age')]).toEqual([1, 1_740]);
    expect(lines.warnings()).toMatchObject([{ limit: 'age', letters: 1_743 }, { dropped: { age: 1_740, count: 0 } }]);
    await look();
    expect([await left(), await counted('near_limit', 'age'), lines.warnings().length]).toEqual([kept, 1, 2]);
  });

  test('the last day of the oldest is told of, once an hour in the log and with each look as a metric', async () => {
    const { bury, process, left } = await graves({ age: '30d' });
    const { look, lines, counted } = process();
    await bury(1, 29.5 * DAY);
    await look();
    await look();
    expect(lines.warnings()).toMatchObject([{ limit: 'age', letters: 1 }]);
    expect(await counted('near_limit', 'age')).toBe(2);
    expect(await left()).toHaveLength(1);
  });

  test('without bounds nothing goes, and nothing is told', async () => {
    const { bury, process, left } = await graves({ count: false, age: false });
    const { look, lines } = process();
    const ids = await bury(30, 400 * DAY);
    await look();
    expect([await left(), lines.warnings()]).toEqual([ids, []]);
  });

  test('processes that look at once drop what is beyond, and no more', async () => {
    const { bury, process, left, prefix } = await graves({ count: 100 });
    const others = [1, 2].map(() => createScene(own, redis(), { prefix }).connections);
    const ids = await bury(3_000);
    const processes = [process(), ...others.map((connections) => process(connections))];
    await Promise.all(processes.map(({ look }) => look()));
    expect(await left()).toEqual(ids.slice(-100));
    const dropped = await Promise.all(processes.map(({ counted }) => counted('dropped', 'count')));
    expect(dropped.reduce((sum, one) => sum + one)).toBe(2_900);
  });

  test('a process that consumes a group looks after its letters by itself, and after those of no other', async () => {
    const { streams, contract, bury, left, keysOf, client } = await graves({ count: 5 });
    const { dead } = keysOf(contract).group('search');
    await client.xadd(dead, '1-0', 'id', '1-0', 'data', '{"n":1}');
    const ids = await bury(50);
    await streams.run([consume(contract, { group: 'billing', lease: '20s' }, () => undefined)]);
    await eventually(async () => expect(await left()).toEqual(ids.slice(-5)));
    expect(await client.xlen(dead)).toBe(1);
  });

  test('a letter that is dropped while it is redriven is redriven or dropped', async () => {
    const { streams, contract, bury, process, left, client, keysOf } = await graves({ count: 20 });
    await streams.createGroup(contract, 'billing');
    await bury(500);
    const { look, counted } = process();
    const [{ redriven }] = await Promise.all([streams.deadLetters(contract, 'billing').redrive({}), look()]);
    const letters = (await left()).length;
    expect(redriven + (await counted('dropped', 'count')) + letters).toBe(500);
    expect(await client.xlen(keysOf(contract).entries)).toBe(redriven);
  });
});

test('while Redis is down a look drops nothing and does not throw; the next one goes on', async () => {
  const alone = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const { client, connections, keysOf, prefix } = createScene(own, { url: alone.url, commandTimeout: 500 });
  const contract = notes({ deadLetters: { count: 1, age: false } });
  const { dead } = keysOf(contract).group('billing');
  for (const id of ['1-0', '2-0', '3-0']) await client.xadd(dead, id, 'data', '{"n":1}');
  const lines = collectLog();
  const retention = new LetterRetention({
    connections,
    keys: createStreamKeys(prefix),
    log: lines.log,
    meter: createLetterMetrics(undefined),
  });
  await alone.kill();
  await retention.look(contract, 'billing');
  expect(lines.all()).toMatchObject([{ group: 'billing', err: { code: expect.stringMatching(/^REDIS_/) } }]);
  await alone.startAgain();
  await eventually(async () => {
    await retention.look(contract, 'billing');
    expect(await idsOf(client, dead)).toEqual(['3-0']);
  });
  retention.stop();
});

test('when the answer to a drop is lost, the log says that letters may be gone', async () => {
  const proxy = own(await startProxy(server.port));
  const { connections, client, prefix, keysOf } = createScene(own, { url: proxy.url, commandTimeout: 500 });
  const contract = notes({ deadLetters: { count: 1, age: false } });
  const { dead } = keysOf(contract).group('billing');
  for (const id of ['1-0', '2-0', '3-0']) await client.xadd(dead, id, 'data', '{"n":1}');
  const lines = collectLog();
  // The warning comes between the look and the drop.
  const meter = () => ({ nearLimit: () => proxy.loseAnswers(), dropped: () => undefined });
  const retention = new LetterRetention({ connections, keys: createStreamKeys(prefix), log: lines.log, meter });
  await retention.look(contract, 'billing');
  expect(lines.warnings()).toMatchObject([
    { limit: 'count', letters: 3 },
    { group: 'billing', err: { code: 'REDIS_TIMEOUT' }, msg: expect.stringContaining('may have been dropped') },
  ]);
  expect(await server.ask((redis) => redis.xlen(dead))).toBe(1);
});

test('bounds are 30 days and 100,000 letters of a group unless the contract says otherwise', async () => {
  expect(notes().deadLetters).toEqual({ count: 100_000, ageMs: 30 * DAY });
  expect(notes({ deadLetters: { age: false, count: 7 } }).deadLetters).toEqual({ count: 7, ageMs: undefined });
  expect(await failureOf(Promise.resolve().then(() => notes({ deadLetters: { count: 0 } })))).toMatchObject({
    code: 'OPTIONS_INVALID',
    message: expect.stringContaining('deadLetters.count'),
  });
});
