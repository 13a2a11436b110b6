/** The second level when Redis evicts, forgets, loses answers or goes away. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { MINUTE, openSecondLevel, shown, type TestSecondLevel } from '../support/second-level.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const open = (prefix = `t-${randomUUID()}`, url = server.url, deadlineMs = 10_000): TestSecondLevel =>
  own(openSecondLevel({ url }, { prefix, deadlineMs }));

/** Removes keys as an eviction would: nobody is told. */
const evict = (prefix: string, ending: RegExp) =>
  server.ask(async (redis) => {
    const keys = (await redis.keys(`${prefix}:cache:*`)).filter((key) => ending.test(key));
    expect(keys.length).toBeGreaterThan(0);
    await redis.del(keys);
  });

describe('an evicted version', () => {
  test.each([
    ['of the namespace', /\{n\/\d+\}:e$/],
    ['of a tag, when it is asked for', /\{n\/\d+\}:(t:t|g)$/],
  ])('%s makes its values invalid, and no later version brings them back', async (_what, ending) => {
    const prefix = `t-${randomUUID()}`;
    const { level } = open(prefix);
    await level.set('n', 'k', 'old', { ...MINUTE, tags: ['t', 'u'] });
    await evict(prefix, ending);
    expect(shown(await level.read('n', 'k'))).toBe('missing');
    // Others of the bucket make the version anew.
    const others = Array.from({ length: 200 }, (_, index) => ({ key: `k${index}`, value: 1 }));
    await level.setMany('n', others, { ...MINUTE, tags: ['t', 'u'] });
    expect(shown(await level.read('n', 'k'))).toBe('missing');
    expect(await level.lease('n', 'k', ['t'], 3_000)).toMatchObject({ status: 'granted', found: undefined });
  });

  test('of a tag is no way around its invalidation', async () => {
    const prefix = `t-${randomUUID()}`;
    const { level } = open(prefix);
    await level.set('n', 'k', 'old', { ...MINUTE, tags: ['t', 'u'] });
    await evict(prefix, /:t:t$/);
    await level.invalidateTags('n', ['t']);
    expect(shown(await level.read('n', 'k'))).toBe('missing');
  });

  test('of the generation alone costs a look at the tags', async () => {
    const prefix = `t-${randomUUID()}`;
    const { level } = open(prefix);
    await level.set('n', 'k', 'kept', { ...MINUTE, tags: ['t', 'u'] });
    await evict(prefix, /:g$/);
    expect(shown(await level.read('n', 'k'))).toBe('kept');
    expect(shown(await level.read('n', 'k'))).toBe('kept');
    await level.invalidateTags('n', ['u']);
    expect(shown(await level.read('n', 'k'))).toBe('missing');
  });

  test('during a load makes the load store nothing', async () => {
    const prefix = `t-${randomUUID()}`;
    const { level, leaseOf } = open(prefix);
    const lease = await leaseOf('n', 'k', ['t']);
    await evict(prefix, /:t:t$/);
    expect(await lease.store(1, { ...MINUTE, tags: ['t'] })).toBe('superseded');
    expect(shown(await level.read('n', 'k'))).toBe('missing');
  });
});

describe('a lost answer', () => {
  test('does no harm: the same call again says the same', async () => {
    const { level, leaseOf } = open();
    const first = await level.lease('n', 'k', ['t'], 3_000, { token: 'abcdefghijkl' });
    const again = await level.lease('n', 'k', ['t'], 3_000, { token: 'abcdefghijkl' });
    expect([first.status, again.status]).toEqual(['granted', 'granted']);
    const lease = first.status === 'granted' ? first.lease : await leaseOf('n', 'k');
    const how = { ...MINUTE, tags: ['t'] };
    await lease.capture(['u']);
    expect([await lease.store(1, how), await lease.store(1, how)]).toEqual(['stored', 'stored']);
    await level.set('n', 'k', 2, how);
    expect(await lease.store(1, how)).toBe('superseded');
    expect(shown(await level.read('n', 'k'))).toBe(2);
  });

  test('of a lease fails within the deadline, and gives the lease back when the server is heard again', async () => {
    const proxy = own(await startProxy(server.port));
    const prefix = `t-${randomUUID()}`;
    const behind = open(prefix, proxy.url, 300);
    const { level, leaseOf } = open(prefix);
    await (await leaseOf('n', 'other')).fail(0); // The server knows the scripts.
    await behind.level.read('n', 'k');
    proxy.loseAnswers();
    const start = performance.now();
    await failureOf(behind.level.lease('n', 'k', [], 60_000), 'REDIS_TIMEOUT');
    expect(performance.now() - start).toBeLessThan(5_000);
    // The answers are lost, the commands are not: also not the one that gives it back.
    const lease = await eventually(() => leaseOf('n', 'k'));
    expect(await lease.store(1, MINUTE)).toBe('stored');
    expect(shown(await level.read('n', 'k'))).toBe(1);
    proxy.restore();
  });
});

test('a server that is away fails every read of the tick, and is asked again when it is back', async () => {
  const proxy = own(await startProxy(server.port));
  const { level } = open(undefined, proxy.url, 400);
  await level.set('n', 'k', 1, MINUTE);
  proxy.freeze();
  const failures = await Promise.all(['k', 'l', 'm'].map((key) => failureOf(level.read('n', key), 'REDIS_TIMEOUT')));
  expect(failures).toHaveLength(3);
  proxy.restore();
  proxy.cut();
  await eventually(async () => expect(shown(await level.read('n', 'k'))).toBe(1));
});

test('a server that takes no writes still gives what it has, also after an invalidation of another tag', async () => {
  const full = own(await startRedis());
  const { level } = open(undefined, full.url);
  await level.set('n', 'k', 1, { ...MINUTE, tags: ['t'] });
  await level.invalidateTags('n', ['other']);
  await full.ask((redis) => redis.config('SET', 'maxmemory', '1'));
  await failureOf(level.set('n', 'l', 1, MINUTE), 'REDIS_WRITES_REFUSED');
  expect(shown(await level.read('n', 'k'))).toBe(1);
  expect(shown(await level.read('n', 'k'))).toBe(1);
  expect(await level.delete('n', ['k'])).toBe(1);
});

test('a restart of the server forgets values and scripts, and nothing else', async () => {
  const other = own(await startRedis());
  const { level, leaseOf } = open(undefined, other.url);
  const lease = await leaseOf('n', 'k', ['t']);
  await other.restart();
  await eventually(async () => expect(shown(await level.read('n', 'k'))).toBe('missing'));
  expect(await lease.store('of before', { ...MINUTE, tags: ['t'] })).toBe('superseded');
  const next = await leaseOf('n', 'k', ['t']);
  expect(await next.store('of after', { ...MINUTE, tags: ['t'] })).toBe('stored');
  expect(shown(await level.read('n', 'k'))).toBe('of after');
});
