import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { reconnectDelayMs } from '../../src/redis/backoff.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the wait before an attempt to connect', () => {
  test('doubles from 50 ms to at most 2 s, and is a random half to whole of that', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), random, (attempt, luck) => {
        const longest = Math.min(2_000, 50 * 2 ** (attempt - 1));
        const delay = reconnectDelayMs(attempt, () => luck);
        expect(delay).toBeGreaterThanOrEqual(longest / 2);
        expect(delay).toBeLessThanOrEqual(longest);
        expect(Number.isInteger(delay)).toBe(true);
      }),
    );
  });

  test('grows with the attempts as long as it may, at equal luck', () => {
    fc.assert(
      fc.property(random, (luck) => {
        const delays = [1, 2, 3, 4, 5, 6].map((attempt) => reconnectDelayMs(attempt, () => luck));
        expect(new Set(delays).size).toBe(6);
        expect(delays.toSorted((left, right) => left - right)).toEqual(delays);
      }),
    );
  });

  test('spreads a fleet that lost its server at one moment', () => {
    const delays = Array.from({ length: 200 }, () => reconnectDelayMs(10));
    expect(new Set(delays).size).toBeGreaterThan(100);
    expect(Math.min(...delays)).toBeLessThan(1_200);
    expect(Math.max(...delays)).toBeGreaterThan(1_800);
  });
});
