/**
 * Durations are written as people say them: `'30s'`, `'5m'`, `'1.5h'`, or as a number of milliseconds.
 *
 * The type catches `'5 minutes'` at compile time and toMs() catches it at run time, so that an environment variable
 * is held to the same rule as a literal.
 */
import { describeValue, MillraceError } from './errors.ts';

const MS_PER_UNIT = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

type Unit = keyof typeof MS_PER_UNIT;

/** A number of milliseconds, or a number with a unit: ms, s, m, h, d or w. */
export type Duration = number | `${number}${Unit}`;

const PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/;

/** What a duration looks like, for messages. */
export const DURATION_FORM = "a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d'";

/**
 * The duration in whole milliseconds, which is what Redis takes; undefined when it is not one: negative, endless, unitless
 * text, or no duration at all.
 */
export function tryToMs(duration: unknown): number | undefined {
  if (typeof duration === 'number') return wholeMs(duration);
  if (typeof duration !== 'string') return undefined;
  const match = PATTERN.exec(duration);
  return match ? wholeMs(Number(match[1]) * MS_PER_UNIT[match[2] as Unit]) : undefined;
}

/**
 * The duration in whole milliseconds.
 *
 * @example
 * toMs('5m'); // 300000
 * @throws MillraceError DURATION_INVALID, naming what came.
 */
export function toMs(duration: Duration): number {
  const ms = tryToMs(duration);
  if (ms === undefined) {
    throw new MillraceError('DURATION_INVALID', `expected ${DURATION_FORM}, got ${describeValue(duration)}`, {
      duration,
    });
  }
  return ms;
}

const SHOWN_UNITS = [
  { unit: 'ms', ms: 1, below: 1_000 },
  { unit: 's', ms: 1_000, below: 60 },
  { unit: 'min', ms: 60_000, below: 60 },
  { unit: 'h', ms: 3_600_000, below: 24 },
] as const;

/**
 * Milliseconds in the largest unit that keeps them readable.
 *
 * @example
 * formatMs(90_000); // '1.5 min'
 */
export function formatMs(ms: number): string {
  for (const shown of SHOWN_UNITS) {
    const count = rounded(ms / shown.ms);
    if (count < shown.below) return `${count} ${shown.unit}`;
  }
  return `${rounded(ms / MS_PER_UNIT.d)} d`;
}

/** Two digits where there are fewer before the point, else a whole number. */
function rounded(value: number): number {
  return value < 10 ? Number(value.toPrecision(2)) : Math.round(value);
}

function wholeMs(ms: number): number | undefined {
  const whole = Math.round(ms);
  return ms >= 0 && Number.isSafeInteger(whole) ? whole : undefined;
}
