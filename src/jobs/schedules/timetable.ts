/**
 * The ticks of a schedule: pure arithmetic, so that every process that asks finds the same ones, whenever it asks.
 *
 * An interval ticks on a grid that begins in 1970, not at the start of some process. A cron expression is matched against the clock on
 * the wall of its zone. Where that clock is changed:
 * - What it never shows (spring) comes as long after midnight as on any other day: 02:30 comes at what is then called 03:30.
 * - What it shows twice (autumn) comes the first time only.
 * - An expression that ticks in every hour of the day (hour field `*`) follows the time that passes: nothing is moved or left out.
 *
 * cron-parser reads the expressions and counts in UTC only: asked from within an hour that is skipped or repeated, its own answers for
 * a zone depend on the moment of the question, so that two processes would see different ticks.
 */
import { CronExpressionParser, type CronExpression } from 'cron-parser';
import { describeValue, MillraceError } from '../../errors.ts';
import { Zone, zoneOf, type Span } from './zone.ts';

/** When a schedule ticks. */
export type Timing =
  | { readonly cron: string; readonly timeZone: string }
  | { readonly everyMs: number; readonly offsetMs: number };

/** Some of the ticks in a stretch of time. */
export interface Ticks {
  /** The newest, oldest first. */
  newest: number[];
  /** How many there are. Of more than COUNTED_AT_MOST of a cron expression, so many or more. */
  count: number;
}

/** The ticks of one schedule. */
export interface Timetable {
  /** The first tick after the moment; undefined when none is left. */
  next(afterMs: number): number | undefined;
  /** The ticks after one moment up to and with another one, of which the `keep` newest are listed. */
  between(afterMs: number, untilMs: number, keep: number): Ticks;
}

/** To look at more ticks of a cron expression at once would hold up the event loop. */
export const COUNTED_AT_MOST = 1_000;

/** @throws MillraceError OPTIONS_INVALID for an expression or zone that is wrong; see cronFault(). */
export function createTimetable(timing: Timing): Timetable {
  return 'cron' in timing ? cronTimetable(timing.cron, timing.timeZone) : intervalTimetable(timing);
}

/** What is wrong with the expression; undefined when nothing is. */
export function cronFault(cron: string): string | undefined {
  const fields = cron.trim().split(/\s+/);
  const isAlias = fields.length === 1 && /^@[a-z]+$/i.test(cron.trim());
  if (!isAlias && fields.length !== 5 && fields.length !== 6) {
    return `expected 5 fields (minute hour day month weekday), or 6 with seconds first, got ${describeValue(cron)}`;
  }
  if (/(?:^|[\s,])H/i.test(cron)) return `H means another time in each process; choose one, got ${describeValue(cron)}`;
  try {
    parse(cron).next();
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const why = /loop limit|day of month/i.test(reason) ? 'no such day ever comes' : reason;
    return `expected a cron expression, got ${describeValue(cron)}: ${why}`;
  }
}

/** Whether there is such a time zone. */
export function isTimeZone(name: string): boolean {
  try {
    return new Zone(name).offsetAt(0) < Number.POSITIVE_INFINITY;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

function intervalTimetable({ everyMs, offsetMs }: { everyMs: number; offsetMs: number }): Timetable {
  const index = (atMs: number): number => Math.floor((atMs - offsetMs) / everyMs);
  const tick = (at: number): number => at * everyMs + offsetMs;
  return {
    next: (afterMs) => tick(index(afterMs) + 1),
    between(afterMs, untilMs, keep) {
      const count = Math.max(0, index(untilMs) - index(afterMs));
      const listed = Math.min(count, keep);
      const first = index(untilMs) - listed + 1;
      return { newest: Array.from({ length: listed }, (_, at) => tick(first + at)), count };
    },
  };
}

function cronTimetable(cron: string, timeZone: string): Timetable {
  const fault = cronFault(cron);
  if (fault !== undefined) throw new MillraceError('OPTIONS_INVALID', `cron: ${fault}`, { cron });
  const walls = new Walls(parse(cron));
  const zone = zoneOf(timeZone);
  const next = (afterMs: number): number | undefined => {
    let fromMs = afterMs + 1;
    for (let spans = 0; spans < MOST_SPANS; spans++) {
      const span = zone.spanAt(fromMs);
      const tick = walls.firstIn(span, fromMs);
      if (tick !== undefined) return tick;
      fromMs = span.untilMs;
    }
    return undefined;
  };
  return { next, between: (afterMs, untilMs, keep) => betweenOf(next, afterMs, untilMs, keep) };
}

/** Some 50 years of a zone with two changes a year; the 29th of February on a given weekday comes every 28. */
const MOST_SPANS = 100;

function betweenOf(
  next: (afterMs: number) => number | undefined,
  afterMs: number,
  untilMs: number,
  keep: number,
): Ticks {
  const first = list(next, afterMs, untilMs, COUNTED_AT_MOST);
  const reached = first.at(-1);
  if (reached === undefined || first.length < COUNTED_AT_MOST)
    return { newest: first.slice(first.length - Math.min(keep, first.length)), count: first.length };
  // Too many to go through: as wide a window before the end as that many took at the beginning, or wider where it has none.
  let widthMs = reached - afterMs;
  let last: number[] = [];
  while (last.length === 0) {
    const fromMs = Math.max(reached, untilMs - widthMs);
    last = list(next, fromMs, untilMs, COUNTED_AT_MOST * 10);
    if (fromMs === reached) break;
    widthMs *= 4;
  }
  return { newest: (last.length > 0 ? last : first).slice(-keep), count: first.length + last.length };
}

function list(next: (afterMs: number) => number | undefined, afterMs: number, untilMs: number, most: number): number[] {
  const ticks: number[] = [];
  for (let tick = next(afterMs); tick !== undefined && tick <= untilMs && ticks.length < most; tick = next(tick))
    ticks.push(tick);
  return ticks;
}

function parse(cron: string): CronExpression {
  return CronExpressionParser.parse(cron, { tz: 'UTC', currentDate: new Date(0) });
}

/** The times that an expression means, as a clock on the wall shows them, written as if they were of UTC. */
class Walls {
  readonly #expression: CronExpression;
  /** It ticks in each hour: then it follows the time that passes. */
  readonly #isHourly: boolean;

  constructor(expression: CronExpression) {
    this.#expression = expression;
    this.#isHourly = expression.fields.hour.values.length === 24;
  }

  /** The first tick of the span that is not before the moment, in real time. */
  firstIn({ offsetMs, began, untilMs }: Span, fromMs: number): number | undefined {
    let wallMs = fromMs + offsetMs;
    let skipped: number | undefined;
    if (began && !this.#isHourly) {
      if (began.beforeMs > offsetMs) wallMs = Math.max(wallMs, began.atMs + began.beforeMs);
      else skipped = this.#skipped(began.beforeMs, began.atMs + offsetMs, fromMs);
    }
    const first = Math.min(this.#next(wallMs) - offsetMs, skipped ?? Infinity);
    return first < untilMs ? first : undefined;
  }

  /** Of what the clock never showed when the span began: it comes by the offset before. */
  #skipped(beforeMs: number, wallAtBeginMs: number, fromMs: number): number | undefined {
    const wall = this.#next(fromMs + beforeMs);
    return wall < wallAtBeginMs ? wall - beforeMs : undefined;
  }

  /** The first one that is not before the moment. */
  #next(wallMs: number): number {
    // The expression knows whole seconds, and gives what comes after.
    this.#expression.reset(new Date(Math.ceil(wallMs / 1_000) * 1_000 - 1_000));
    return this.#expression.next().getTime();
  }
}
