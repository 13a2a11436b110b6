/** Filters: what may be asked, how each engine is asked, and that vector sets answer as the filter means. */
import * as fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { compileQueryFilter, fieldsOfMetadata } from '../../src/vector/filter-fts.ts';
import { checkMatchable, matchesFilter } from '../../src/vector/filter-match.ts';
import { attributesOfMetadata, compileVectorSetFilter, metadataOfAttributes } from '../../src/vector/filter-vset.ts';
import { checkFilter, filtersOf, type Filter } from '../../src/vector/filter.ts';
import { checkMetadata, compileSchema } from '../../src/vector/schema.ts';
import { decodeTag, encodeTag } from '../../src/vector/tag-form.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';

const definition = {
  lang: 'tag',
  topics: 'tags',
  year: { type: 'number', sortable: true },
  isFree: 'boolean',
  body: { type: 'text', weight: 2 },
  place: 'geo',
} as const;
const schema = compileSchema(definition);
const f = filtersOf<typeof definition>();

describe('a filter', () => {
  test('is data, built with the types of the schema', () => {
    const filter = checkFilter(schema, (build) => build.and(build.eq('lang', 'en'), build.gte('year', 2020)));
    expect(filter).toEqual({
      op: 'and',
      filters: [
        { op: 'eq', field: 'lang', value: 'en' },
        { op: 'gte', field: 'year', value: 2020 },
      ],
    });
    expect(checkFilter(schema, JSON.parse(JSON.stringify(filter)) as Filter)).toEqual(filter);
  });

  test('that TypeScript refuses is refused when it runs, too, with every fault', () => {
    // @ts-expect-error -- a tag is no number.
    const wrong = [f.eq('lang', 5)];
    // @ts-expect-error -- there is no such field.
    wrong.push(f.eq('langs', 'en'));
    // @ts-expect-error -- tags have no order.
    wrong.push(f.lt('topics', 5));
    wrong.push(
      f.gt('year', Number.NaN),
      f.in('lang', []),
      f.text('body', '...'),
      f.near('place', { lat: 91, lon: 0 }, -1),
    );
    expect(() => checkFilter(schema, f.or(...wrong))).toThrow(
      expect.objectContaining({
        code: 'FILTER_INVALID',
        facts: {
          faults: [
            { path: 'filters[0].value', reason: 'expected a tag of 1 to 1024 characters, got 5' },
            { path: 'filters[1].field', reason: 'the schema has no field "langs", did you mean lang?' },
            { path: 'filters[2].field', reason: 'expected a field of type number, topics is tags' },
            { path: 'filters[3].value', reason: 'expected a finite number, got NaN' },
            { path: 'filters[4].values', reason: 'expected one value or more, got []' },
            { path: 'filters[5].words', reason: 'expected a text with a word in it, got "..."' },
            { path: 'filters[6].point', reason: expect.stringContaining('a place') as string },
            { path: 'filters[6].radiusM', reason: expect.stringContaining('metres') as string },
          ],
        },
      }),
    );
  });

  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'expected a filter, got undefined'],
    ['another operator', { op: 'like', field: 'lang', value: 'e%' }, 'op: expected and, or, not'],
    ['no filter inside', { op: 'not' }, 'filter: expected a filter, got undefined'],
    ['nothing to join', { op: 'or', filters: [] }, 'filters: expected one filter or more, got []'],
    ['an empty tag', f.eq('lang', ''), 'expected a tag of 1 to 1024'],
    ['a range that ends before it begins', f.between('year', 2, 1), 'from: expected at most 1, got 2'],
    ['words of a tag', { op: 'text', field: 'lang', words: 'en' }, 'expected a field of type text, lang is tag'],
    ['a name of the prototype', { op: 'eq', field: 'constructor', value: 'x' }, 'no field "constructor"'],
  ])('of %s is refused', (_what, filter, message) => {
    expect(() => checkFilter(schema, filter as Filter)).toThrow(message);
  });

  test('has a limit to its size and its depth', () => {
    expect(() =>
      checkFilter(
        schema,
        f.in(
          'lang',
          Array.from({ length: 1_001 }, (_, at) => `t${at}`),
        ),
      ),
    ).toThrow('at most 1000');
    let deep: Filter = f.eq('lang', 'en');
    for (let level = 0; level < 40; level++) deep = f.not(deep);
    expect(() => checkFilter(schema, deep)).toThrow('at most 32 filters within one another');
  });
});

