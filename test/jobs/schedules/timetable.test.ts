/** When schedules tick, above all where clocks are changed. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  COUNTED_AT_MOST,
  createTimetable,
  cronFault,
  isTimeZone,
  type Timing,
} from '../../../src/jobs/schedules/timetable.ts';

const at = (text: string): number => Date.parse(text);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The ticks after the one moment up to the other. */
function ticks(timing: Timing, from: string | number, until: string | number): string[] {
  return listed(timing, Number(new Date(from)), Number(new Date(until))).map((tick) => new Date(tick).toISOString());
}

function listed(timing: Timing, from: number, until: number): number[] {
  const timetable = createTimetable(timing);
  const found: number[] = [];
  for (let tick = timetable.next(from); tick !== undefined && tick <= until; tick = timetable.next(tick))
    found.push(tick);
  return found;
}

describe('an interval', () => {
  test('ticks on a grid that no process begins', () => {
    expect(ticks({ everyMs: HOUR, offsetMs: 0 }, '2026-01-01T10:59:59.999Z', '2026-01-01T12:00:00Z')).toEqual([
      '2026-01-01T11:00:00.000Z',
      '2026-01-01T12:00:00.000Z',
    ]);
    expect(ticks({ everyMs: DAY, offsetMs: 3 * HOUR }, '2026-01-01T03:00:00Z', '2026-01-02T03:00:00Z')).toEqual([
      '2026-01-02T03:00:00.000Z',
    ]);
  });

  test('is counted and listed as it ticks', () => {
    const timing = fc
      .integer({ min: 100, max: 100_000 })
      .chain((everyMs) =>
        fc.record({ everyMs: fc.constant(everyMs), offsetMs: fc.integer({ min: 0, max: everyMs - 1 }) }),
      );
    fc.assert(
      fc.property(
        timing,
        fc.integer({ min: 0, max: 1e12 }),
        fc.nat(1_000_000),
        fc.integer({ min: 1, max: 20 }),
        (one, from, width, keep) => {
          const all = listed(one, from, from + width);
          expect(createTimetable(one).between(from, from + width, keep)).toEqual({
            count: all.length,
            newest: all.slice(-keep),
          });
        },
      ),
      { numRuns: 100 },
    );
  });
});

const berlin = (cron: string): Timing => ({ cron, timeZone: 'Europe/Berlin' });

describe('a cron expression in Berlin', () => {
  test('at 02:30 comes an hour later on the day in spring that has no 02:30', () => {
    expect(ticks(berlin('30 2 * * *'), '2026-03-28T00:00:00Z', '2026-03-30T12:00:00Z')).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:30:00.000Z', // 03:30 on the wall.
      '2026-03-30T00:30:00.000Z',
    ]);
  });

  test('at 02:30 comes once on the day in autumn that has two of them', () => {
    expect(ticks(berlin('30 2 * * *'), '2026-10-24T00:00:00Z', '2026-10-26T12:00:00Z')).toEqual([
      '2026-10-24T00:30:00.000Z',
      '2026-10-25T00:30:00.000Z',
      '2026-10-26T01:30:00.000Z',
    ]);
  });

  test('does not come again for a process that asks between the two 02:30', () => {
    const timetable = createTimetable(berlin('30 2 * * *'));
    for (const asked of [
      '2026-10-25T00:30:00Z',
      '2026-10-25T01:00:00Z',
      '2026-10-25T01:10:00.500Z',
      '2026-10-25T01:30:00Z',
    ])
      expect(timetable.next(at(asked))).toBe(at('2026-10-26T01:30:00Z'));
  });

  test('that meets another one when it is moved is one tick', () => {
    expect(ticks(berlin('30 2,3 * * *'), '2026-03-29T00:00:00Z', '2026-03-29T12:00:00Z')).toEqual([
      '2026-03-29T01:30:00.000Z',
    ]);
  });

  test('of each hour follows the time that passes', () => {
    for (const day of ['2026-03-29', '2026-10-25']) {
      const halves = listed(berlin('*/30 * * * *'), at(`${day}T00:00:00Z`) - 1, at(`${day}T05:00:00Z`));
      expect(halves).toEqual(Array.from({ length: 11 }, (_, index) => at(`${day}T00:00:00Z`) + index * 1_800_000));
    }
  });

  test('of each day comes at each midnight', () => {
    expect(ticks(berlin('@daily'), '2026-10-24T12:00:00Z', '2026-10-26T12:00:00Z')).toEqual([
      '2026-10-24T22:00:00.000Z',
      '2026-10-25T23:00:00.000Z',
    ]);
  });
});

