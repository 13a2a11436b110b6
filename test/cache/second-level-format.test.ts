/** The names, messages and bytes of the second level: what goes in comes out, and what cannot be read is a miss. */
import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { jsonCodec, structuredCodec, type Codec } from '../../src/cache/codec.ts';
import { FoundReader } from '../../src/cache/found.ts';
import { CacheKeys, decodeName } from '../../src/cache/keys.ts';
import { formatMessage, parseMessage } from '../../src/cache/messages.ts';
import { pack } from '../../src/cache/packed.ts';
import { layOut, readHeader } from '../../src/cache/stored-value.ts';
import { MillraceError } from '../../src/errors.ts';
import { createKeySpace } from '../../src/redis/keys.ts';
import { ownedByTest } from '../support/owned.ts';
import { MINUTE, openSecondLevel, shown } from '../support/second-level.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

/** A stored value as the scripts make it. */
async function storedBytes(value: unknown, overBytes: number, tags: readonly string[]): Promise<Buffer> {
  const { form, payload } = await layOut(pack(value, jsonCodec), false, overBytes);
  const times = Buffer.alloc(24);
  times.writeDoubleBE(2e15, 0);
  times.writeDoubleBE(3e15, 8);
  times.writeDoubleBE(5, 16);
  const count = Buffer.from([0, tags.length]);
  const version = Buffer.alloc(20, '1');
  const listed = tags.flatMap((tag) => [version, Buffer.from([0, tag.length]), Buffer.from(tag)]);
  const stamp = tags.length === 0 ? [] : [version];
  return Buffer.concat([form, Buffer.from('id-of-value1'), times, version, count, ...stamp, ...listed, payload]);
}

const names = fc.string({ minLength: 1, unit: 'binary' });

describe('a name', () => {
  const space = createKeySpace('p', 'cache');
  const keys = new CacheKeys(space);

  test('stands in a key as the key space would have it, and comes back from there', () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(`p:cache:{x}:${keys.encode(name)}`).toBe(space('x', name));
        expect(decodeName(keys.encode(name))).toBe(name);
      }),
    );
    expect(decodeName(keys.encode('\ud800:%3A'))).toBe('\ud800:%3A');
  });

  test.each(['', undefined, 7])('may not be %j', (name) => {
    expect(() => keys.encode(name as string)).toThrow(MillraceError);
    expect(() => keys.encodeTags([name as string])).toThrow(MillraceError);
  });

  test('of a tag has a limit, and so has their number', () => {
    expect(() => keys.encodeTags(['a'.repeat(10_001)])).toThrow(/10000 characters/);
    expect(() => keys.encodeTags(Array.from({ length: 1_001 }, String))).toThrow(/1000 tags/);
    expect(keys.encodeTags(['a', 'b', 'a'])).toEqual(['a', 'b']);
  });

  test('has its bucket in each process, and names are spread evenly', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 3_200; index++) {
      const { epoch } = keys.bucketOf('shop', `product:${index}`);
      expect(new CacheKeys(space).bucketOf('shop', `product:${index}`).epoch).toBe(epoch);
      counts.set(epoch, (counts.get(epoch) ?? 0) + 1);
    }
    expect(counts.size).toBe(32);
    for (const count of counts.values()) expect(Math.abs(count - 100)).toBeLessThan(50);
  });

  test('of a namespace is remembered for some of them only', () => {
    for (let index = 0; index < 1_200; index++) keys.bucketsOf(`tenant-${index}`);
    expect(keys.bucketOf('tenant-0', 'a').epoch).toMatch(/^p:cache:\{tenant-0\/\d+\}:e$/);
  });
});

describe('a message', () => {
  test('comes back as it was sent', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('key', 'failed', 'tag', 'clear'),
        names,
        names,
        fc.string(),
        (kind, origin, namespace, name) => {
          expect(parseMessage(formatMessage(kind, origin, namespace, name))).toEqual({ kind, origin, namespace, name });
        },
      ),
    );
  });

  test.each(['', 'hello', '{}', '[]', '["key"]', '["key","o","n",7]', '["later","o","n","k"]', 'null'])(
    'is not %s',
    (text) => {
      expect(parseMessage(text)).toBeUndefined();
    },
  );
});

