import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Duration } from '../src/durations.ts';
import {
  backoffMs,
  backoffOption,
  DEFAULT_BACKOFF,
  LONGEST_BACKOFF_MS,
  type Backoff,
  type BackoffFault,
} from '../src/backoff.ts';
import { checkOptions } from '../src/schema.ts';

const error = new Error('no answer');
const options = z.strictObject({ backoff: backoffOption.optional() });
const check = (backoff: unknown): unknown => checkOptions(options, { backoff }, 'defineJob').backoff;
const waits = (backoff: Backoff, attempts: readonly number[], random = 0): Array<number | false> =>
  attempts.map((attempt) => backoffMs(backoffOption.parse(backoff), attempt, error, () => random));

const delays = fc.nat({ max: LONGEST_BACKOFF_MS });
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const jitters = fc.double({ min: 0, max: 1, noNaN: true });
const attempts = fc.oneof(
  fc.nat(),
  fc.constantFrom(-1, 0, 1, 60, 1_100, Number.MAX_SAFE_INTEGER, Infinity, Number.NaN),
);

const ask = (rule: unknown): { wait: number | false; faults: BackoffFault[] } => {
  const faults: BackoffFault[] = [];
  const compiled = { type: 'function', delay: rule as () => Duration } as const;
  const wait = backoffMs(
    compiled,
    3,
    error,
    () => 0,
    (fault) => faults.push(fault),
  );
  return { wait, faults };
};

const byAttempt = (attempt: number, failure: Error): Duration => (failure === error ? `${attempt}m` : 0);

describe('the option', () => {
  test.each<[Backoff, unknown]>([
    ['5s', { type: 'fixed', delayMs: 5_000, jitter: 0 }],
    [250, { type: 'fixed', delayMs: 250, jitter: 0 }],
    [
      { type: 'fixed', delay: '1m', jitter: 0.5 },
      { type: 'fixed', delayMs: 60_000, jitter: 0.5 },
    ],
    [
      { type: 'exponential', delay: '1s' },
      { type: 'exponential', delayMs: 1_000, maxMs: 3_600_000, jitter: 0 },
    ],
    [
      { type: 'exponential', delay: '2h' },
      { type: 'exponential', delayMs: 7_200_000, maxMs: 7_200_000, jitter: 0 },
    ],
  ])('%j is compiled', (backoff, compiled) => {
    expect(check(backoff)).toEqual(compiled);
    expect(Object.isFrozen(check(backoff))).toBe(true);
  });

  test('a function is kept as it is', () => {
    expect(check(byAttempt)).toEqual({ type: 'function', delay: byAttempt });
  });

  test.each<[unknown, string]>([
    ['5 s', `expected a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d', { type: 'fixed'`],
    [true, `or a function, at most 365 days, got true`],
    ['366d', `at most 365 days, got "366d"`],
    [{ type: 'exponential', dealy: '1s', delay: 1 }, 'unknown option backoff.dealy, did you mean delay?'],
    [{ type: 'exp', delay: 1 }, 'backoff.type: expected fixed or exponential, got "exp"'],
    [{ delay: 1 }, 'backoff.type: expected fixed or exponential, got undefined'],
    [{ type: 'fixed' }, 'backoff.delay: expected a number of milliseconds'],
    [{ type: 'fixed', delay: '1s', jitter: 1.5 }, 'backoff.jitter: expected at most 1, got 1.5'],
    [{ type: 'fixed', delay: '1s', jitter: -0.1 }, 'backoff.jitter: expected at least 0, got -0.1'],
    [{ type: 'fixed', delay: '1s', max: '2s' }, "backoff.max: expected none with type 'fixed', whose wait never grows"],
    [{ type: 'exponential', delay: '5s', max: '2s' }, 'backoff.max: expected at least as long as delay'],
    [{ type: 'fixed', delay: '9999d' }, 'backoff.delay: expected at most 365 days'],
  ])('%j is refused by name', (backoff, message) => {
    expect(() => check(backoff)).toThrow(
      expect.objectContaining({ code: 'OPTIONS_INVALID', message: expect.stringContaining(message) }),
    );
  });
});

