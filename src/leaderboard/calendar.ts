/**
 * Days, weeks and months as people in a time zone live them.
 *
 * Promise: every instant lies in exactly one period of a kind, and one period ends where the next begins. A day begins with the first
 * instant at which the zone's date is that day or a later one: after the gap where midnight does not exist, at the first of two midnights
 * where clocks go back over it. A day that the zone skipped is no period. Weeks are those of ISO 8601: they begin on Monday, and the first
 * one of a year holds its 4th of January. For the years 1000 to 9999, whose ids sort.
 *
 * The rules of the zones are those of Intl, so of the Node that runs. Asking Intl costs microseconds, so the period asked for last is kept
 * for each zone: while an instant lies within it, the answer is two comparisons.
 */

/** How long the periods are. */
export type Every = 'day' | 'week' | 'month';

/** A day, week or month in a time zone. It lasts from `startMs` until just before `endMs`. */
export interface Period {
  /** `2026-11-20`, `2026-W47` or `2026-11`. Ids of one kind sort as their periods do. */
  readonly id: string;
  /** In ms since 1970. */
  readonly startMs: number;
  readonly endMs: number;
}

const DAY_MS = 86_400_000;
const MOST_ZONES = 64;
/** Longer than any zone has ever been ahead of UTC or behind it. */
const FARTHEST_MS = 16 * 3_600_000;
const MONDAY = 4; // 1970-01-05, as a day's number.
const ID_FORMS = {
  day: /^([1-9]\d{3})-(\d\d)-(\d\d)$/,
  week: /^([1-9]\d{3})-W(\d\d)$/,
  month: /^([1-9]\d{3})-(\d\d)$/,
} as const satisfies Record<Every, RegExp>;

/** A zone that was asked for. */
interface Zone {
  /** What clocks there show, as `11/20/2026, 13:05:09`. */
  readonly shown: Intl.DateTimeFormat;
  /** The period of each kind that was asked for last. */
  readonly last: Partial<Record<Every, Period>>;
}

/** The latest one that was made comes last. */
const zones = new Map<string, Zone>();

/**
 * The period in which the instant lies.
 *
 * @example
 * periodOf('day', 'America/Sao_Paulo', Date.UTC(2018, 10, 4, 12)); // { id: '2018-11-04', startMs, endMs }: 23 hours
 */
export function periodOf(every: Every, timeZone: string, instantMs: number): Period {
  const zone = zoneOf(timeZone);
  const last = zone.last[every];
  if (last && instantMs >= last.startMs && instantMs < last.endMs) return last;
  return (zone.last[every] = find(zone, every, instantMs));
}

/**
 * The period of that id; undefined when there is none: another form, a date that the calendar lacks, or a day that the zone skipped.
 *
 * @example
 * periodById('week', 'Europe/Berlin', '2026-W53'); // from 2026-12-28 until 2027-01-04 there
 */
export function periodById(every: Every, timeZone: string, id: string): Period | undefined {
  const first = dayOfId(every, id);
  if (first === undefined) return undefined;
  const period = periodFrom(zoneOf(timeZone), every, first);
  return period.startMs === period.endMs ? undefined : period;
}

/**
 * That many periods, the newest first: the one in which the instant lies, and those before it.
 *
 * @example
 * periodsBefore('month', 'UTC', Date.UTC(2026, 1, 1), 3).map(({ id }) => id); // ['2026-02', '2026-01', '2025-12']
 */
export function periodsBefore(every: Every, timeZone: string, instantMs: number, count: number): Period[] {
  if (count < 1) return [];
  const zone = zoneOf(timeZone);
  const periods = [periodOf(every, timeZone, instantMs)];
  let first = dayOfId(every, periods[0]?.id ?? '') as number;
  while (periods.length < count) {
    first = firstDayOf(every, first - 1);
    const period = periodFrom(zone, every, first);
    if (period.startMs < period.endMs) periods.push(period);
  }
  return periods;
}

/**
 * Whether it names a time zone of the IANA database that this Node knows. An offset such as `+02:00` names none: it has no calendar of its
 * own, and not every Node takes it.
 *
 * @example
 * isTimeZone('Europe/Berlin'); // true
 */
export function isTimeZone(name: unknown): name is string {
  if (typeof name !== 'string' || !/^[A-Za-z]/.test(name)) return false;
  try {
    zoneOf(name);
    return true;
  } catch {
    return false; // A RangeError is how Intl says no.
  }
}