describe('a filter for vector sets', () => {
  test.each<[Filter, string]>([
    [f.eq('lang', 'en'), '(.lang == "en")'],
    [f.ne('lang', 'a "b" \\ c'), '(not (.lang == "a %22b%22 %5C c"))'],
    [f.in('lang', ['en', "d'e"]), '(.lang in ["en", "d%27e"])'],
    [f.eq('topics', 'x'), '("x" in .topics)'],
    [f.in('topics', ['x', 'y']), '("x" in .topics or "y" in .topics)'],
    [f.eq('isFree', true), '(.isFree == 1)'],
    [f.between('year', -5, 1e21), '(.year >= -5 and .year <= "1e+21")'],
    [f.lt('year', 1e-7), '(.year < "1e-7")'],
    [f.exists('year'), '(.year <= .year)'],
    [f.exists('lang'), '(.lang != "%")'],
    [f.exists('body'), '(.body <= .body)'],
    [f.not(f.or(f.gt('year', 1), f.lte('year', 2))), '(not ((.year > 1) or (.year <= 2)))'],
  ])('%j is %s', (filter, text) => {
    expect(compileVectorSetFilter(checkFilter(schema, filter), schema)).toBe(text);
  });

  test.each([f.text('body', 'fox'), f.and(f.eq('lang', 'en'), f.not(f.near('place', { lat: 1, lon: 2 }, 5)))])(
    'that they cannot answer is refused before anything is asked: %j',
    (filter) => {
      const refusal = expect.objectContaining({ code: 'FILTER_UNSUPPORTED' }) as Error;
      expect(() => compileVectorSetFilter(checkFilter(schema, filter), schema)).toThrow(refusal);
      expect(() => matchesFilter(filter, { lang: 'en' })).toThrow(refusal);
      expect(() => checkMatchable(f.or(f.eq('lang', 'en'), filter), 'it')).toThrow(refusal);
    },
  );

  test('is asked of attributes that every element has, whatever its document lacks', () => {
    expect(attributesOfMetadata(schema, { lang: 'a"b', year: 1 })).toBe(
      '{"body":"nan","isFree":"nan","lang":"a%22b","place":"nan","topics":["%"],"year":1}',
    );
    const metadata = { lang: '%', topics: ['\ud800', 'b'], isFree: false };
    expect(metadataOfAttributes(schema, attributesOfMetadata(schema, metadata))).toEqual(metadata);
  });
});

describe('a filter for the Query Engine', () => {
  test.each<[Filter, string]>([
    [f.eq('lang', 'en'), '(@lang:{en})'],
    [f.ne('lang', 'a-b c'), '(-(@lang:{a\\-b\\ c}))'],
    [f.in('topics', ['a|b', '{x}', 'été 😀']), '(@topics:{a\\%7Cb | \\{x\\} | été\\ 😀})'],
    [f.eq('isFree', false), '(@isFree:{0})'],
    [f.eq('year', 2020), '(@year:[2020 2020])'],
    [f.ne('year', 2020), '(-(@year:[2020 2020]))'],
    [f.in('year', [1, -2.5]), '(@year:[1 1] | @year:[-2.5 -2.5])'],
    [f.lt('year', 5), '(@year:[-inf (5])'],
    [f.lte('year', 5), '(@year:[-inf 5])'],
    [f.gt('year', 5), '(@year:[(5 +inf])'],
    [f.gte('year', 1e-7), '(@year:[1e-7 +inf])'],
    [f.between('year', 1, 2), '(@year:[1 2])'],
    [f.exists('year'), '(@year:[-inf +inf])'],
    [f.exists('lang'), '(-ismissing(@lang))'],
    [f.text('body', 'Fox "and" -grapes @lang:{x}'), '(@body:(Fox and grapes lang x))'],
    [f.near('place', { lat: 52.5, lon: -13.4 }, 500), '(@place:[-13.4 52.5 500 m])'],
    [
      f.and(f.eq('lang', 'en'), f.or(f.gt('year', 1), f.not(f.eq('topics', 'x')))),
      '((@lang:{en}) ((@year:[(1 +inf]) | (-(@topics:{x}))))',
    ],
  ])('%j is %s', (filter, query) => {
    expect(compileQueryFilter(checkFilter(schema, filter), schema)).toBe(query);
  });

  test('is asked of fields of a hash that hold what the query compares', () => {
    const metadata = checkMetadata(
      schema,
      {
        lang: ' en',
        topics: ['a,b', 'c|d'],
        year: 5,
        isFree: true,
        body: 'the “x”,\nand\\ don’t—"y"',
        place: { lat: 1, lon: 2 },
      },
      'doc',
    );
    expect(fieldsOfMetadata(schema, metadata)).toEqual({
      lang: '%20en',
      topics: 'a%2Cb|c%7Cd',
      year: '5',
      isFree: '1',
      body: 'the x and don t y',
      place: '2,1',
    });
    expect(fieldsOfMetadata(schema, {})).toEqual({});
  });

  test('has no character of a tag that the parser could read as its own', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), (tag) => {
        const query = compileQueryFilter(f.eq('lang', tag), schema);
        expect(query).toMatch(/^\(@lang:\{(?:\\[ -~]|[\p{L}\p{N}_]|\P{ASCII})+\}\)$/u);
      }),
    );
  });
});

