/** One caller, one key: what a loader may give, and what it may do wrong. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { LoadContext } from '../../src/cache/run-loader.ts';
import { structuredCodec } from '../../src/cache/codec.ts';
import { MillraceError } from '../../src/errors.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate, never } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** A cache, and another one with its prefix, as another process has it. */
async function pair() {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  return { cache, other };
}

describe('what a loader gives', () => {
  test.each([[0], [''], [false], [[]], [{}], ['text'], [1.5], [{ a: [1, { b: null }] }]])(
    'the value %j is kept, in memory and in Redis',
    async (value) => {
      const { cache, other } = await pair();
      let loads = 0;
      const load = () => {
        loads++;
        return value;
      };
      expect(await cache.getOrSet('key', load, { ttl: '1m' })).toEqual(value);
      expect(await cache.getOrSet('key', load, { ttl: '1m' })).toEqual(value);
      expect(await other.getOrSet('key', load, { ttl: '1m' })).toEqual(value);
      expect(await other.get('key')).toEqual(value);
      expect(loads).toBe(1);
    },
  );

  test.each([null, undefined])('%s is returned and not kept', async (nothing) => {
    const { cache } = await pair();
    let loads = 0;
    const load = () => {
      loads++;
      return nothing;
    };
    expect(await cache.getOrSet('key', load, { ttl: '1m' })).toBe(nothing);
    expect(await cache.getOrSet('key', load, { ttl: '1m' })).toBe(nothing);
    expect(await cache.get('key')).toBe(undefined);
    expect(loads).toBe(2);
  });

  test.each([null, undefined])('with a negativeTtl %s is kept so long, and reads as null', async (nothing) => {
    const { cache, other } = await pair();
    let loads = 0;
    const load = () => {
      loads++;
      return nothing;
    };
    const options = { ttl: '1m', negativeTtl: '500ms', jitter: 0 } as const;
    expect(await cache.getOrSet('key', load, options)).toBe(null);
    expect(await other.getOrSet('key', load, options)).toBe(null);
    expect(await other.get('key')).toBe(null);
    expect(loads).toBe(1);
    await pass(520);
    expect(await other.getOrSet('key', load, options)).toBe(null);
    expect(loads).toBe(2);
  });

  test('nothing takes the place of an older value, so that it is not served within its grace', async () => {
    const { cache, other } = await pair();
    const options = { ttl: 50, grace: '1m', jitter: 0 } as const;
    await cache.getOrSet('key', () => 'old', options);
    await pass(60);
    expect(await cache.getOrSet<string | undefined>('key', () => undefined, options)).toBe('old'); // And is loaded in the background.
    await eventually(async () => {
      expect(await cache.getOrSet('key', () => 'new', options)).toBe('new');
    });
    expect(await other.getOrSet('key', () => 'newer', { ...options, ttl: '1m' })).not.toBe('old');
  });

  test('5 MB are kept and given', async () => {
    const { cache, other } = await pair();
    const value = { text: 'x'.repeat(5 * 1024 * 1024) };
    expect(await cache.getOrSet('key', () => value, { ttl: '1m' })).toEqual(value);
    expect(await other.get('key')).toEqual(value);
    expect(cache.stats()).toMatchObject({ tooLarge: 0, firstLevel: { entries: 1 } });
  });

  test('a value over maxBytes is returned, not kept, counted, and told of once', async () => {
    const { log, warnings } = collectLog();
    const { cache } = await cacheOf({ redis: { url: server.url }, log });
    let loads = 0;
    const load = () => {
      loads++;
      return 'x'.repeat(1_000);
    };
    for (let round = 0; round < 3; round++) {
      expect(await cache.getOrSet('key', load, { ttl: '1m', maxBytes: 500 })).toHaveLength(1_000);
    }
    expect(loads).toBe(3);
    expect(cache.stats()).toMatchObject({ tooLarge: 3, firstLevel: { entries: 0 } });
    expect(warnings()).toMatchObject([{ key: 'key', sizeBytes: 1_002, maxBytes: 500 }]);
  });

  test('the first caller is given what later ones are: the value as it came back from its bytes, frozen', async () => {
    const { cache, other } = await pair();
    const when = new Date(0);
    const first = await cache.getOrSet<unknown>('key', () => ({ when, gone: undefined, list: [{}] }), { ttl: '1m' });
    expect(first).toEqual({ when: '1970-01-01T00:00:00.000Z', list: [{}] });
    expect(await other.get('key')).toEqual(first);
    expect(() => ((first as { list: object[] }).list[0] = {})).toThrow(TypeError);
  });

  test('a codec of its own keeps what JSON cannot', async () => {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url }, codec: structuredCodec });
    const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix, codec: structuredCodec });
    const value = { when: new Date(0), names: new Set(['a']), big: 12n };
    expect(await cache.getOrSet('key', () => value, { ttl: '1m' })).toEqual(value);
    expect(await other.get('key')).toEqual(value);
  });

  test('a value that cannot be encoded is a failure that says so, and holds nobody up', async () => {
    const { cache } = await pair();
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    await failureOf(
      cache.getOrSet('key', () => circle, { ttl: '1m' }),
      'CACHE_VALUE_INVALID',
    );
    await failureOf(
      cache.getOrSet<unknown>('key', () => () => 1, { ttl: '1m' }),
      'CACHE_VALUE_INVALID',
    );
    const { value, ms } = await timed(cache.getOrSet<unknown>('key', () => 1, { ttl: '1m' }));
    expect(value).toBe(1);
    expect(ms).toBeLessThan(1_000);
  });
});