function zoneOf(timeZone: string): Zone {
  const known = zones.get(timeZone);
  if (known) return known;
  const shown = new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  const zone: Zone = { shown, last: {} };
  const [oldest] = zones.keys();
  if (oldest !== undefined && zones.size >= MOST_ZONES) zones.delete(oldest);
  zones.set(timeZone, zone);
  return zone;
}

function find(zone: Zone, every: Every, instantMs: number): Period {
  let period = periodFrom(zone, every, firstDayOf(every, Math.floor(localMs(zone, instantMs) / DAY_MS)));
  // Where clocks go back over midnight, the date that they show is that of yesterday again, but the day has begun.
  while (instantMs >= period.endMs)
    period = periodFrom(zone, every, dayAfter(every, dayOfId(every, period.id) as number));
  return period;
}

/** @param first the number of its first day */
function periodFrom(zone: Zone, every: Every, first: number): Period {
  const startMs = startOf(zone, first);
  const endMs = startOf(zone, dayAfter(every, first));
  return Object.freeze({ id: idOf(every, first), startMs, endMs });
}

/** What a clock in the zone shows, as the ms since 1970 at which one in UTC shows the same. */
function localMs({ shown }: Zone, instantMs: number): number {
  const [month, day, year, hour, minute, second] = shown.format(instantMs).match(/\d+/g) as string[];
  const ms = instantMs - Math.floor(instantMs / 1_000) * 1_000;
  return (
    Date.UTC(Number(year), Number(month) - 1, Number(day)) +
    (Number(hour) * 60 + Number(minute)) * 60_000 +
    Number(second) * 1_000 +
    ms
  );
}

/** The first instant at which the zone's date is the day or a later one. */
function startOf(zone: Zone, day: number): number {
  const midnightMs = day * DAY_MS;
  let before = midnightMs - FARTHEST_MS;
  // Right where the clock is not changed in the hours before; and where it is, that midnight was there before the change.
  const guess = midnightMs - (localMs(zone, before) - before);
  if (localMs(zone, guess) === midnightMs) return guess;
  let from = midnightMs + FARTHEST_MS;
  while (from - before > 1) {
    const middle = Math.floor((before + from) / 2);
    if (localMs(zone, middle) < midnightMs) before = middle;
    else from = middle;
  }
  return from;
}

/** The first day of the period in which the day lies. Days are counted from 1970-01-01. */
function firstDayOf(every: Every, day: number): number {
  if (every === 'day') return day;
  if (every === 'week') return day - modulo(day - MONDAY, 7);
  const date = new Date(day * DAY_MS);
  return day - date.getUTCDate() + 1;
}

/** The first day of the period after the one that begins on that day. */
function dayAfter(every: Every, first: number): number {
  if (every === 'day') return first + 1;
  return every === 'week' ? first + 7 : firstDayOf('month', first + 31);
}

function idOf(every: Every, first: number): string {
  if (every === 'week') {
    // A week belongs to the year in which its Thursday lies.
    const year = new Date((first + 3) * DAY_MS).getUTCFullYear();
    return `${padded(year, 4)}-W${padded((first - firstWeekOf(year)) / 7 + 1, 2)}`;
  }
  const date = new Date(first * DAY_MS);
  const month = `${padded(date.getUTCFullYear(), 4)}-${padded(date.getUTCMonth() + 1, 2)}`;
  return every === 'month' ? month : `${month}-${padded(date.getUTCDate(), 2)}`;
}

/** The number of the first day; undefined for what is no id. */
function dayOfId(every: Every, id: string): number | undefined {
  const match = ID_FORMS[every].exec(id);
  if (!match) return undefined;
  const [year, second, third] = match.slice(1).map(Number) as [number, number, number | undefined];
  const first =
    every === 'week' ? firstWeekOf(year) + (second - 1) * 7 : Date.UTC(year, second - 1, third ?? 1) / DAY_MS;
  return idOf(every, first) === id ? first : undefined; // The 30th of February would be a day in March.
}

/** The Monday of the week in which the 4th of January lies. */
function firstWeekOf(year: number): number {
  return firstDayOf('week', Date.UTC(year, 0, 4) / DAY_MS);
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

function padded(value: number, length: number): string {
  return String(value).padStart(length, '0');
}
