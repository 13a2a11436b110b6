/** The second level of the cache on each topology: two processes that share one Redis. */
import { randomBytes, randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { structuredCodec } from '../../src/cache/codec.ts';
import { pack } from '../../src/cache/packed.ts';
import type { Topology } from '../../src/redis/address.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { MINUTE, openSecondLevel, shown, STALE, type TestSecondLevel } from '../support/second-level.ts';
import { startForFile } from './topologies.ts';

const sorted = (messages: readonly object[]): string[] => messages.map((one) => JSON.stringify(one)).toSorted();

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();
  let prefix = '';
  let mine: TestSecondLevel;
  let theirs: TestSecondLevel;

  beforeEach(() => {
    prefix = `t-${randomUUID()}`;
    const { redis } = topologyOf();
    mine = own(openSecondLevel(redis, { prefix, origin: 'mine' }));
    theirs = own(openSecondLevel(redis, { prefix, origin: 'theirs' }));
  });

  const read = async (key: string, from = theirs): Promise<unknown> => shown(await from.level.read('shop', key));
  const eventuallyRead = (key: string, value: unknown) =>
    eventually(async () => expect(await read(key)).toEqual(value));

  const fill = () =>
    mine.level.setMany(
      'shop',
      ['a', 'b', 'c'].map((key) => ({ key, value: key })),
      { ...MINUTE, tags: ['t', 'u'] },
    );

  const forget = () => Promise.all(topologyOf().servers.map((server) => server.ask((redis) => redis.script('FLUSH'))));

  describe('a value', () => {
    test('that one process sets is read by another one, with what is known of it', async () => {
      expect(await read('a')).toBe('missing');
      expect(
        await mine.level.set('shop', 'a', { id: 7, name: 'ä😀' }, { ...MINUTE, graceMs: 30_000, tags: ['t', 'u:1'] }),
      ).toBe('stored');
      const found = await theirs.level.read('shop', 'a');
      expect(found).toMatchObject({ status: 'fresh', deltaMs: 5, tags: ['t', 'u:1'] });
      expect(found.value).toEqual({ payload: { id: 7, name: 'ä😀' }, sizeBytes: 24, isNegative: false, isJson: true });
      expect(found.freshMs).toBeGreaterThan(45_000);
      expect(found.freshMs).toBeLessThanOrEqual(60_000);
      expect(found.staleMs - found.freshMs).toBeCloseTo(30_000, 0);
    });

    test.each([[0], [''], [false], [[]], ['null'], [{ a: [1, { b: null }] }], ['\ud800']])(
      'may be %j',
      async (value) => {
        await mine.level.set('shop', 'odd', value, MINUTE);
        expect(await read('odd')).toEqual(value);
      },
    );

    test('may be a kept nothing', async () => {
      await mine.level.set('shop', 'none', undefined, { ...MINUTE, isNegative: true });
      expect((await theirs.level.read('shop', 'none')).value).toEqual({
        payload: null,
        sizeBytes: 0,
        isNegative: true,
        isJson: false,
      });
    });

    test('may be bytes, which come back as they were', async () => {
      const bytes = Buffer.concat([randomBytes(300), Buffer.from([0, 13, 10, 255, 0xc3, 0x28])]);
      await mine.level.set('shop', 'bytes', bytes, MINUTE);
      expect(await read('bytes')).toEqual(bytes);
      await mine.level.set('shop', 'array', new Uint8Array(bytes), MINUTE);
      expect(await read('array')).toEqual(bytes);
    });

    test('of the structured codec is read by a process that has another one', async () => {
      const other = own(openSecondLevel(topologyOf().redis, { prefix, codec: structuredCodec }));
      const value = { at: new Date(5), of: new Map([['a', 1n]]) };
      await other.level.set('shop', 'rich', value, MINUTE);
      expect(await read('rich')).toEqual(value);
    });

    test.each([
      ['that repeats itself', Buffer.alloc(5 * 1024 * 1024, 'a page of text. ')],
      ['that cannot be compressed', randomBytes(5 * 1024 * 1024)],
    ])('may have 5 MB %s', async (_what, bytes) => {
      const text = bytes.toString('latin1');
      await mine.level.set('shop', 'large', text, { ...MINUTE, maxBytes: 20 * 1024 * 1024 });
      const found = await theirs.level.read('shop', 'large');
      expect(found.value?.payload === text).toBe(true);
    });

    test('that is too large is not kept, and takes no other with it', async () => {
      const how = { ...MINUTE, maxBytes: 10 };
      const entries = [
        { key: 'small', value: 'a' },
        { key: 'large', value: 'a'.repeat(20) },
      ];
      expect(await mine.level.setMany('shop', entries, how)).toEqual(['stored', 'too-large']);
      expect([await read('small'), await read('large')]).toEqual(['a', 'missing']);
    });

    test('is stale after its time and gone after its grace', async () => {
      await mine.level.set('shop', 'brief', 1, { ...MINUTE, freshMs: 20, graceMs: 1_500 });
      await eventually(async () => expect(await theirs.level.read('shop', 'brief')).toMatchObject({ status: 'stale' }));
      await eventuallyRead('brief', 'missing');
    });

    test('is found among hundreds that are read at once', async () => {
      const entries = Array.from({ length: 700 }, (_, index) => ({ key: `n:${index}`, value: index }));
      await mine.level.setMany('shop', entries, { ...MINUTE, tags: ['numbers'] });
      const values = await Promise.all([...entries, { key: 'no' }].map(({ key }) => read(key)));
      expect(values).toEqual([...entries.map(({ value }) => value), 'missing']);
    });

    test('of one namespace is none of another', async () => {
      await mine.level.set('shop', 'a', 1, MINUTE);
      expect(shown(await mine.level.read('shop/1', 'a'))).toBe('missing');
    });

    test.each([
      ['with colons', 'a:b::'],
      ['with braces', '{a}'],
      ['that looks encoded', '%3A%D800'],
      ['of many scripts', 'ä 😀'],
      ['with half a pair', '\ud800'],
      ['that is long', 'a'.repeat(5_000)],
    ])('may have a key and a tag %s', async (_what, key) => {
      await mine.level.set('{n}s:1', key, 1, { ...MINUTE, tags: [key] });
      expect(await theirs.level.read('{n}s:1', key)).toMatchObject({ status: 'fresh', tags: [key] });
      await theirs.level.invalidateTags('{n}s:1', [key]);
      expect(shown(await mine.level.read('{n}s:1', key))).toBe('missing');
    });
  });

  describe('what is removed', () => {
    test('by key is gone for all, and counted', async () => {
      await fill();
      expect(await theirs.level.delete('shop', ['a', 'b', 'b', 'x'])).toBe(2);
      expect([await read('a'), await read('b'), await read('c')]).toEqual(['missing', 'missing', 'c']);
    });

    test('by tag takes every value that carries it, and leaves the others', async () => {
      await fill();
      await mine.level.set('shop', 'other', 1, { ...MINUTE, tags: ['v'] });
      await theirs.level.invalidateTags('shop', ['u']);
      expect([await read('a'), await read('b'), await read('c')]).toEqual(['missing', 'missing', 'missing']);
      expect(await read('other')).toBe(1);
      expect(await read('other')).toBe(1);
      await fill();
      expect(await read('a')).toBe('a');
    });

    test('by clear takes the whole namespace and no other', async () => {
      await fill();
      await mine.level.set('else', 'a', 1, MINUTE);
      await theirs.level.clear('shop');
      expect([await read('a'), await read('c')]).toEqual(['missing', 'missing']);
      expect(shown(await mine.level.read('else', 'a'))).toBe(1);
      await fill();
      expect(await read('a')).toBe('a');
    });
  });

  describe('a lease', () => {
    test('is granted to one of many processes', async () => {
      const outcomes = await Promise.all(
        [mine, theirs, mine, theirs].map(({ level }) => level.lease('shop', 'cold', [], 3_000)),
      );
      expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(1);
      const busy = outcomes.find(({ status }) => status === 'busy');
      expect(busy).toMatchObject({ isBackingOff: false, found: undefined });
      expect(busy?.status === 'busy' && busy.waitMs).toBeGreaterThan(0);
    });

    test('stores what was loaded, once; who asks then is given the value', async () => {
      const lease = await mine.leaseOf('shop', 'cold', ['t']);
      expect(await lease.store('warm', { ...MINUTE, tags: ['t'] })).toBe('stored');
      const outcome = await theirs.level.lease('shop', 'cold', [], 3_000);
      expect(outcome).toMatchObject({
        status: 'found',
        found: { status: 'fresh', value: { payload: 'warm' }, tags: ['t'] },
      });
      expect(await theirs.level.read('shop', 'cold')).toMatchObject({ id: lease.token, tags: ['t'] });
    });

    test('takes a value that is packed already', async () => {
      const lease = await mine.leaseOf('shop', 'packed');
      const packed = pack({ a: 1 }, structuredCodec);
      expect(await lease.store(packed, MINUTE)).toBe('stored');
      expect(await read('packed')).toEqual({ a: 1 });
    });

    test('that ran out is of no use any more', async () => {
      const outcome = await mine.level.lease('shop', 'slow', [], 30);
      if (outcome.status !== 'granted') throw new Error('expected the lease');
      const next = await eventually(() => theirs.leaseOf('shop', 'slow'));
      expect(await outcome.lease.renew()).toBe(false);
      expect(await outcome.lease.store('late', MINUTE)).toBe('superseded');
      await outcome.lease.fail(0);
      expect(await next.store('right', MINUTE)).toBe('stored');
      expect(await read('slow')).toBe('right');
    });

    test('that is renewed lasts', async () => {
      const outcome = await mine.level.lease('shop', 'long', [], 400);
      if (outcome.status !== 'granted') throw new Error('expected the lease');
      let renewals = 0;
      await eventually(async () => {
        expect(await outcome.lease.renew()).toBe(true);
        expect(++renewals).toBeGreaterThan(25);
      });
      expect(await outcome.lease.store(1, MINUTE)).toBe('stored');
    });

    test('that is given back lets the next one load', async () => {
      const lease = await mine.leaseOf('shop', 'failing');
      await lease.fail(5_000);
      expect(await lease.renew()).toBe(false);
      await theirs.leaseOf('shop', 'failing');
    });

    test('is given back too when the value is too large or no value', async () => {
      const lease = await mine.leaseOf('shop', 'wide');
      expect(await lease.store('a'.repeat(20), { ...MINUTE, maxBytes: 10 })).toBe('too-large');
      const next = await theirs.leaseOf('shop', 'wide');
      await expect(next.store(1n, MINUTE)).rejects.toMatchObject({ code: 'CACHE_VALUE_INVALID' });
      await mine.leaseOf('shop', 'wide');
    });

    test('that failed beside a stale value holds off the next load for the back-off', async () => {
      await mine.level.set('shop', 'old', 'stale', STALE);
      const lease = await eventually(() => mine.leaseOf('shop', 'old'));
      await lease.fail(1_500);
      expect(await theirs.level.lease('shop', 'old', [], 3_000)).toMatchObject({
        status: 'busy',
        isBackingOff: true,
        found: { status: 'stale', value: { payload: 'stale' } },
      });
      const next = await eventually(() => theirs.leaseOf('shop', 'old'));
      expect(await next.store('new', MINUTE)).toBe('stored');
    });

    test('that backs off holds nobody up once the stale value is invalid', async () => {
      await mine.level.set('shop', 'old', 'stale', { ...STALE, tags: ['t'] });
      const lease = await eventually(() => mine.leaseOf('shop', 'old'));
      await lease.fail(60_000);
      await mine.level.invalidateTags('shop', ['t']);
      await theirs.leaseOf('shop', 'old');
    });

    test('replaces a fresh value that was seen, and no other', async () => {
      await mine.level.set('shop', 'early', 'first', MINUTE);
      const { id } = await theirs.level.read('shop', 'early');
      const outcome = await theirs.level.lease('shop', 'early', [], 3_000, { seen: id });
      expect(outcome).toMatchObject({ status: 'granted', found: { value: { payload: 'first' } } });
      await mine.level.set('shop', 'early', 'second', MINUTE);
      expect(await theirs.level.lease('shop', 'early', [], 3_000, { seen: id })).toMatchObject({
        status: 'found',
        found: { value: { payload: 'second' } },
      });
    });
  });

  describe('during a load', () => {
    const changes: [string, (by: TestSecondLevel) => Promise<unknown>][] = [
      ['a delete', (by) => by.level.delete('shop', ['k'])],
      ['an invalidation of its tag', (by) => by.level.invalidateTags('shop', ['other', 't'])],
      ['a clear', (by) => by.level.clear('shop')],
    ];
    test.each(changes)('%s wins: the result is not stored, and the next one loads at once', async (_what, change) => {
      const lease = await mine.leaseOf('shop', 'k', ['t']);
      await change(theirs);
      const next = await theirs.leaseOf('shop', 'k', ['t']);
      expect(await lease.store('old', { ...MINUTE, tags: ['t'] })).toBe('superseded');
      expect(await read('k')).toBe('missing');
      expect(await next.store('new', { ...MINUTE, tags: ['t'] })).toBe('stored');
      expect(await lease.store('old', { ...MINUTE, tags: ['t'] })).toBe('superseded');
      expect(await read('k')).toBe('new');
    });

    test.each(changes)('%s wins too when nobody else has asked since', async (_what, change) => {
      const lease = await mine.leaseOf('shop', 'k', ['t']);
      await change(theirs);
      expect(await lease.store('old', { ...MINUTE, tags: ['t'] })).toBe('superseded');
      expect(await read('k')).toBe('missing');
      await theirs.leaseOf('shop', 'k', ['t']);
    });

    test('a set wins', async () => {
      const lease = await mine.leaseOf('shop', 'k');
      await theirs.level.set('shop', 'k', 'set', MINUTE);
      expect(await lease.store('loaded', MINUTE)).toBe('superseded');
      expect(await read('k')).toBe('set');
    });

    test('an invalidation of a tag that the loader captured wins', async () => {
      const lease = await mine.leaseOf('shop', 'k', ['t']);
      await lease.capture(['late', 'later', 't']);
      await theirs.level.invalidateTags('shop', ['later']);
      expect(await lease.store('old', { ...MINUTE, tags: ['t', 'late', 'later'] })).toBe('superseded');
    });

    test('a tag that comes with the value is stored, and so are those named before', async () => {
      const lease = await mine.leaseOf('shop', 'k', ['t']);
      await lease.capture(['late']);
      expect(await lease.store('v', { ...MINUTE, tags: ['t', 'last'] })).toBe('stored');
      expect((await theirs.level.read('shop', 'k')).tags).toEqual(['t', 'late', 'last']);
      await theirs.level.invalidateTags('shop', ['last']);
      expect(await read('k')).toBe('missing');
    });

    test('an invalidation of another tag does not matter', async () => {
      const lease = await mine.leaseOf('shop', 'k', ['t']);
      await theirs.level.invalidateTags('shop', ['other']);
      expect(await lease.store('v', { ...MINUTE, tags: ['t'] })).toBe('stored');
      expect(await read('k')).toBe('v');
    });
  });

  test('every process hears what was changed, by whom, after it has happened', async () => {
    await theirs.listen();
    await mine.level.set('shop', 'a:1', 1, MINUTE);
    const lease = await mine.leaseOf('shop', 'b');
    await lease.store(2, MINUTE);
    const failing = await mine.leaseOf('shop', 'c');
    await failing.fail(0);
    await mine.level.delete('shop', ['a:1']);
    await mine.level.invalidateTags('shop', ['t']);
    await mine.level.clear('shop');
    // Of one key they come in order; on a Cluster those of two keys may come from two nodes.
    await eventually(() =>
      expect(
        sorted(theirs.messages.map(({ kind, origin, namespace, name }) => ({ kind, origin, namespace, name }))),
      ).toEqual(
        sorted(
          [
            ['key', 'a:1'],
            ['key', 'b'],
            ['failed', 'c'],
            ['key', 'a:1'],
            ['tag', 't'],
            ['clear', ''],
          ].map(([kind, name]) => ({ kind, origin: 'mine', namespace: 'shop', name })),
        ),
      ),
    );
  });

  test('who waited for a load that was superseded is told that nothing was stored', async () => {
    await theirs.listen();
    const lease = await mine.leaseOf('shop', 'k', ['t']);
    await theirs.level.invalidateTags('shop', ['t']);
    await lease.store(1, { ...MINUTE, tags: ['t'] });
    await eventually(() => expect(theirs.messages.at(-1)).toMatchObject({ kind: 'failed', name: 'k' }));
  });

  test('goes on when the servers have forgotten the scripts', async () => {
    await forget();
    const lease = await mine.leaseOf('shop', 'k', ['t']);
    await forget();
    await lease.capture(['u']);
    await forget();
    expect(await lease.renew()).toBe(true);
    await forget();
    expect(await lease.store(1, { ...MINUTE, tags: ['t'] })).toBe('stored');
    await theirs.level.invalidateTags('shop', ['x']);
    await forget();
    expect(await read('k')).toBe(1);
    await forget();
    const entries = Array.from({ length: 50 }, (_, index) => ({ key: `k${index}`, value: index }));
    await mine.level.setMany('shop', entries, MINUTE);
    await forget();
    expect(await Promise.all(entries.map(({ key }) => read(key)))).toEqual(entries.map(({ value }) => value));
    await forget();
    expect(await mine.level.delete('shop', ['k1', 'k2'])).toBe(2);
  });
});