describe('what a loader does wrong', () => {
  test.each([
    ['throws at once', () => raise()],
    ['throws later', async () => pass(5).then(raise)],
  ])('one that %s fails its callers with its own error, and the next call tries again', async (_how, load) => {
    const { cache, other } = await pair();
    await expect(cache.getOrSet('key', load, { ttl: '1m' })).rejects.toThrow('the database is down');
    const { value, ms } = await timed(other.getOrSet<unknown>('key', () => 'well', { ttl: '1m' }));
    expect(value).toBe('well');
    expect(ms).toBeLessThan(1_000);
    expect(cache.stats()).toMatchObject({ loads: 1, loadFailures: 1, loadTimeouts: 0 });
  });

  test('one that hangs is given up at the hard timeout: its signal aborts, its lease is free, its late value is dropped', async () => {
    const { cache, other } = await pair();
    const late = gate<string>();
    let signal: AbortSignal | undefined;
    const hangs = (context: LoadContext<string>) => {
      ({ signal } = context);
      return late.opened;
    };
    const { value: error, ms } = await timed(
      failureOf(cache.getOrSet('key', hangs, { ttl: '1m', hard: '100ms' }), 'CACHE_LOAD_TIMEOUT'),
    );
    expect(ms).toBeLessThan(1_000);
    expect(error.facts).toMatchObject({ key: 'key', hardMs: 100 });
    expect(signal?.reason).toBe(error);
    late.open('late');
    expect(await other.getOrSet('key', () => 'well', { ttl: '1m' })).toBe('well');
    await pass(50);
    expect(await cache.getOrSet('key', () => 'again', { ttl: '1m' })).toBe('well');
    expect(cache.stats()).toMatchObject({ loadFailures: 1, loadTimeouts: 1 });
  });

  test('one that ignores its signal does not keep stop() waiting', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const waiting = failureOf(cache.getOrSet('key', never, { ttl: '1m' }), 'CLOSED');
    await eventually(() => expect(cache.stats().loads).toBe(1));
    const { ms } = await timed(cache.stop());
    expect(ms).toBeLessThan(2_000);
    await waiting;
    await failureOf(
      cache.getOrSet('key', () => 1, { ttl: '1m' }),
      'CLOSED',
    );
    await failureOf(cache.delete('key'), 'CLOSED');
  });

  test('a caller who gives up leaves the load to the others', async () => {
    const { cache } = await pair();
    const value = gate<string>();
    const mine = new AbortController();
    const left = cache.getOrSet('key', () => value.opened, { ttl: '1m', signal: mine.signal });
    const stays = cache.getOrSet('key', () => value.opened, { ttl: '1m' });
    mine.abort(new MillraceError('JOB_CANCELLED', 'enough', {}));
    await failureOf(left, 'JOB_CANCELLED');
    value.open('there');
    expect(await stays).toBe('there');
  });
});

