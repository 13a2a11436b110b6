/** A group that is deleted under its consumers, and made again by one of them. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { consume } from '../../../src/streams/consumer/consume.ts';
import { revive } from '../../../src/streams/consumer/scripts.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { add, anyStream, groupKeys, ownedProcesses, pending, QUICK } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
const stream = anyStream();
let server: TestServer;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

test.each([
  ['are tried again', 3, 0],
  ['become dead letters', 1, 2],
] as const)('what fails at the consumer that did not make it again: its entries %s', async (_what, attempts, dead) => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const hold = gate();
  const failed: unknown[] = [];
  const done: number[] = [];
  const busy = consume(stream, { ...QUICK, attempts, lease: '20s', concurrency: 2 }, async (data) => {
    if (failed.includes(data)) return void done.push(Number(data));
    failed.push(data);
    await hold.opened;
    throw new Error('no');
  });
  await start([busy], on);
  const [, last = ''] = await add(redis, on.keys, 1, 2);
  await eventually(() => expect(failed).toHaveLength(2));
  await revive(redis, groupKeys(), { group: 'g', consumer: 'nobody', last: '0', ids: [] }); // The server knows the script.
  const { entries, retries, tokens } = on.keys;
  const again = await redis
    .multi()
    .xgroup('DESTROY', entries, 'g')
    .evalsha(revive.sha, 3, entries, retries, tokens, 'g', 'other', last)
    .exec();
  expect(again?.[1]).toEqual([null, [1, 0]]);
  hold.open();
  await eventually(() => expect(done.toSorted((one, other) => one - other)).toEqual(dead > 0 ? [] : [1, 2]));
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(dead));
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test.each(['0', '$'])(
  'it goes on where it was after all consumers had left, whatever startAt says: %s',
  async (startAt) => {
    const on = { redis: { url: server.url }, keys: groupKeys() };
    const seen: unknown[] = [];
    const definition = consume(stream, { ...QUICK, startAt }, (data) => void seen.push(data));
    const { consumer } = await start([definition], on);
    await eventually(async () => expect(await redis.hget(on.keys.tokens, '~last')).toBe('0-0'));
    await add(redis, on.keys, 1, 2);
    await eventually(() => expect(seen).toEqual([1, 2]));
    const last = (await redis.xrevrange(on.keys.entries, '+', '-', 'COUNT', 1))[0]?.[0];
    await eventually(async () => expect(await redis.hget(on.keys.tokens, '~last')).toBe(last));
    await consumer.stop(500);
    await redis.xgroup('DESTROY', on.keys.entries, 'g');
    await add(redis, on.keys, 3);
    await start([definition], on);
    await eventually(() => expect(seen).toEqual([1, 2, 3]));
  },
);

test('what somebody else has acknowledged while it failed is told, and not tried again', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const hold = gate();
  let calls = 0;
  const definition = consume(stream, QUICK, async () => {
    calls++;
    await hold.opened;
    throw new Error('no');
  });
  const { lines } = await start([definition], on);
  const [id = ''] = await add(redis, on.keys, 1);
  await eventually(() => expect(calls).toBe(1));
  await redis.xack(on.keys.entries, 'g', id);
  hold.open();
  await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('pending for nobody'))).toBe(true));
  expect(calls).toBe(1);
  expect(await redis.exists(on.keys.attempts, on.keys.retries)).toBe(0);
});

test('a server that came back empty while a consumer was out of its group: what was published meanwhile is worked on', async () => {
  const proxy = own(await startProxy(server.port));
  const on = { redis: { url: proxy.url, commandTimeout: 300 }, keys: groupKeys() };
  const seen: unknown[] = [];
  const definition = consume(stream, { ...QUICK, startAt: '$' }, (data) => void seen.push(data));
  const { consumer } = await start([definition], on);
  await add(redis, on.keys, 1);
  await eventually(() => expect(seen).toEqual([1]));
  proxy.freeze();
  proxy.cut();
  await eventually(() => expect(consumer.ready()).toContain('lease')); // It has to enter its group anew.
  await redis.del(Object.values(on.keys).filter((key) => key.startsWith(on.keys.prefix)));
  await add(redis, on.keys, 2);
  proxy.restore();
  proxy.cut();
  await eventually(() => expect(seen).toEqual([1, 2]));
});
