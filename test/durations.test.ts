import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatMs, toMs, tryToMs, type Duration } from '../src/durations.ts';

const MS_OF = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const unit = fc.constantFrom(...(Object.keys(MS_OF) as Array<keyof typeof MS_OF>));

describe('reading a duration', () => {
  test('any whole number with any unit is that many units', () => {
    fc.assert(
      fc.property(fc.nat({ max: 1_000_000 }), unit, (count, of) => {
        expect(toMs(`${count}${of}`)).toBe(count * MS_OF[of]);
      }),
    );
  });

  test('a fraction is read to the millisecond', () => {
    fc.assert(
      fc.property(fc.nat({ max: 1_000_000 }), fc.constantFrom('s', 'm', 'h'), (thousandths, of) => {
        const written = (thousandths / 1_000).toFixed(3) as `${number}`;
        expect(toMs(`${written}${of}`)).toBe(Math.round((thousandths * MS_OF[of]) / 1_000));
      }),
    );
  });

  test('a number is milliseconds, and what comes out is whole, as Redis wants it', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), (ms) => {
        expect(toMs(ms)).toBe(Math.round(ms));
      }),
    );
  });

  test('text that is no number with a unit never is a duration', () => {
    const nearMiss = fc.stringMatching(/^[0-9.\-+ emshdwx\n]{0,8}$/);
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), nearMiss).filter((text) => !/^\d+(\.\d+)?(ms|s|m|h|d|w)$/.test(text)),
        (text) => {
          expect(tryToMs(text)).toBeUndefined();
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test.each([
    '',
    '5',
    's',
    '5 s',
    ' 5s',
    '5s ',
    '5s\n',
    '5sec',
    '5 minutes',
    '-5s',
    '+5s',
    '.5s',
    '5.s',
    '1e3s',
    '0x10s',
    '1_000ms',
    '1,5s',
    '5S',
    '1h30m',
    'Infinitys',
    'NaNms',
    '99999999999999999999ms',
    '99999999999w',
  ])('%j is no duration', (text) => {
    expect(tryToMs(text)).toBeUndefined();
  });

  test.each([-1, -0.1, Number.NaN, Infinity, -Infinity, 2 ** 53, undefined, null, true, {}, [5], 5n])(
    '%s is no duration',
    (value) => {
      expect(tryToMs(value)).toBeUndefined();
    },
  );

  test('nothing is a duration too', () => {
    expect(toMs(0)).toBe(0);
    expect(toMs('0s')).toBe(0);
  });

  test.each<[unknown, string]>([
    ['5 minutes', '"5 minutes"'],
    [undefined, 'undefined'],
    [Number.NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [5n, '5n'],
    [-5, '-5'],
  ])('the error for %s says what was expected and what came', (value, shown) => {
    expect(() => toMs(value as Duration)).toThrow(
      expect.objectContaining({
        code: 'DURATION_INVALID',
        message: `expected a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d', got ${shown}`,
        facts: { duration: value },
      }),
    );
  });
});

describe('showing a duration', () => {
  test.each<[number, string]>([
    [0, '0 ms'],
    [0.034, '0.034 ms'],
    [1.54, '1.5 ms'],
    [340, '340 ms'],
    [999, '999 ms'],
    [999.6, '1 s'],
    [1_540, '1.5 s'],
    [59_400, '59 s'],
    [59_999, '1 min'],
    [90_000, '1.5 min'],
    [12.4 * 60_000, '12 min'],
    [3.2 * 3_600_000, '3.2 h'],
    [86_399_999, '1 d'],
    [5 * 86_400_000, '5 d'],
    [12_345 * 86_400_000, '12345 d'],
  ])('%d ms is shown as %s', (ms, shown) => {
    expect(formatMs(ms)).toBe(shown);
  });

  test('what is shown is within a twentieth of what is meant', () => {
    const size = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e12, noNaN: true }), (ms) => {
        const [count, of] = formatMs(ms).split(' ') as [string, keyof typeof size];
        expect(Math.abs(Number(count) * size[of] - ms)).toBeLessThanOrEqual(ms / 20);
      }),
    );
  });
});