describe('what a loader says', () => {
  test('a TTL of its own is kept to, and a tier by its name', async () => {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url }, tiers: { short: { ttl: '30s' } } });
    await cache.getOrSet('a', ({ ttl }) => (ttl('20s'), 1), { ttl: '1m', jitter: 0 });
    await cache.getOrSet('b', ({ ttl }) => (ttl('short'), 1), { ttl: '1m', jitter: 0 });
    const left = await server.ask(async (redis) => {
      const keys = (await redis.keys(`${prefix}:*`)).filter((key) => key.includes(':v:')).toSorted();
      return Promise.all(keys.map((key) => redis.pttl(key)));
    });
    expect(left.toSorted((a, b) => a - b).map((ms) => Math.ceil(ms / 1_000))).toEqual([20, 30]);
    await failureOf(
      cache.getOrSet('c', ({ ttl }) => (ttl('shrot'), 1), { ttl: '1m' }),
      'OPTIONS_INVALID',
    );
  });

  test('tags that it adds count', async () => {
    const { cache, other } = await pair();
    await cache.getOrSet('key', async ({ tags }) => (await tags('late'), 1), { ttl: '1m' });
    expect(await other.get('key')).toBe(1);
    await other.invalidateTags('late');
    expect(await other.get('key')).toBe(undefined);
  });
});

const loadFitting = () => ({ name: 'new', size: 1 });

describe('a schema', () => {
  const schema = z.object({ name: z.string(), size: z.coerce.number() });
  type Sized = z.infer<typeof schema>;
  const loadText = () => ({ name: 'a', size: '7', more: 1 }) as unknown as Sized;
  const loadWrong = () => ({ name: 1 }) as unknown as Sized;

  test('what it makes of a value is the value, for the first caller too', async () => {
    const { cache, other } = await pair();
    expect(await cache.getOrSet('key', loadText, { ttl: '1m', schema })).toEqual({ name: 'a', size: 7 });
    expect(await other.getOrSet('key', loadText, { ttl: '1m', schema })).toEqual({ name: 'a', size: 7 });
  });

  test('a kept value that does not fit, such as that of an older version, is loaded again, once', async () => {
    const { cache, other } = await pair();
    await cache.set('key', { title: 'old' }, { ttl: '1m' });
    let loads = 0;
    const load = () => {
      loads++;
      return { name: 'new', size: 1 };
    };
    const options = { ttl: '1m', schema } as const;
    const all = await Promise.all([other.getOrSet('key', load, options), other.getOrSet('key', load, options)]);
    expect(all).toEqual([
      { name: 'new', size: 1 },
      { name: 'new', size: 1 },
    ]);
    expect(loads).toBe(1);
    expect(other.stats().misfits).toBe(1);
    expect(await cache.get('key')).toEqual({ name: 'new', size: 1 });
  });

  test('a value that was read without it is not given from memory to who names it', async () => {
    const { cache, other } = await pair();
    await other.get('fits'); // It hears from then on.
    await cache.setMany(Object.entries({ fits: loadText(), wrong: { title: 'old' } }), { ttl: '1m' });
    await eventually(() => expect(other.stats().heard).toBe(2)); // Messages of the two would drop them.
    expect(await other.getMany(['fits', 'wrong'])).toEqual([loadText(), { title: 'old' }]);
    expect([other.peek('fits'), other.peek('wrong')]).toEqual([loadText(), { title: 'old' }]);
    const options = { ttl: '1m', schema } as const;
    expect(await other.getOrSet('fits', loadFitting, options)).toEqual({ name: 'a', size: 7 });
    expect(await other.getOrSet('wrong', loadFitting, options)).toEqual(loadFitting());
    expect(other.stats().misfits).toBe(1);
    // From then on memory has what the schema has made.
    expect(other.peek('fits')).toEqual({ name: 'a', size: 7 });
  });

  test('a loader whose value does not fit fails, with every fault named', async () => {
    const { cache } = await pair();
    const error = await failureOf(cache.getOrSet('key', loadWrong, { ttl: '1m', schema }), 'CACHE_VALUE_INVALID');
    expect(error.message).toMatch(/name.*size/s);
    expect(await cache.get('key')).toBe(undefined);
  });
});

function raise(): never {
  throw new TypeError('the database is down');
}
