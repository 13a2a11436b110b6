import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attemptHistory, HISTORY_LIMITS, trimTraces, type AttemptFacts } from '../../src/jobs/attempt-history.ts';
import { formatAttempt } from '../../src/jobs/attempt-record.ts';
import { describeError } from '../../src/describe-error.ts';

const error = describeError(new Error('no answer'));
const traceOf = (attempt: number): string => formatAttempt({ attempt, outcome: 'failed', error, log: [] });
const postponedOf = (attempt: number, since?: number): string =>
  formatAttempt({ attempt, ...(since !== undefined && { since }), outcome: 'postponed', error, log: [] });
const stalledOut = 'UnrecoverableError: job stalled more than allowable limit\n    at f (x.js:1:2)';

/** Such as `1 failed, 2 lost`. */
const historyOf = (traces: readonly string[], facts: AttemptFacts): string => {
  const { attempts, omitted } = attemptHistory(traces, facts);
  const list = attempts.map(({ attempt, outcome }) => `${attempt} ${outcome}`).join(', ');
  return omitted === 0 ? list : `${list} (${omitted} omitted)`;
};

describe('the history of a job', () => {
  test.each<[string, readonly string[], AttemptFacts, string]>([
    ['that never ran is empty', [], { attemptsStarted: 0 }, ''],
    ['has each failure', [traceOf(1), traceOf(2)], { attemptsStarted: 2 }, '1 failed, 2 failed'],
    ['has what its workers died of as lost', [traceOf(2)], { attemptsStarted: 3 }, '1 lost, 2 failed, 3 lost'],
    ['leaves out the start that runs now', [traceOf(1)], { attemptsStarted: 2, withoutLast: true }, '1 failed'],
    ['tells lost by the count of stalls', [traceOf(2)], { attemptsStarted: 2, stalls: 1 }, '1 lost, 2 failed'],
    [
      'tells handed back by it too',
      [traceOf(3)],
      { attemptsStarted: 3, stalls: 0 },
      '1 returned, 2 returned, 3 failed',
    ],
    [
      'says when it cannot tell',
      [traceOf(3)],
      { attemptsStarted: 3, stalls: 1 },
      '1 unrecorded, 2 unrecorded, 3 failed',
    ],
    ['places a text of BullMQ last', [stalledOut], { attemptsStarted: 3, stalls: 2 }, '1 lost, 2 lost, 3 failed'],
    [
      'places a text of BullMQ between',
      [traceOf(1), 'Error: x', traceOf(4)],
      { attemptsStarted: 4 },
      '1 failed, 2 lost, 3 failed, 4 failed',
    ],
    [
      'goes on after a retry by hand',
      [traceOf(1), traceOf(2), traceOf(1)],
      { attemptsStarted: 1 },
      '1 failed, 2 failed, 1 failed',
    ],
    [
      'does not take dropped texts for lost',
      [traceOf(4), traceOf(5)],
      { attemptsStarted: 5, traceLimit: 2 },
      '4 failed, 5 failed (3 omitted)',
    ],
    [
      'has each of those that were postponed in a row',
      [postponedOf(4, 2), traceOf(5)],
      { attemptsStarted: 5 },
      '1 lost, 2 postponed, 3 postponed, 4 postponed, 5 failed',
    ],
    [
      'bears a row that claims too much',
      [traceOf(2), postponedOf(4, 1)],
      { attemptsStarted: 4, stalls: 0 },
      '1 returned, 2 failed, 3 postponed, 4 postponed',
    ],
    ['skips blank texts', ['', traceOf(2)], { attemptsStarted: 2 }, '1 lost, 2 failed'],
    ['bears a count that is none', [traceOf(1)], { attemptsStarted: Number.NaN }, '1 failed'],
  ])('%s', (_name, traces, facts, shown) => {
    expect(historyOf(traces, facts)).toBe(shown);
  });

  test('keeps the first and the last ones of many, and says how many are left out', () => {
    const traces = Array.from({ length: 100 }, (_, index) => traceOf(index + 1));
    const { attempts, omitted } = attemptHistory(traces, { attemptsStarted: 100 });
    expect(attempts.map(({ attempt }) => attempt)).toEqual([
      1, 2, 3, 4, 5, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100,
    ]);
    expect(omitted).toBe(80);
  });

  test('of texts that are trimmed shows the same as of all of them', () => {
    const { first, last } = HISTORY_LIMITS;
    fc.assert(
      fc.property(fc.nat({ max: 80 }), (count) => {
        const all = Array.from({ length: count }, (_, index) => traceOf(index + 1));
        let kept: readonly string[] = [];
        for (const trace of all) kept = [...trimTraces(kept, 1), trace];
        expect(kept.length).toBeLessThanOrEqual(first + last);
        const facts = { attemptsStarted: count, stalls: 0 };
        expect(attemptHistory(kept, facts)).toEqual(attemptHistory(all, facts));
      }),
    );
  });

  test('of trimmed texts still has what was lost before and after the middle', () => {
    const all = Array.from({ length: 60 }, (_, index) => index + 1).filter((attempt) => ![2, 57, 60].includes(attempt));
    let kept: readonly string[] = [];
    for (const attempt of all) kept = [...trimTraces(kept, 1), traceOf(attempt)];
    const { attempts, omitted } = attemptHistory(kept, { attemptsStarted: 60, stalls: 3 });
    const numbers = attempts.map(({ attempt, outcome }) => (outcome === 'lost' ? -attempt : attempt));
    expect(numbers).toEqual([1, -2, 3, 4, 5, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, -57, 58, 59, -60]);
    expect(omitted).toBe(40);
  });

  test('of a job that was put off a billion times costs no more', () => {
    const { attempts, omitted } = attemptHistory([traceOf(2), traceOf(1e9)], { attemptsStarted: 1e9, stalls: 0 });
    expect(attempts).toHaveLength(20);
    expect(attempts.slice(0, 3).map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(attempts.slice(-2).map(({ attempt, outcome }) => `${attempt} ${outcome}`)).toEqual([
      '999999999 returned',
      '1000000000 failed',
    ]);
    expect(omitted).toBe(1e9 - 20);
    const row = attemptHistory([postponedOf(1e9, 1)], { attemptsStarted: 1e9 });
    expect(row).toMatchObject({ omitted: 1e9 - 20, attempts: { length: 20 } });
    expect(new Set(row.attempts.map(({ outcome }) => outcome))).toEqual(new Set(['postponed']));
  });

  test('has every start once and in order, up to its cap', () => {
    fc.assert(
      fc.property(fc.nat({ max: 60 }), fc.infiniteStream(fc.boolean()), (started, coins) => {
        const numbers = Array.from({ length: started }, (_, index) => index + 1);
        const failed = new Set(numbers.filter(() => coins.next().value));
        const { attempts, omitted } = attemptHistory([...failed].map(traceOf), { attemptsStarted: started });
        const { first, last } = HISTORY_LIMITS;
        const expected = started <= first + last ? numbers : [...numbers.slice(0, first), ...numbers.slice(-last)];
        expect(attempts.map(({ attempt }) => attempt)).toEqual(expected);
        expect(omitted).toBe(started - expected.length);
        for (const { attempt, outcome } of attempts) expect(outcome).toBe(failed.has(attempt) ? 'failed' : 'lost');
      }),
    );
  });
});
