/** What becomes of ticks that are due: each is run once or counted as missed, whenever somebody looks. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MISSED_POLICIES, ON_TIME_MS, settle, type MissedPolicy } from '../../../src/jobs/schedules/settle.ts';
import { createTimetable, type Timing } from '../../../src/jobs/schedules/timetable.ts';

const MINUTE = 60_000;
const start = Date.parse('2026-03-29T00:00:00Z');
const everyHour = createTimetable({ everyMs: 60 * MINUTE, offsetMs: 0 });

function settled(
  missed: MissedPolicy,
  nowMs: number,
  missedLimit = 100,
): { run: number[]; late: number; missed: number } {
  const { run, late, missed: left } = settle({ timetable: everyHour, lastMs: start, nowMs, missed, missedLimit });
  return { run: run.map((tick) => (tick - start) / MINUTE / 60), late, missed: left };
}

describe('after three hours without a worker', () => {
  const now = start + 200 * MINUTE;

  test('skip runs nothing until the next tick', () => {
    expect(settled('skip', now)).toEqual({ run: [], late: 0, missed: 3 });
    expect(settled('skip', start + 240 * MINUTE)).toEqual({ run: [4], late: 0, missed: 3 });
  });

  test('one runs once', () => {
    expect(settled('one', now)).toEqual({ run: [3], late: 1, missed: 2 });
    expect(settled('one', start + 240 * MINUTE)).toEqual({ run: [4], late: 0, missed: 3 });
  });

  test('all runs each, the oldest first', () => {
    expect(settled('all', now)).toEqual({ run: [1, 2, 3], late: 3, missed: 0 });
  });

  test('all runs no more than its limit, and the newest', () => {
    expect(settled('all', now, 2)).toEqual({ run: [2, 3], late: 2, missed: 1 });
  });
});

test('a tick that is seen to within a minute is on time for each policy', () => {
  for (const policy of MISSED_POLICIES) {
    expect(settled(policy, start + 60 * MINUTE + ON_TIME_MS)).toEqual({ run: [1], late: 0, missed: 0 });
    expect(settled(policy, start + 60 * MINUTE - 1)).toEqual({ run: [], late: 0, missed: 0 });
  }
});

test('every tick is run once or counted as missed, none twice', () => {
  const timing: fc.Arbitrary<Timing> = fc.oneof(
    fc.record({ everyMs: fc.integer({ min: 1_000, max: 90 * MINUTE }), offsetMs: fc.integer({ min: 0, max: 999 }) }),
    fc.record({
      cron: fc.constantFrom('*/10 * * * *', '30 2 * * *', '15,45 1-3 * * *', '0 */2 * * *'),
      timeZone: fc.constantFrom('Europe/Berlin', 'UTC', 'Australia/Lord_Howe'),
    }),
  );
  const pauses = fc.array(fc.oneof(fc.nat(2 * MINUTE), fc.nat(10 * 60 * MINUTE)), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(
      timing,
      pauses,
      fc.constantFrom(...MISSED_POLICIES),
      fc.integer({ min: 1, max: 20 }),
      (one, waits, missed, missedLimit) => {
        const timetable = createTimetable(one);
        const ran: number[] = [];
        let missedCount = 0;
        let lastMs = start;
        let nowMs = start;
        for (const wait of waits) {
          nowMs += wait;
          const outcome = settle({ timetable, lastMs, nowMs, missed, missedLimit });
          expect(outcome.lastMs).toBeGreaterThanOrEqual(lastMs);
          expect(outcome.late).toBeLessThanOrEqual(outcome.run.length);
          ran.push(...outcome.run);
          missedCount += outcome.missed;
          lastMs = outcome.lastMs;
        }
        const all = new Set<number>();
        for (let tick = timetable.next(start); tick !== undefined && tick <= nowMs; tick = timetable.next(tick))
          all.add(tick);
        fc.pre(all.size < 1_000 || 'everyMs' in one);
        expect(new Set(ran).size, 'none twice').toBe(ran.length);
        expect(
          ran.every((tick) => all.has(tick)),
          'none that is no tick',
        ).toBe(true);
        expect(ran.length + missedCount, 'all accounted for').toBe(all.size);
        expect(ran).toEqual(ran.toSorted((a, b) => a - b));
      },
    ),
    { numRuns: 100 },
  );
});