describe('a cron expression anywhere', () => {
  test('in a zone that changes by half an hour', () => {
    const timing = { cron: '15 2 * * *', timeZone: 'Australia/Lord_Howe' };
    expect(ticks(timing, '2026-10-03T00:00:00Z', '2026-10-04T20:00:00Z')).toEqual([
      '2026-10-03T15:45:00.000Z', // 02:45 on the wall: there was no 02:15.
      '2026-10-04T15:15:00.000Z',
    ]);
  });

  test('on a day that a zone left out comes a day later', () => {
    const timing = { cron: '0 9 * * *', timeZone: 'Pacific/Apia' };
    // The 30th of December 2011 was left out: its 09:00 is the 31st's.
    expect(ticks(timing, '2011-12-28T12:00:00Z', '2011-12-31T12:00:00Z')).toEqual(
      ['2011-12-28T19:00:00.000Z', '2011-12-29T19:00:00.000Z', '2011-12-30T19:00:00.000Z'].map((tick) =>
        new Date(tick).toISOString(),
      ),
    );
  });

  test('on the 29th of February waits for it', () => {
    expect(ticks({ cron: '0 0 29 2 *', timeZone: 'UTC' }, '2026-01-01T00:00:00Z', '2033-01-01T00:00:00Z')).toEqual([
      '2028-02-29T00:00:00.000Z',
      '2032-02-29T00:00:00.000Z',
    ]);
  });

  const zones = [
    'UTC',
    'Europe/Berlin',
    'America/New_York',
    'Australia/Lord_Howe',
    'Africa/Casablanca',
    'America/Santiago',
    'Asia/Kolkata',
    'Pacific/Chatham',
  ];
  const crons = [
    '30 2 * * *',
    '0 3 * * *',
    '*/20 * * * *',
    '15 2,3 * * *',
    '*/7 1-4 * * *',
    '0 0 * * *',
    '30 23 * * 6',
    '5 */2 * * *',
    '30 1 * * 0',
  ];
  // Each of these weeks has a change of the clock in one of the zones.
  const weeks = [
    '2026-03-07',
    '2026-03-20',
    '2026-03-27',
    '2026-04-03',
    '2026-09-04',
    '2026-09-25',
    '2026-10-02',
    '2026-10-23',
    '2026-10-30',
    '2026-02-13',
  ];

  test('ticks the same for everybody, whenever they ask', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom(...crons),
        fc.constantFrom(...weeks),
        fc.array(fc.nat(4 * DAY), { minLength: 10, maxLength: 40 }),
        (timeZone, cron, week, asked) => {
          const from = at(`${week}T00:00:00Z`);
          const all = listed({ cron, timeZone }, from, from + 14 * DAY);
          expect(all).toEqual([...new Set(all)].toSorted((one, other) => one - other));
          for (const after of asked) {
            const fresh = createTimetable({ cron, timeZone });
            expect(fresh.next(from + after)).toBe(all.find((tick) => tick > from + after));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('of a time of the day ticks once each day', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.nat(23),
        fc.nat(59),
        fc.constantFrom(...weeks),
        (timeZone, hour, minute, week) => {
          const from = at(`${week}T12:00:00Z`);
          const days = listed({ cron: `${minute} ${hour} * * *`, timeZone }, from, from + 10 * DAY);
          expect(days.length).toBeGreaterThanOrEqual(9);
          expect(days.length).toBeLessThanOrEqual(11);
          const gaps = days.slice(1).map((tick, index) => tick - (days[index] ?? 0));
          expect(Math.min(...gaps)).toBeGreaterThanOrEqual(22 * HOUR);
          expect(Math.max(...gaps)).toBeLessThanOrEqual(26 * HOUR);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('of which a great many are due is not gone through one by one', () => {
    const timetable = createTimetable({ cron: '* * * * * *', timeZone: 'Europe/Berlin' });
    const now = at('2026-06-01T00:00:00Z');
    const { newest, count } = timetable.between(now - 30 * DAY, now, 3);
    expect(newest).toEqual([now - 2_000, now - 1_000, now]);
    expect(count).toBeGreaterThanOrEqual(COUNTED_AT_MOST);
  });

  test('of which a great many came long ago still gives the newest', () => {
    const timetable = createTimetable({ cron: '* * * * 1', timeZone: 'UTC' }); // Each minute of Mondays.
    const monday = at('2026-06-01T00:00:00Z');
    const { newest } = timetable.between(monday - 1, monday + 6 * DAY, 2);
    expect(newest).toEqual([monday + 23 * HOUR + 58 * 60_000, monday + 23 * HOUR + 59 * 60_000]);
  });
});

describe('what is wrong', () => {
  test.each([
    ['', '5 fields'],
    ['* * *', '5 fields'],
    ['61 * * * *', 'expected range 0-59'],
    ['* * * * MOO', 'MOO'],
    ['@sometimes', '@sometimes'],
    ['0 0 30 2 *', 'no such day ever comes'],
    ['0 0 31 4,6 *', 'no such day ever comes'],
    ['H 3 * * *', 'another time in each process'],
  ])('with "%s" is said', (cron, said) => {
    expect(cronFault(cron)).toContain(said);
  });

  test('nothing is with what is right', () => {
    for (const cron of [
      '* * * * *',
      '*/5 * * * * *',
      '0 9 * * MON-FRI',
      '0 9 * * THU',
      '@weekly',
      '0 0 L * *',
      '0 0 29 2 *',
    ])
      expect(cronFault(cron), cron).toBeUndefined();
  });

  test('with a zone is known', () => {
    expect(['Europe/Berlin', 'UTC', 'Mars/Olympus', ''].map(isTimeZone)).toEqual([true, true, false, false]);
  });
});
