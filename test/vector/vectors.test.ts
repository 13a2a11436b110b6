/** Vectors as they go in and out, the metadata's schema, and how documents are cut. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { textChunker } from '../../src/vector/chunker.ts';
import { checkMetadata, compileSchema } from '../../src/vector/schema.ts';
import {
  checkVector,
  cosine,
  distanceAt,
  distanceOf,
  fromBlob,
  normalise,
  similarityOf,
  toBlob,
} from '../../src/vector/vectors.ts';
import { documents, textOf } from '../corpus/fables.ts';

const invalid = (message: string): unknown =>
  expect.objectContaining({ code: 'VECTOR_INVALID', message: expect.stringContaining(message) as string });

describe('a vector', () => {
  test('may be floats of either size or numbers, and comes out as 32-bit floats', () => {
    const whole = Float32Array.of(1, 2);
    expect(checkVector(whole, 2, 'v')).toBe(whole);
    for (const given of [[1, 2], Float64Array.of(1, 2)]) expect(checkVector(given, 2, 'v')).toEqual(whole);
  });

  test('that is a view into other memory is copied', () => {
    const all = Float32Array.of(9, 1, 2, 9);
    const view = all.subarray(1, 3);
    const vector = checkVector(view, 2, 'v');
    all.fill(7);
    expect(vector).toEqual(Float32Array.of(1, 2));
    expect(vector.buffer.byteLength).toBe(8);
  });

  test.each<[string, unknown, string]>([
    ['too short', [1], 'doc 7: expected 2 dimensions, got 1'],
    ['too long', Float32Array.of(1, 2, 3), 'expected 2 dimensions, got 3'],
    ['zero', [0, 0], 'expected a vector with a direction, got zeros only'],
    ['so small that floats make it zero', [1e-60, 0], 'got zeros only'],
    ['with a NaN', [1, Number.NaN], 'expected finite numbers, got NaN at 1'],
    ['endless', Float32Array.of(Number.NEGATIVE_INFINITY, 1), 'got -Infinity at 0'],
    ['larger than a float', [1e39, 1], '1e+39, which no 32-bit float holds at 0'],
    ['with text in it', [1, '2'], 'expected a Float32Array or numbers, got "2" at 1'],
    ['a list with a hole', [1, undefined], 'got undefined at 1'],
    ['bytes', Buffer.alloc(8), 'got a Buffer of 8 bytes'],
    ['bytes that became text', Buffer.alloc(8, 1).toString(), 'got a string of 8 characters'],
    ['a view of another kind', new DataView(new ArrayBuffer(8)), 'got a DataView of 8 bytes'],
    ['nothing', undefined, 'got undefined'],
    ['an object', { 0: 1, 1: 2, length: 2 }, 'expected a Float32Array or numbers'],
  ])('that is %s is refused', (_what, value, message) => {
    expect(() => checkVector(value, 2, 'doc 7')).toThrow(invalid(message));
  });

  test('as bytes is its floats, little-endian, and not a byte more', () => {
    const view = new Float32Array([9, 1, -2.5, 9]).subarray(1, 3);
    expect(toBlob(view).toString('hex')).toBe('0000803f000020c0');
    expect(fromBlob(toBlob(view), 2, 'v')).toEqual(Float32Array.of(1, -2.5));
  });

  test('as bytes does not change with the vector that it was made of, nor back', () => {
    const vector = Float32Array.of(1, 2);
    const blob = toBlob(vector);
    vector[0] = 5;
    const back = fromBlob(blob, 2, 'v');
    blob.fill(0);
    expect(back).toEqual(Float32Array.of(1, 2));
  });

  test.each<[unknown, string]>([
    [Buffer.alloc(7, 1), 'expected 8 bytes for 2 dimensions, got 7'],
    ['12345678', 'expected bytes, got a string of 8 characters'],
    [Buffer.alloc(8), 'got zeros only'],
    [Buffer.alloc(8, 0xff), 'got NaN at 0'],
  ])('is not read from what is none: %j', (blob, message) => {
    expect(() => fromBlob(blob as Buffer, 2, 'v')).toThrow(invalid(message));
  });

  test('normalised has length 1 and the same direction, whatever its length was', () => {
    const numbers = fc.array(
      fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e30), max: Math.fround(1e30) }),
      { minLength: 3, maxLength: 3 },
    );
    fc.assert(
      fc.property(numbers, (given) => {
        fc.pre(given.some((number) => Math.abs(number) > 1e-15));
        const vector = Float32Array.from(given);
        const unit = normalise(vector);
        expect(Math.hypot(...unit)).toBeCloseTo(1, 5);
        expect(cosine(unit, vector)).toBeCloseTo(1, 5);
      }),
    );
  });
});

describe('the scale of scores', () => {
  const east = Float32Array.of(1, 0);
  const all = {
    same: east,
    near: Float32Array.of(3, 4),
    across: Float32Array.of(0, 1),
    opposite: Float32Array.of(-1, 0),
  };

  test('is 1 for the same, 1/2 for unrelated and 0 for opposite directions', () => {
    const scores = Object.values(all).map((one) => similarityOf('cosine', distanceOf('cosine', east, one)));
    expect(scores.map((score) => Number(score.toFixed(6)))).toEqual([1, 0.8, 0.5, 0]);
  });

  test('is 1 at no distance and falls with the square of it', () => {
    expect(distanceOf('l2', east, all.near)).toBe(20);
    expect(similarityOf('l2', 20)).toBeCloseTo(1 / 21);
    expect(similarityOf('l2', 0)).toBe(1);
  });

  test.each(['cosine', 'ip', 'l2'] as const)('(%s) leads back to the distance', (metric) => {
    for (const distance of [0, 0.25, 1, 1.75])
      expect(distanceAt(metric, similarityOf(metric, distance))).toBeCloseTo(distance, 9);
  });
});

describe('a schema', () => {
  test('has the same plain form however it is written', () => {
    const one = compileSchema({ year: 'number', body: { type: 'text', weight: 1 } });
    const other = compileSchema({ body: 'text', year: { type: 'number', sortable: false } });
    expect(JSON.stringify(one.plain)).toBe(JSON.stringify(other.plain));
    expect(one.plain).toEqual({ body: { type: 'text' }, year: { type: 'number' } });
  });

  test('with faults is refused with all of them', () => {
    const wrong = { 'a b': 'tag', year: { type: 'number', weight: 2 }, kind: 'keyword' } as never;
    expect(() => compileSchema(wrong)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }) as Error);
    expect(() => compileSchema(wrong)).toThrow(/a b.*(year|kind)/);
  });
});

describe('metadata', () => {
  const schema = compileSchema({
    lang: 'tag',
    topics: 'tags',
    year: 'number',
    isFree: 'boolean',
    body: 'text',
    place: 'geo',
  });

  test('keeps quotes, braces and whatever else a value may have', () => {
    const metadata = {
      lang: 'a"b{c}',
      topics: ["it's", '}{'],
      body: '{"x": "\\"}',
      year: -0.5,
      isFree: false,
      place: { lat: 1, lon: 2 },
    };
    expect(checkMetadata(schema, metadata, 'm')).toEqual(metadata);
  });

  test('is without what is undefined or an empty list', () => {
    expect(checkMetadata(schema, { lang: undefined, topics: [], year: 0 }, 'm')).toEqual({ year: 0 });
  });

  test('that does not fit is refused with every path and reason', () => {
    const wrong = {
      lang: '',
      topics: ['a', 5],
      year: Number.POSITIVE_INFINITY,
      isFree: 1,
      body: 5,
      place: { lat: 95, lon: 0 },
      more: 1,
    };
    expect(() => checkMetadata(schema, wrong, 'the metadata of doc 7')).toThrow(
      expect.objectContaining({
        code: 'INPUT_INVALID',
        facts: { faults: Object.keys(wrong).map((path) => expect.objectContaining({ path }) as unknown) },
      }) as Error,
    );
    for (const none of [null, [], 'text']) expect(() => checkMetadata(schema, none, 'm')).toThrow('expected an object');
  });
});

const squeezed = (text: string): string => text.replaceAll(/\s+/g, '');

describe('the chunker of texts', () => {
  test('keeps a text whole that fits', () => {
    expect(textChunker().split('  One.\n\nTwo. \n')).toEqual(['One.\n\nTwo.']);
    for (const empty of ['', ' \n\n\t']) expect(textChunker().split(empty)).toEqual([]);
  });

  test('ends at paragraphs, else at sentences, else between words, else between characters', () => {
    const chunker = textChunker({ maxChars: 30 });
    expect(chunker.split('First paragraph here.\n\nSecond one. It has two sentences.')).toEqual([
      'First paragraph here.',
      'Second one.',
      'It has two sentences.',
    ]);
    expect(chunker.split('He asked "Why?" and I said e.g. this')).toEqual(['He asked "Why?"', 'and I said e.g. this']);
    expect(chunker.split('a'.repeat(70))).toEqual(['a'.repeat(30), 'a'.repeat(30), 'a'.repeat(10)]);
    expect(textChunker({ maxChars: 16 }).split('吾輩は猫である。名前はまだ無い。どこで生れたか。')).toEqual([
      '吾輩は猫である。名前はまだ無い。',
      'どこで生れたか。',
    ]);
  });

  test('says whole sentences of the end again when an overlap is asked for', () => {
    const chunker = textChunker({ maxChars: 40, overlap: 12 });
    expect(chunker.split('Alpha is one. Beta is two. Gamma is 3. Delta is four. Last.')).toEqual([
      'Alpha is one. Beta is two. Gamma is 3.',
      'Gamma is 3. Delta is four. Last.',
    ]);
  });

  test('counts tokens where it is told how, and estimates them otherwise', () => {
    const words = { id: 'words', count: (text: string) => text.split(/\s+/).length };
    expect(textChunker({ maxTokens: 4, tokeniser: words }).split('one two three four five six')).toEqual([
      'one two three four',
      'five six',
    ]);
    for (const count of [() => Number.NaN, (() => Promise.resolve(1)) as unknown as () => number, () => -1]) {
      const chunker = textChunker({ maxTokens: 4, tokeniser: { id: 'wrong', count } });
      expect(() => chunker.split('one two')).toThrow('tokeniser wrong');
    }
    const always = { id: 'always', count: () => 100 };
    expect(textChunker({ maxTokens: 4, tokeniser: always }).split('abc')).toEqual(['ab', 'c']);
    expect(textChunker({ maxTokens: 5 }).split('aaaa bbbb cccc dddd eeee ffff')).toEqual([
      'aaaa bbbb cccc dddd',
      'eeee ffff',
    ]);
  });

  test('has an id that tells what changes the chunks', () => {
    const words = { id: 'words', count: () => 1 };
    const ids = [{}, { maxChars: 100 }, { overlap: 5 }, { maxTokens: 50 }, { maxTokens: 50, tokeniser: words }].map(
      (options) => textChunker(options).id,
    );
    expect(new Set(ids).size).toBe(ids.length);
    expect(() => textChunker({ maxChars: 100, overlap: 51 })).toThrow('overlap: expected at most half of maxChars');
  });

  const pieces = fc.array(
    fc.constantFrom('word', 'A. ', ' ', '\n', '\n\n', '?!', '😀', 'é', '。', 'x'.repeat(40), '\ud800', 'Zwölf'),
    { maxLength: 60 },
  );

  test('loses nothing, adds nothing, keeps to its size and cuts no character in two', () => {
    fc.assert(
      fc.property(pieces, fc.integer({ min: 16, max: 60 }), (words, maxChars) => {
        const text = words.join('');
        const chunks = textChunker({ maxChars }).split(text);
        expect(squeezed(chunks.join(''))).toBe(squeezed(text));
        for (const chunk of chunks) {
          expect(chunk.length).toBeLessThanOrEqual(maxChars);
          expect(chunk).toBe(chunk.trim());
          expect(chunk).not.toMatch(/^[\udc00-\udfff]/);
        }
        const overlapping = textChunker({ maxChars, overlap: Math.floor(maxChars / 2) }).split(text);
        for (const chunk of overlapping) expect(text).toContain(chunk);
        expect(overlapping.at(-1)).toBe(
          overlapping.length > 0 ? text.trim().slice(-(overlapping.at(-1)?.length ?? 0)) : undefined,
        );
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ['prose', documents.map(textOf).join('\n\n').repeat(100)],
    ['one word', 'x'.repeat(5_000_000)],
    ['stops', '.'.repeat(5_000_000)],
    ['blank lines', '\n '.repeat(2_500_000)],
    ['one sentence', 'word '.repeat(1_000_000)],
  ])('takes no longer for megabytes of %s than their length asks for', (_what, text) => {
    const start = performance.now();
    const chunks = textChunker({ overlap: 200 }).split(text);
    // Square growth would take hours.
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(chunks.every((chunk) => chunk.length <= 2_000)).toBe(true);
  });
});