describe('the wait', () => {
  test('a fixed one is always the same', () => {
    expect(waits('5s', [1, 2, 30])).toEqual([5_000, 5_000, 5_000]);
  });

  test('an exponential one doubles up to its maximum', () => {
    expect(waits({ type: 'exponential', delay: '1s', max: '10s' }, [1, 2, 3, 4, 5, 2_000])).toEqual([
      1_000, 2_000, 4_000, 8_000, 10_000, 10_000,
    ]);
    expect(waits({ type: 'exponential', delay: 0 }, [1, 5_000])).toEqual([0, 0]);
  });

  test('jitter takes away at most its part', () => {
    const backoff: Backoff = { type: 'fixed', delay: '10s', jitter: 0.3 };
    expect(waits(backoff, [1], 0)).toEqual([10_000]);
    expect(waits(backoff, [1], 0.999_999)).toEqual([7_001]);
  });

  test('the default of a contract is 1 s, doubled up to 10 min, less up to 30 %', () => {
    expect(DEFAULT_BACKOFF).toEqual({ type: 'exponential', delayMs: 1_000, maxMs: 600_000, jitter: 0.3 });
  });

  test('whatever the rule and the attempt, it is whole and within its bounds', () => {
    fc.assert(
      fc.property(delays, delays, jitters, chance, attempts, (delay, more, jitter, random, attempt) => {
        const max = Math.min(delay + more, LONGEST_BACKOFF_MS);
        const fixed = backoffMs({ type: 'fixed', delayMs: delay, jitter }, attempt, error, () => random);
        expect(Number.isSafeInteger(fixed)).toBe(true);
        expect(fixed).toBeLessThanOrEqual(delay);
        expect(fixed).toBeGreaterThanOrEqual(delay * (1 - jitter));

        const rule = { type: 'exponential', delayMs: delay, maxMs: max, jitter } as const;
        const grown = backoffMs(rule, attempt, error, () => random);
        const base = backoffMs({ ...rule, jitter: 0 }, attempt, error);
        expect(Number.isSafeInteger(grown)).toBe(true);
        expect(base).toBeGreaterThanOrEqual(delay);
        expect(base).toBeLessThanOrEqual(max);
        expect(grown).toBeLessThanOrEqual(Number(base));
        expect(grown).toBeGreaterThanOrEqual(Number(base) * (1 - jitter));
      }),
    );
  });
});

describe('a function', () => {
  test('is given the attempt and the error, and its duration is followed', () => {
    expect(ask(byAttempt)).toEqual({ wait: 180_000, faults: [] });
  });

  test('ends the retries with false', () => {
    expect(ask(() => false)).toEqual({ wait: false, faults: [] });
  });

  test('that throws is reported, and the default stands in', () => {
    const cause = new TypeError('oops');
    const rule = (): never => {
      throw cause;
    };
    expect(ask(rule)).toEqual({ wait: 4_000, faults: [{ reason: 'the backoff function threw', cause }] });
  });

  test('that is async is reported, and its rejection does no harm', () => {
    const { wait, faults } = ask(async () => Promise.reject(error));
    expect(wait).toBe(4_000);
    expect(faults[0]?.reason).toContain('async');
  });

  test.each([undefined, null, true, Number.NaN, Infinity, -1, '5 minutes', {}, LONGEST_BACKOFF_MS + 1])(
    'that gives %s is reported, and the default stands in',
    (answer) => {
      const { wait, faults } = ask(() => answer);
      expect(wait).toBe(4_000);
      expect(faults).toEqual([{ reason: expect.stringContaining('from the backoff function, got ') }]);
    },
  );

  test('whatever it gives, what comes out is a wait or false', () => {
    fc.assert(
      fc.property(fc.anything(), (answer) => {
        const { wait } = ask(() => answer);
        expect(wait === false || (Number.isSafeInteger(wait) && wait >= 0 && wait <= LONGEST_BACKOFF_MS)).toBe(true);
      }),
    );
  });
});
