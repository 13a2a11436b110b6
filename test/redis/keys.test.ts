import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkPrefix, createKeySpace, DEFAULT_PREFIX, hashTagOf, isPrefix } from '../../src/redis/keys.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';

const keys = createKeySpace('shop', 'lock');

/** Any text, with halves of surrogate pairs and with the signs that mean something in a key more often than by chance. */
const part = fc.string({
  minLength: 1,
  maxLength: 6,
  unit: fc.oneof(
    fc.constantFrom('{', '}', ':', '%', '7', 'B', 'D', 'a'),
    fc.nat({ max: 0xffff }).map((unit) => String.fromCharCode(unit)),
  ),
});
const parts = fc.tuple(part, fc.array(part, { maxLength: 3 }));

describe('a key', () => {
  test('is prefix, module, the tag in braces, and the rest', () => {
    expect(keys('orders/42')).toBe('shop:lock:{orders/42}');
    expect(keys('orders/42', 'queue', '7')).toBe('shop:lock:{orders/42}:queue:7');
    expect(createKeySpace('shop:eu', 'rate-limit')('a')).toBe('shop:eu:rate-limit:{a}');
  });

  test('keeps what people read and encodes what would change its meaning', () => {
    expect(keys('user:ann@example.org', 'a b é 😀')).toBe('shop:lock:{user:ann@example.org}:a b é 😀');
    expect(keys('a}b{c%d', '{e}:f')).toBe('shop:lock:{a%7Db%7Bc%25d}:%7Be%7D%3Af');
  });

  test('is never that of another tag or other parts, not even as the bytes that are sent', () => {
    fc.assert(
      fc.property(parts, parts, ([tag, rest], [otherTag, otherRest]) => {
        const same = JSON.stringify([tag, rest]) === JSON.stringify([otherTag, otherRest]);
        const [one, other] = [keys(tag, ...rest), keys(otherTag, ...otherRest)].map((key) => Buffer.from(key));
        expect(one?.equals(other as Buffer)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  test('tells tags apart that differ in half of a surrogate pair only', () => {
    const bytes = ['\ud800', '\ud801', '\ufffd'].map((tag) => Buffer.from(keys(tag)).toString('hex'));
    expect(new Set(bytes).size).toBe(3);
  });

  test.each<[string, unknown[]]>([
    ['an empty tag', ['']],
    ['no tag', []],
    ['a tag that is a number', [42]],
    ['a tag that is a big number', [42n]],
    ['an empty part', ['a', '']],
    ['a part that is missing', ['a', undefined]],
  ])('of %s is refused', (_what, given) => {
    expect(() => keys(...(given as [string]))).toThrow(
      expect.objectContaining({
        code: 'KEY_INVALID',
        message: expect.stringMatching(/^a part of a key must be a string that is not empty, got .+$/),
      }),
    );
  });
});

describe('the hash tag', () => {
  test('of a key is its encoded tag, whatever the tag and the rest', () => {
    fc.assert(
      fc.property(parts, ([tag, rest]) => {
        expect(`shop:lock:{${hashTagOf(keys(tag, ...rest))}}`).toBe(keys(tag));
      }),
    );
  });

  test('is shared by all keys of one tag, of other modules and prefixes too', () => {
    const others = createKeySpace('shop:eu', 'queue');
    fc.assert(
      fc.property(part, parts, (tag, [first, rest]) => {
        const tags = [keys(tag), keys(tag, first, ...rest), others(tag, first)].map(hashTagOf);
        expect(new Set(tags).size).toBe(1);
      }),
    );
  });

  test.each([
    ['plain', 'plain'],
    ['a{b}c', 'b'],
    ['a{b}{c}', 'b'],
    ['a{{b}c', '{b'],
    ['a{b', 'a{b'],
    ['a}b{c', 'a}b{c'],
    ['a{}b{c}', 'a{}b{c}'],
    ['', ''],
  ])('of %j is %j', (key, tag) => {
    expect(hashTagOf(key)).toBe(tag);
  });
});

describe('a server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis({ config: { 'cluster-enabled': 'yes', 'cluster-port': await freePort() } });
  });
  afterAll(() => server.stop());

  test('hashes what we say that it hashes', async () => {
    const samples = fc.sample(fc.string({ maxLength: 8, unit: fc.constantFrom('{', '}', 'a', 'b') }), 300);
    const slots = await server.ask((redis) =>
      Promise.all(
        samples.flatMap((key) => [
          redis.call('CLUSTER', 'KEYSLOT', key),
          redis.call('CLUSTER', 'KEYSLOT', `{${hashTagOf(key)}}`),
          redis.call('CLUSTER', 'KEYSLOT', hashTagOf(key)),
        ]),
      ),
    );
    const wrong = samples.filter((_key, index) => {
      const [ofKey, inBraces, ofTag] = slots.slice(index * 3, index * 3 + 3);
      return ofKey !== inBraces && ofKey !== ofTag;
    });
    expect(wrong).toEqual([]);
  });
});

describe('prefix and module', () => {
  test.each(['a', DEFAULT_PREFIX, 'shop:eu', 'my-app_2.0', 'A:b:c'])('%j may be a prefix', (prefix) => {
    expect(isPrefix(prefix)).toBe(true);
    expect(() => checkPrefix(prefix)).not.toThrow();
  });

  test.each(['', ':', 'a:', ':a', 'a::b', 'a b', '{a}', 'a}', 'a*', 'é', 'a\n'])('%j may not be a prefix', (prefix) => {
    expect(isPrefix(prefix)).toBe(false);
    const message = `prefix: expected letters, digits and _ . - only, in parts joined by a colon, got ${JSON.stringify(prefix)}`;
    expect(() => createKeySpace(prefix, 'lock')).toThrow(
      expect.objectContaining({ code: 'OPTIONS_INVALID', message, facts: { prefix } }),
    );
  });

  test.each(['', 'a:b', 'a b', '{a}'])('%j may not be a module', (module) => {
    expect(() => createKeySpace('shop', module)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
  });
});
