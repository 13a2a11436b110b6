/** Periods against a model that asks Intl what clocks show, step by step, and against the odd days of the last decades. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  isTimeZone,
  periodById,
  periodOf,
  periodsBefore,
  type Every,
  type Period,
} from '../../src/leaderboard/calendar.ts';

const HOUR_MS = 3_600_000;
const KINDS: readonly Every[] = ['day', 'week', 'month'];
const at = (text: string): number => Date.parse(text);
const hoursOf = ({ startMs, endMs }: Period): number => (endMs - startMs) / HOUR_MS;

/** The date that clocks show, asked in another way than the calendar asks. */
function datesOf(timeZone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  return (ms) => format.format(ms);
}

/** The id of a date's period, reckoned with the year of its Thursday. */
function modelId(every: Every, date: string): string {
  if (every === 'day') return date;
  if (every === 'month') return date.slice(0, 7);
  const thursday = new Date(at(`${date}T00:00Z`));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * 24 * HOUR_MS)) + 1;
  return `${year}-W${String(week).padStart(2, '0')}`;
}

/** The days between two instants, found by walking. A date that is shown again counts for nothing. */
function walk(
  timeZone: string,
  fromMs: number,
  toMs: number,
  stepMs: number,
): Array<{ date: string; startMs: number }> {
  const dateOf = datesOf(timeZone);
  const days: Array<{ date: string; startMs: number }> = [];
  for (let ms = fromMs; ms < toMs; ms += stepMs) {
    const date = dateOf(ms);
    if (date > (days.at(-1)?.date ?? '')) days.push({ date, startMs: ms });
  }
  return days;
}

/** The whole periods that the days make up: of the first and the last one, not all may be there. */
function periodsIn(days: ReturnType<typeof walk>, every: Every): Period[] {
  const found: Array<{ id: string; startMs: number; endMs: number }> = [];
  for (const { date, startMs } of days) {
    const id = modelId(every, date);
    const last = found.at(-1);
    if (last?.id === id) continue;
    if (last) last.endMs = startMs;
    found.push({ id, startMs, endMs: Number.NaN });
  }
  return found.slice(1, -1);
}

describe('against a walk through the hours', () => {
  test.each([
    ['America/Sao_Paulo', '2017-10-01', '2019-04-01', 60],
    ['Africa/Cairo', '2022-12-01', '2024-12-01', 60],
    ['Asia/Beirut', '2021-12-01', '2023-06-01', 60],
    ['Pacific/Apia', '2011-06-01', '2012-06-01', 60],
    ['Europe/Berlin', '2019-12-01', '2021-02-01', 60],
    ['Australia/Lord_Howe', '2024-01-01', '2024-12-01', 15],
    ['Asia/Kathmandu', '2024-11-01', '2025-02-01', 15],
    ['America/St_Johns', '2010-10-25', '2010-11-15', 1], // Its clocks went back at one minute past midnight.
  ])('%s from %s to %s', (zone, from, to, stepMinutes) => {
    const days = walk(zone, at(from), at(to), stepMinutes * 60_000);
    expect(days.length).toBeGreaterThan(15);
    for (const every of KINDS) {
      const periods = periodsIn(days, every);
      for (const period of periods) {
        expect(periodOf(every, zone, period.startMs)).toEqual(period);
        expect(periodOf(every, zone, period.endMs - 1)).toEqual(period);
        expect(periodById(every, zone, period.id)).toEqual(period);
      }
      const newest = periods.at(-1)?.startMs ?? 0;
      expect(periodsBefore(every, zone, newest, periods.length)).toEqual(periods.toReversed());
    }
  });
});

describe('any zone at any time', () => {
  const zones = fc.constantFrom(...Intl.supportedValuesOf('timeZone'), 'UTC');
  const kinds = fc.constantFrom(...KINDS);
  const instants = fc.integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(2100, 0, 1) });

  test('an instant lies in its period, which touches those before and after it, and is found by its id', () => {
    fc.assert(
      fc.property(kinds, zones, instants, (every, zone, ms) => {
        const period = periodOf(every, zone, ms);
        expect(period.startMs).toBeLessThanOrEqual(ms);
        expect(period.endMs).toBeGreaterThan(ms);
        const before = periodOf(every, zone, period.startMs - 1);
        const after = periodOf(every, zone, period.endMs);
        expect([before.endMs, after.startMs]).toEqual([period.startMs, period.endMs]);
        expect([before.id, period.id, after.id].toSorted()).toEqual([before.id, period.id, after.id]);
        expect(new Set([before.id, period.id, after.id]).size).toBe(3);
        expect(periodsBefore(every, zone, period.endMs, 3)).toEqual([after, period, before]);
        for (const one of [before, period, after]) expect(periodById(every, zone, one.id)).toEqual(one);
      }),
      { numRuns: 250 },
    );
  });

  test('a period begins where clocks first show its first day or a later one', () => {
    fc.assert(
      fc.property(kinds, zones, instants, (every, zone, ms) => {
        const { id, startMs } = periodOf(every, zone, ms);
        const dateOf = datesOf(zone);
        expect(modelId(every, dateOf(startMs))).toBe(id);
        expect(modelId(every, dateOf(startMs - 1)) < id).toBe(true);
      }),
      { numRuns: 250 },
    );
  });

  test('what was asked before changes no answer', () => {
    fc.assert(
      fc.property(kinds, zones, fc.array(instants, { minLength: 2, maxLength: 5 }), (every, zone, all) => {
        const first = all.map((ms) => periodOf(every, zone, ms));
        expect(all.toReversed().map((ms) => periodOf(every, zone, ms))).toEqual(first.toReversed());
      }),
      { numRuns: 100 },
    );
  });
});