describe('a value that cannot be encoded', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  test.each([
    ['a function', () => 1],
    ['a bigint', 1n],
    ['a cycle', cyclic],
    ['a symbol', Symbol('s')],
  ])('%s is refused with the reason', (_what, value) => {
    expect(() => pack(value, jsonCodec)).toThrow(expect.objectContaining({ code: 'CACHE_VALUE_INVALID' }));
  });

  test('for one codec may be encoded by another', () => {
    expect(pack(cyclic, structuredCodec).unpack()).toEqual(cyclic);
  });

  test('is told of when the codec is of another id than it may have', () => {
    const codec: Codec = { ...jsonCodec, id: 3 };
    const setup = { prefix: 'x', codec };
    expect(() => openSecondLevel({ url: 'redis://127.0.0.1:1' }, setup)).toThrow(/16 to 255, got 3/);
  });
});

describe('bytes that are no value', () => {
  const text = 'a page of text. '.repeat(500);
  const reasons: string[] = [];
  const reader = new FoundReader(jsonCodec, (_namespace, _key, reason) => reasons.push(reason));
  const read = (raw: Buffer) => reader.read(raw, 1e15, 'n', 'k');

  test('are read when they are one after all', async () => {
    for (const overBytes of [Infinity, 100]) {
      const raw = await storedBytes({ text }, overBytes, ['t', 'u:1']);
      expect(await read(raw)).toMatchObject({ status: 'fresh', tags: ['t', 'u:1'], value: { payload: { text } } });
    }
    expect(reasons).toEqual([]);
  });

  test.each([
    ['a plain value', Infinity, ['t']],
    ['a compressed one', 100, ['t']],
    ['one without tags', 100, []],
  ])('are a miss that is told of, wherever %s is cut', async (_what, overBytes, tags) => {
    const raw = await storedBytes({ text }, overBytes, tags);
    for (let length = 0; length < raw.length; length += length < 200 ? 1 : 97) {
      reasons.length = 0;
      expect(await read(raw.subarray(0, length)), `cut at ${length}`).toMatchObject({ status: 'missing' });
      expect(reasons, `cut at ${length}`).toHaveLength(1);
    }
  });

  test('never throw, whatever byte is another one', async () => {
    const raws = [await storedBytes({ a: [1, 'b'] }, Infinity, ['t']), await storedBytes({ text }, 100, ['t'])];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...raws),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 5 }),
        async (raw, changes) => {
          const broken = Buffer.from(raw);
          for (const [at, byte] of changes) broken[at % broken.length] = byte;
          const found = await read(broken);
          expect(['fresh', 'stale', 'missing']).toContain(found.status);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('never throw, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const raw = Buffer.from(bytes);
        if (raw.length > 0) raw[0] = 1;
        expect((await read(raw)).status).toBe('missing');
      }),
    );
  });

  test('that claim to be small do not become large', async () => {
    const raw = await storedBytes('a'.repeat(1_000_000), 100, []);
    raw.writeUInt32BE(2_000, 4);
    reasons.length = 0;
    expect(await read(raw)).toMatchObject({ status: 'missing' });
    expect(reasons).toHaveLength(1);
  });

  test('of a later format are not read', async () => {
    const raw = await storedBytes(1, Infinity, []);
    raw[0] = 2;
    expect(readHeader(raw)).toBe('of format 2');
  });
});

