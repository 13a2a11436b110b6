/** Redis down, frozen, full, forgetful; and a cache that cannot be told. */
import { describe, expect, test } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis } from '../../support/servers.ts';
import { behindOf, MemoryCache, MemoryStore } from './scene.ts';

const own = ownedByTest();

describe('Redis', () => {
  test('that is down makes set() throw and get() load; what was accepted is saved when it is back', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const store = new MemoryStore<number>();
    const { log, warnings } = collectLog();
    const { behind } = behindOf(own, { url: server.url, commandTimeout: 500 });
    const numbers = behind(store.bulk(), {}, { log });
    await numbers.set('a', 1);
    await server.kill();
    numbers.start();
    await expect(numbers.set('a', 2)).rejects.toMatchObject({ name: 'MillraceError' });
    expect(await numbers.get('a')).toBeUndefined();
    expect(store.loaded).toEqual(['a']);
    await eventually(() => expect(warnings().length).toBeGreaterThan(0));
    await server.startAgain();
    await eventually(() => expect(store.values.get('a')).toBe(1), 15_000);
    await numbers.set('a', 3);
    await numbers.flush();
    expect(store.values.get('a')).toBe(3);
    expect(warnings()).toHaveLength(1);
  });

  test('that is down makes get() throw where that was asked for', async () => {
    const server = own(await startRedis());
    const { behind } = behindOf(own, { url: server.url, commandTimeout: 500 });
    const numbers = behind(new MemoryStore<number>().bulk(), { onOutage: 'throw' });
    expect(await numbers.get('a')).toBeUndefined();
    await server.kill();
    await expect(numbers.get('a')).rejects.toMatchObject({ name: 'MillraceError' });
  });

  test('that is frozen does not hold up readers for long', async () => {
    const server = own(await startRedis());
    const { behind } = behindOf(own, { url: server.url, commandTimeout: 2_000 });
    const numbers = behind(new MemoryStore<number>().bulk());
    await numbers.get('a');
    server.freeze();
    for (let n = 0; n < 5; n++) await numbers.get(`k${n}`);
    const { ms } = await timed(numbers.get('z'));
    server.thaw();
    expect(ms).toBeLessThan(200);
  });

  test('that forgets its scripts is told them again', async () => {
    const server = own(await startRedis());
    const store = new MemoryStore<number>();
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk());
    numbers.start();
    for (let n = 0; n < 5; n++) {
      await server.ask((redis) => redis.script('FLUSH'));
      await numbers.set('a', n);
      await server.ask((redis) => redis.script('FLUSH'));
      await numbers.flush();
    }
    expect(store.asked.map(({ value }) => value)).toEqual([0, 1, 2, 3, 4]);
  });

  test('that is full still lets go of what is saved, also by a process that has just come', async () => {
    const server = own(await startRedis());
    const store = new MemoryStore<string>();
    const { behind } = behindOf(own, { url: server.url });
    const texts = behind(store.bulk(), { batchSize: 50 });
    for (let n = 0; n < 20; n++) {
      await texts.setMany(Array.from({ length: 50 }, (_, m) => [`k${n}-${m}`, 'x'.repeat(1_000)] as const));
    }
    await server.ask((redis) => redis.config('SET', 'maxmemory', '1mb'));
    const error = await texts.set('one more', 'x').then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'REDIS_WRITES_REFUSED' });
    texts.start();
    await eventually(() => expect(store.values.size).toBe(1_000), 10_000);
    expect(await texts.pending()).toMatchObject({ pending: 0 });
  });

  test('whose answer to a set() is lost has the change all the same, and the store gets it', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const store = new MemoryStore<number>();
    const { behind, prefix } = behindOf(own, { url: server.url });
    const far = behindOf(own, { url: proxy.url, commandTimeout: 300 });
    const writer = far.behind(store.bulk(), {}, { prefix });
    await writer.set('a', 1);
    proxy.loseAnswers();
    await failureOf(writer.set('a', 2), 'REDIS_TIMEOUT');
    const saver = behind(store.bulk());
    saver.start();
    await saver.flush();
    expect(store.values.get('a')).toBe(2);
    proxy.restore();
    proxy.cut();
  });
});

describe('a cache that cannot be told', () => {
  test('is told until it can be', async () => {
    const server = own(await startRedis());
    const store = new MemoryStore<number>();
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk());
    await numbers.set('a', 1);
    expect(await numbers.get('a')).toBe(1);
    numbers.cache.broken = new Error('cache down');
    await numbers.set('a', 2);
    expect(numbers.cache.values.get('a')).toBe(1);
    numbers.cache.broken = undefined;
    await eventually(async () => expect(await numbers.get('a')).toBe(2));
  });

  test('because its writer died is told by the process that saves, before it saves', async () => {
    const server = own(await startRedis());
    const store = new MemoryStore<number>();
    const { behind } = behindOf(own, { url: server.url });
    const cache = new MemoryCache();
    const saver = behind(store.bulk(), {}, { cache });
    await saver.set('a', 1);
    await saver.set('b', 1);
    expect((await saver.getMany(['a', 'b'])).size).toBe(2);
    // As if it had died between the two: its cache is not the one that readers have.
    const dying = new MemoryCache();
    dying.broken = new Error('killed');
    const writer = behind(store.bulk(), {}, { cache: dying });
    await writer.set('a', 2);
    cache.deleted.length = 0;
    saver.start();
    await saver.flush();
    expect(cache.deleted).toEqual(['a']);
    expect([await saver.get('a'), await saver.get('b')]).toEqual([2, 1]);
    expect(store.loaded).toEqual(['a']);
  });
});