describe('odd days', () => {
  test('have 23 or 25 hours, or half an hour more or less, where clocks change', () => {
    expect(hoursOf(periodOf('day', 'Europe/Berlin', at('2026-03-29T12:00Z')))).toBe(23);
    expect(hoursOf(periodOf('day', 'Europe/Berlin', at('2026-10-25T12:00Z')))).toBe(25);
    expect(hoursOf(periodOf('week', 'Europe/Berlin', at('2026-03-29T12:00Z')))).toBe(167);
    expect(hoursOf(periodById('day', 'Australia/Lord_Howe', '2026-04-05') as Period)).toBe(24.5);
    expect(hoursOf(periodById('day', 'Australia/Lord_Howe', '2026-10-04') as Period)).toBe(23.5);
  });

  test.each([
    ['America/Sao_Paulo', '2018-11-04', '2018-11-04T03:00Z', 23],
    ['Africa/Cairo', '2023-04-28', '2023-04-27T22:00Z', 23],
    ['Asia/Beirut', '2022-03-27', '2022-03-26T22:00Z', 23],
    ['America/Havana', '2024-11-03', '2024-11-03T04:00Z', 25], // Its second midnight does not begin the day anew.
    ['America/St_Johns', '2010-11-07', '2010-11-07T02:30Z', 25],
  ])('%s %s begins at %s', (zone, id, start, hours) => {
    const day = periodById('day', zone, id) as Period;
    expect([day.startMs, hoursOf(day)]).toEqual([at(start), hours]);
    expect(periodOf('day', zone, day.startMs)).toEqual(day);
    expect(periodOf('day', zone, day.startMs - 1).id < id).toBe(true);
  });

  test('a day that a zone skipped is no period, and those around it touch', () => {
    expect(periodById('day', 'Pacific/Apia', '2011-12-30')).toBeUndefined();
    const last = periodsBefore('day', 'Pacific/Apia', at('2011-12-31T00:00+14:00'), 2);
    expect(last.map(({ id }) => id)).toEqual(['2011-12-31', '2011-12-29']);
    expect(last[1]?.endMs).toBe(last[0]?.startMs);
    expect(hoursOf(periodById('week', 'Pacific/Apia', '2011-W52') as Period)).toBe(144);
    expect(periodById('day', 'Pacific/Kwajalein', '1993-08-21')).toBeUndefined();
  });

  test('zones at a quarter of an hour begin their days there', () => {
    const { startMs } = periodOf('day', 'Asia/Kathmandu', at('2026-11-20T12:00Z'));
    expect(new Date(startMs).toISOString()).toBe('2026-11-19T18:15:00.000Z');
  });
});

describe('ids', () => {
  test.each([
    ['2026-01-01', '2026-W01'],
    ['2027-01-01', '2026-W53'],
    ['2027-01-03', '2026-W53'],
    ['2027-01-04', '2027-W01'],
    ['2024-12-30', '2025-W01'],
    ['2021-01-03', '2020-W53'],
    ['2000-02-29', '2000-W09'],
  ])('%s lies in %s', (date, week) => {
    expect(periodOf('week', 'UTC', at(`${date}T12:00Z`)).id).toBe(week);
    expect(periodById('week', 'UTC', week)?.id).toBe(week);
  });

  test.each<[Every, string]>([
    ['day', '2026-02-29'],
    ['day', '2026-13-01'],
    ['day', '2026-11-00'],
    ['day', '2026-11'],
    ['day', ' 2026-11-20'],
    ['day', '0000-01-01'],
    ['week', '2025-W53'],
    ['week', '2026-W00'],
    ['week', '2026-47'],
    ['month', '2026-00'],
    ['month', '2026-13'],
    ['month', ''],
  ])('of no %s: %o', (every, id) => {
    expect(periodById(every, 'UTC', id)).toBeUndefined();
  });

  test('no periods are asked for: none are given', () => {
    expect(periodsBefore('day', 'UTC', 0, 0)).toEqual([]);
  });
});

test('a zone is one of the IANA database, by its name', () => {
  expect(['UTC', 'Europe/Berlin', 'Asia/Calcutta', 'america/new_york'].filter(isTimeZone)).toHaveLength(4);
  expect(['', '+02:00', 'Mars/Olympus', 'UTC+1', undefined, 7, {}].filter(isTimeZone)).toEqual([]);
});

test('more zones than are kept are right too, and the period asked for last is given again as it is', () => {
  const ms = at('2026-11-20T12:00Z');
  const all = Intl.supportedValuesOf('timeZone').slice(0, 150);
  const first = all.map((zone) => periodOf('day', zone, ms));
  expect(all.map((zone) => periodOf('day', zone, ms))).toEqual(first);
  expect(periodOf('day', 'UTC', ms)).toBe(periodOf('day', 'UTC', ms + 1));
  expect(Object.isFrozen(periodOf('day', 'UTC', ms))).toBe(true);
});
