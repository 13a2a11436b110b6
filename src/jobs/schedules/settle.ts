/**
 * What becomes of the ticks that have come due: each is run once, or counted as missed.
 *
 * A tick is on time if it is seen to within a minute and no later one has come due by then. What else is due was missed: no worker was
 * there, or Redis was away. The policy says what to do about that.
 */
import type { Timetable } from './timetable.ts';

/** What is done about missed ticks; see ScheduleOptions. */
export const MISSED_POLICIES = ['skip', 'one', 'all'] as const;
export type MissedPolicy = (typeof MISSED_POLICIES)[number];

/** A tick that is seen to later than this is a missed one. */
export const ON_TIME_MS = 60_000;

/** What to settle. */
export interface Unsettled {
  timetable: Timetable;
  /** All ticks up to this one are settled. */
  lastMs: number;
  nowMs: number;
  missed: MissedPolicy;
  /** Of `all`. */
  missedLimit: number;
}

/** How it is settled. */
export interface Settlement {
  /** The ticks to run, oldest first. */
  run: number[];
  /** How many of them are late. */
  late: number;
  /** How many ticks are not run. */
  missed: number;
  /** All ticks up to this one are settled now. */
  lastMs: number;
}

/** Settles what came due after `lastMs`, up to and with now. */
export function settle({ timetable, lastMs, nowMs, missed, missedLimit }: Unsettled): Settlement {
  const { newest, count } = timetable.between(lastMs, nowMs, missed === 'all' ? missedLimit : 1);
  const newestMs = newest.at(-1);
  if (newestMs === undefined) return { run: [], late: 0, missed: 0, lastMs };
  const isOnTime = nowMs - newestMs <= ON_TIME_MS;
  const run = missed === 'skip' && !isOnTime ? [] : newest;
  return { run, late: Math.max(0, run.length - (isOnTime ? 1 : 0)), missed: count - run.length, lastMs: newestMs };
}
