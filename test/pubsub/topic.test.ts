/** Names of topics, also those that users choose, and which patterns find which. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { comparePositions, ofRing, readEnvelope, writeEnvelope } from '../../src/pubsub/envelope.ts';
import {
  concreteTopic,
  defineTopic,
  overlaps,
  parsePattern,
  segmentsOf,
  valuesOf,
  type TopicContract,
} from '../../src/pubsub/topic.ts';
import { TopicTrie } from '../../src/pubsub/trie.ts';

const two = defineTopic({ name: 'a.*.b.*', schema: z.unknown() });

describe('a value for a *', () => {
  test('is one segment whatever it is made of, and comes back as it was', () => {
    const odd = ['a.b', '*', '>', '{x}', 'é', '😀', 'a b', 'a\nb', '%2E', '~', '__proto__', "'", '0', '-'];
    const texts = odd.map((value) => concreteTopic(two.at(value, 'x')).text);
    expect(new Set(texts).size).toBe(odd.length);
    for (const [index, text] of texts.entries()) {
      expect(text).toMatch(/^a\.[\w%-]+\.b\.x$/);
      expect(segmentsOf(two, text)).toHaveLength(4);
      expect(valuesOf(two, text)).toEqual([odd[index], 'x']);
    }
  });

  test('of any text comes back as it was, and no two are one', () => {
    const value = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(value, value, (left, right) => {
        const [leftText, rightText] = [left, right].map((one) => concreteTopic(two.at(one, 1)).text);
        expect(valuesOf(two, leftText ?? '')).toEqual([left, '1']);
        expect(leftText === rightText).toBe(left === right);
      }),
    );
  });

  test('that is empty, too long or half a character is refused', () => {
    for (const value of ['', 'x'.repeat(513), '\ud800', null, {}, undefined, Number.NaN, Infinity] as never[]) {
      expect(() => two.at(value, 'x')).toThrow(/topic a\.\*\.b\.\*: expected a number or text of 1 to 512 characters/);
    }
    expect(() => (two.at as (...values: string[]) => unknown)('x')).toThrow('expected 2 values, got 1');
    expect(() => concreteTopic(two.at('x', two.every))).toThrow('name a value for each *');
    expect(() => concreteTopic(two)).toThrow('name a value for each *');
  });

  test('is refused where all of them are too long together', () => {
    const many = defineTopic({ name: `a${'.*'.repeat(20)}`, schema: z.unknown() });
    const textOf = (length: number): string => {
      const values = Array.from({ length: 20 }, () => 'x'.repeat(length));
      return concreteTopic((many as TopicContract).at(...values)).text;
    };
    expect(() => textOf(500)).toThrow('more than 8192');
    expect(textOf(400)).toHaveLength(8_021);
  });
});

const define = (options: object): unknown => defineTopic({ name: 'x', schema: z.unknown(), ...options });

test('a definition has a name of segments and known options', () => {
  for (const name of ['', '*', '*.a', 'a.', '.a', 'a..b', 'a.>', 'a b', 'a.{b}', '1a', 'a'.repeat(101)]) {
    expect(() => define({ name }), name).toThrow(/OPTIONS_INVALID|expected/);
  }
  expect(() => define({ schema: {} })).toThrow('expected a schema');
  expect(() => define({ reliable: { keep: 0 } })).toThrow('reliable.keep');
  expect(() => define({ reliable: { age: '10ms' } })).toThrow('at least 1 s');
  expect(() => define({ relable: true })).toThrow('did you mean reliable?');
  expect(defineTopic({ name: 'r', schema: z.unknown(), reliable: true }).reliable).toEqual({
    keep: 1_000,
    ageMs: 3_600_000,
  });
});

function fits(pattern: readonly string[], topic: readonly string[]): boolean {
  const source = pattern.map((one) => (one === '*' ? '[^.]+' : one === '>' ? '.+' : one)).join('\\.');
  return new RegExp(`^${source}$`).test(topic.join('.'));
}

describe('patterns', () => {
  const segment = fc.constantFrom('a', 'b', 'c');
  const topics = fc.array(segment, { minLength: 1, maxLength: 4 });
  const patterns = fc
    .tuple(fc.array(fc.constantFrom('a', 'b', '*'), { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([segments, hasRest]) => (hasRest ? [...segments, '>'] : segments));

  test('are found as a regular expression would find them, and are gone once removed', () => {
    fc.assert(
      fc.property(fc.array(patterns, { maxLength: 8 }), topics, (all, topic) => {
        const trie = new TopicTrie<number>();
        for (const [index, pattern] of all.entries()) trie.add(pattern, index);
        const expected = all.flatMap((pattern, index) => (fits(pattern, topic) ? [index] : []));
        expect(trie.match(topic).toSorted((left, right) => left - right)).toEqual(expected);
        for (const [index, pattern] of all.entries()) trie.remove(pattern, index);
        expect(trie.isEmpty).toBe(true);
      }),
    );
  });

  test('overlap with a definition if some topic of it fits', () => {
    const names = fc.array(fc.constantFrom('a', 'b', '*'), { maxLength: 2 });
    const pool = ['a', 'b', 'c'];
    const all = pool.flatMap((x) => [[x], ...pool.flatMap((y) => [[x, y], ...pool.map((z1) => [x, y, z1])])]);
    fc.assert(
      fc.property(patterns, names, (pattern, rest) => {
        const contract = defineTopic({ name: ['a', ...rest].join('.'), schema: z.unknown() });
        const named = all.filter((topic) => segmentsOf(contract, topic.join('.')));
        expect(overlaps(pattern, contract)).toBe(named.some((topic) => fits(pattern, topic)));
      }),
    );
  });

  test('are written with * and, at their end, >', () => {
    expect(parsePattern('orders.*.>')).toEqual(['orders', '*', '>']);
    expect(parsePattern('orders.a%2Eb')).toEqual(['orders', 'a%2Eb']);
    expect(() => parsePattern('orders.>.x')).toThrow('expected segments');
  });
});

describe('an envelope', () => {
  test('is read as it was written', () => {
    const text = writeEnvelope('a.b', 'web-1:42:ff', '{"i":"1"}\n{"x":"\\n"}');
    expect(readEnvelope(text)).toEqual({
      topic: 'a.b',
      position: undefined,
      before: undefined,
      echo: 'web-1:42:ff',
      body: '{"i":"1"}\n{"x":"\\n"}',
    });
    expect(ofRing('a', '5-1', '0', '-', 'x')).toMatchObject({ position: '5-1', before: '', echo: undefined });
  });

  test('of any text is undefined or has a topic, and never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('\n', ' ', '-', '1', 'a', '{') }), (text) => {
        expect(readEnvelope(text)?.topic ?? 'none').not.toBe('');
      }),
    );
  });
});

test('positions are compared as numbers', () => {
  expect(comparePositions('9-0', '10-0')).toBeLessThan(0);
  expect(comparePositions('10-9', '10-10')).toBeLessThan(0);
  expect(comparePositions('10-1', '10-1')).toBe(0);
  expect(comparePositions('', '1-0')).toBeLessThan(0);
});