describe('a tag', () => {
  const tags = fc.string({ unit: 'binary', maxLength: 8 });

  test('is stored in a form without quotes, backslashes, separators and outer spaces, from which it comes back', () => {
    fc.assert(
      fc.property(tags, (tag) => {
        const form = encodeTag(tag);
        expect(form).not.toMatch(/["'\\|,\p{Cc}]|^ | $/u);
        expect(Buffer.from(form).toString()).toBe(form);
        expect(form).not.toBe('%');
        expect(decodeTag(form)).toBe(tag);
      }),
      { examples: [[' a '], ['%'], ['%25'], ['\ud800'], ['😀'], ['\u0000'], ['|,"\'\\']] },
    );
  });
});

const letters = fc.constantFrom(
  'a',
  'b',
  'A',
  '5',
  '"',
  "'",
  '\\',
  '%',
  ' ',
  '|',
  '\n',
  '\u0000',
  'é',
  '😀',
  '\ud83d',
  'nan',
);
const tag = fc.oneof(
  fc.constantFrom('en', 'fr', '%', 'nan', '0', '"'),
  fc.array(letters, { minLength: 1, maxLength: 4 }).map((all) => all.join('')),
);
const number = fc.oneof(
  fc.constantFrom(0, -1, 1, 5, 0.1, 1e-7, -1e21, 1e300, 5e-324, 1_763_689_012_345),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const metadata = fc.record(
  { lang: tag, topics: fc.array(tag, { minLength: 1, maxLength: 3 }), year: number, isFree: fc.boolean() },
  { requiredKeys: [] },
);
const { filter } = fc.letrec<{ filter: Filter }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc
      .tuple(fc.constantFrom('eq', 'ne'), fc.constantFrom('lang', 'topics'), tag)
      .map(([op, field, value]) => ({ op, field, value })),
    fc
      .tuple(fc.constantFrom('lang', 'topics'), fc.array(tag, { minLength: 1, maxLength: 3 }))
      .map(([field, values]) => f.in(field as 'lang', values)),
    fc
      .tuple(fc.constantFrom('eq', 'ne', 'lt', 'lte', 'gt', 'gte'), number)
      .map(([op, value]) => ({ op, field: 'year', value })),
    fc.array(number, { minLength: 1, maxLength: 3 }).map((values) => f.in('year', values)),
    fc.tuple(number, number).map(([one, other]) => f.between('year', Math.min(one, other), Math.max(one, other))),
    fc.boolean().map((value) => f.eq('isFree', value)),
    fc.constantFrom('lang', 'topics', 'year', 'isFree').map((field) => f.exists(field as 'lang')),
    fc.array(tie('filter'), { minLength: 1, maxLength: 3 }).map((filters) => f.and(...filters)),
    fc.array(tie('filter'), { minLength: 1, maxLength: 3 }).map((filters) => f.or(...filters)),
    tie('filter').map((inner) => f.not(inner)),
  ),
}));

describe.each(['main', 'newest'] as const)('vector sets of the %s server', (which) => {
  let server: TestServer | undefined;
  let missing = '';
  let redis: Redis;
  beforeAll(async () => {
    const binary = inject('servers')[which];
    if (typeof binary === 'string') {
      missing = binary;
      return;
    }
    server = await startRedis({ binary });
    redis = new Redis(server.port);
    await redis.ping();
  });
  afterAll(async () => {
    if (!server) return;
    redis.disconnect();
    await server.stop();
  });

  test('find what the filter means, whatever is in tags and numbers, and whatever is missing', async (context) => {
    if (!server) skipBecause(context, missing);
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(metadata, { minLength: 1, maxLength: 8 }),
        fc.array(filter, { minLength: 4, maxLength: 8 }),
        async (documents, filters) => {
          const key = `docs:${round++}`;
          const adding = redis.pipeline();
          for (const [at, one] of documents.entries())
            adding.call(
              'VADD',
              key,
              'VALUES',
              '2',
              '1',
              `0.${at + 1}`,
              String(at),
              'SETATTR',
              attributesOfMetadata(schema, checkMetadata(schema, one, 'doc')),
            );
          const asking = filters.map((one) =>
            adding.call(
              'VSIM',
              key,
              'VALUES',
              '2',
              '1',
              '0',
              'COUNT',
              '100',
              'FILTER',
              compileVectorSetFilter(checkFilter(schema, one), schema),
              'FILTER-EF',
              '1000',
            ),
          );
          expect(asking).toHaveLength(filters.length);
          const replies = ((await adding.exec()) ?? []).slice(documents.length);
          for (const [at, one] of filters.entries()) {
            const [error, found] = replies[at] ?? [];
            expect(error).toBeNull();
            const meant = documents.flatMap((document, place) => (matchesFilter(one, document) ? [String(place)] : []));
            expect((found as string[]).toSorted(), JSON.stringify(one)).toEqual(meant.toSorted());
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
