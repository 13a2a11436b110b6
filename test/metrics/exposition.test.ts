import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics/registry.ts';
import { labelKey, readExposition, valueIn } from '../support/exposition.ts';

/** Everything that a label may hold, with a liking for what must be escaped. */
const labelValue = fc.string({
  unit: fc.oneof(
    fc.constantFrom('\\', '\n', '"', 'n', ',', '{', '}', '=', ' ', '\r', '\0'),
    fc.string({ unit: 'binary' }),
  ),
  maxLength: 12,
});
const name = fc.stringMatching(/^[a-zA-Z_:][a-zA-Z0-9_:]{0,12}$/).map((text) => `test_${text}`);
const labelName = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9_]{0,8}$/).filter((label) => label !== 'le');
const labelNames = fc.uniqueArray(labelName, { maxLength: 3 });
const number = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e12, max: 1e12 }).map((value) => value + 0);
const amount = fc.double({ noNaN: true, min: 0, max: 1e12 });

/** A metric's labels, and observations under various values of them. */
const observed = <T>(value: fc.Arbitrary<T>) =>
  labelNames.chain((labels) =>
    fc.record({
      labels: fc.constant(labels),
      rows: fc.array(
        fc.record({
          labels: fc
            .tuple(...labels.map(() => labelValue))
            .map((values) => Object.fromEntries(labels.map((label, index) => [label, values[index] ?? '']))),
          value,
        }),
        { maxLength: 20 },
      ),
    }),
  );

function grouped<T>(rows: ReadonlyArray<{ labels: Record<string, string>; value: T }>): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const { labels, value } of rows) groups.set(labelKey(labels), [...(groups.get(labelKey(labels)) ?? []), value]);
  return groups;
}

describe('what is rendered parses back to what was observed', () => {
  test('counters', async () => {
    await fc.assert(
      fc.asyncProperty(name, fc.string({ minLength: 1 }), observed(amount), async (metric, help, { labels, rows }) => {
        const metrics = createMetrics();
        const counter = metrics.counter({ name: metric, help, labels });
        for (const row of rows) counter.labels(row.labels).inc(row.value);
        const read = readExposition(await metrics.render()).get(metric)!;
        expect(read.help).toBe(help);
        const expected = grouped(rows);
        if (labels.length === 0 && rows.length === 0) expected.set('[]', []);
        expect(new Map(read.lines.map((line) => [labelKey(line.labels), line.value]))).toEqual(
          new Map([...expected].map(([key, values]) => [key, values.reduce((sum, value) => sum + value, 0)])),
        );
      }),
    );
  });

  test('gauges, bound and collected', async () => {
    await fc.assert(
      fc.asyncProperty(observed(number), async ({ labels, rows }) => {
        const metrics = createMetrics();
        const bound = metrics.gauge({ name: 'bound', help: 'Bound.', labels: [...labels, 'last'] });
        for (const row of rows) bound.labels({ ...row.labels, last: '' }).set(row.value);
        metrics.gauge({ name: 'collected', help: 'Collected.', labels, collect: async () => rows });
        const read = readExposition(await metrics.render());
        const expected = new Map([...grouped(rows)].map(([key, values]) => [key, values.at(-1)]));
        expect(new Map(read.get('collected')!.lines.map((line) => [labelKey(line.labels), line.value]))).toEqual(
          expected,
        );
        expect(read.get('bound')!.lines.map((line) => line.value)).toEqual([...expected.values()]);
      }),
    );
  });

  test('histograms', async () => {
    const bounds = fc
      .uniqueArray(number, { minLength: 1, maxLength: 8 })
      .map((numbers) => numbers.toSorted((left, right) => left - right));
    await fc.assert(
      fc.asyncProperty(bounds, observed(number), async (buckets, { labels, rows }) => {
        const metrics = createMetrics();
        const histogram = metrics.histogram({
          name: 'seconds',
          help: 'Seconds.',
          labels: [...labels, 'last'],
          buckets,
        });
        for (const row of rows) histogram.labels({ ...row.labels, last: '' }).observe(row.value);
        const text = await metrics.render();
        for (const [key, values] of grouped(rows)) {
          const own = { ...Object.fromEntries(JSON.parse(key) as Array<[string, string]>), last: '' };
          for (const bound of buckets)
            expect(valueIn(text, 'seconds_bucket', { ...own, le: String(bound) })).toBe(
              values.filter((value) => value <= bound).length,
            );
          expect(valueIn(text, 'seconds_bucket', { ...own, le: '+Inf' })).toBe(values.length);
          expect(valueIn(text, 'seconds_count', own)).toBe(values.length);
          expect(valueIn(text, 'seconds_sum', own)).toBe(values.reduce((sum, value) => sum + value, 0));
        }
        const lines = readExposition(text).get('seconds')!.lines.length;
        expect(lines).toBe(grouped(rows).size * (buckets.length + 3));
      }),
      { numRuns: 50 },
    );
  });
});

describe('the parser of these tests', () => {
  test.each([
    ['a line without its metric', 'a 1\n'],
    ['no line feed at the end', '# HELP a b\n# TYPE a counter\na 1'],
    ['a bare quote', '# HELP a b\n# TYPE a counter\na{x="""} 1\n'],
    ['an unknown escape', '# HELP a b\n# TYPE a counter\na{x="\\t"} 1\n'],
    ['the same line twice', '# HELP a b\n# TYPE a counter\na 1\na 1\n'],
    ['two HELP lines', '# HELP a b\n# TYPE a counter\n# HELP a b\n'],
    ['a number of JavaScript', '# HELP a b\n# TYPE a counter\na Infinity\n'],
  ])('refuses %s', (_what, text) => {
    expect(() => readExposition(text)).toThrow(Error);
  });
});