describe('in Redis', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  const own = ownedByTest();
  const open = (setup: { codec?: Codec } = {}) => {
    const prefix = `t-${randomUUID()}`;
    const opened = own(openSecondLevel({ url: server.url }, { prefix, ...setup }));
    const keyOf = async (): Promise<string> => {
      const [key] = await server.ask((redis) => redis.keys(`${prefix}:cache:*:v:k`));
      return key as string;
    };
    return { ...opened, prefix, keyOf };
  };

  test.each([
    ['rubbish', Buffer.from('hello')],
    ['nothing', Buffer.alloc(0)],
    ['a later format', Buffer.alloc(200, 2)],
    ['zeros behind the right format', Buffer.concat([Buffer.from([1]), Buffer.alloc(300)])],
  ])('%s in the place of a value is a miss, and is replaced by a load', async (_what, rubbish) => {
    const { level, keyOf, leaseOf } = open();
    await level.set('n', 'k', 1, { ...MINUTE, tags: ['t'] });
    const key = await keyOf();
    await server.ask((redis) => redis.set(key, rubbish));
    expect(shown(await level.read('n', 'k'))).toBe('missing');
    const lease = await leaseOf('n', 'k', ['t']);
    expect(await lease.store(2, MINUTE)).toBe('stored');
    expect(shown(await level.read('n', 'k'))).toBe(2);
  });

  test('a key of another type is a miss, and is replaced by a load', async () => {
    const { level, keyOf, leaseOf } = open();
    await level.set('n', 'k', 1, MINUTE);
    const key = await keyOf();
    await server.ask(async (redis) => {
      await redis.del(key);
      await redis.rpush(key, 'a');
    });
    expect(shown(await level.read('n', 'k'))).toBe('missing');
    const lease = await leaseOf('n', 'k');
    expect(await lease.store(2, MINUTE)).toBe('stored');
    expect(shown(await level.read('n', 'k'))).toBe(2);
  });

  test.each([
    ['payload', -3],
    ['codec', 2],
    ['compression', 3],
  ])('a broken %s is a miss that is told of, although the value is fresh; a load replaces it', async (_what, at) => {
    const { level, keyOf, leaseOf, unreadable } = open();
    await level.set('n', 'k', { text: 'some text' }, { ...MINUTE, tags: ['t'] });
    const key = await keyOf();
    await server.ask(async (redis) => {
      const length = await redis.strlen(key);
      await redis.setrange(key, at < 0 ? length + at : at, '\u0011');
    });
    expect(shown(await level.read('n', 'k'))).toBe('missing');
    expect(unreadable).toHaveLength(1);
    const lease = await leaseOf('n', 'k', ['t']);
    expect(await lease.store(2, MINUTE)).toBe('stored');
    expect(shown(await level.read('n', 'k'))).toBe(2);
  });

  test('a value of a codec that is not known is a miss', async () => {
    const { level, prefix } = open({ codec: { ...jsonCodec, id: 77 } });
    await level.set('n', 'k', { a: 1 }, MINUTE);
    const other = own(openSecondLevel({ url: server.url }, { prefix }));
    expect(shown(await other.level.read('n', 'k'))).toBe('missing');
    expect(other.unreadable).toEqual(['its codec 77 is not known here']);
    expect(shown(await level.read('n', 'k'))).toEqual({ a: 1 });
  });

  test('what is worth it is compressed, and nothing else', async () => {
    const { level, keyOf } = open();
    const bytesOf = async (value: unknown): Promise<number> => {
      await level.set('n', 'k', value, MINUTE);
      expect(shown(await level.read('n', 'k'))).toEqual(value);
      const key = await keyOf();
      return server.ask((redis) => redis.strlen(key));
    };
    const header = 70;
    expect(await bytesOf('a'.repeat(1_000))).toBe(header + 1_002);
    expect(await bytesOf('a'.repeat(1_100))).toBeLessThan(150);
    expect(await bytesOf('a'.repeat(3_000_000))).toBeLessThan(30_000);
    const random = Buffer.from(
      Array.from({ length: 3_000 }, (_, index) => ((index * index * 31) % 251) ^ (index % 17)),
    );
    expect(await bytesOf(random)).toBeLessThanOrEqual(header + 3_000);
    const noise = new Uint8Array(await crypto.subtle.digest('SHA-512', random)).slice(0, 64);
    const incompressible = Buffer.concat(
      Array.from({ length: 20 }, (_, index) => noise.map((byte) => byte ^ (index * 7))),
    );
    await bytesOf(incompressible);
  });
});
