/**
 * Durations are written as people say them: `'30s'`, `'5m'`, `'1.5h'`, or as a number of milliseconds.
 *
 * The type catches `'5 minutes'` at compile time and toMs() catches it at run time, so that an environment variable
 * is held to the same rule as a literal.
 */
import { MillraceError } from './errors.ts';

const MS_PER_UNIT = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

type Unit = keyof typeof MS_PER_UNIT;

/** A number of milliseconds, or a number with a unit: ms, s, m, h, d or w. */
export type Duration = number | `${number}${Unit}`;

const PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/;

/** What a duration looks like, for messages. */
export const DURATION_FORM = "a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d'";

/** The duration in milliseconds, or undefined when it is not one: negative, endless, unitless text, or no duration at all. */
export function tryToMs(duration: unknown): number | undefined {
  if (typeof duration === 'number') return isSafe(duration) ? duration : undefined;
  if (typeof duration !== 'string') return undefined;
  const match = PATTERN.exec(duration);
  if (!match) return undefined;
  const ms = Math.round(Number(match[1]) * MS_PER_UNIT[match[2] as Unit]);
  return isSafe(ms) ? ms : undefined;
}

/**
 * The duration in milliseconds.
 *
 * @example
 * toMs('5m'); // 300000
 * @throws MillraceError DURATION_INVALID, naming what came.
 */
export function toMs(duration: Duration): number {
  const ms = tryToMs(duration);
  if (ms === undefined) {
    throw new MillraceError(
      'DURATION_INVALID',
      `expected ${DURATION_FORM}, got ${JSON.stringify(duration) ?? 'undefined'}`,
      {
        duration,
      },
    );
  }
  return ms;
}

/** Milliseconds in the largest unit that keeps them readable: 340 ms, 1.5 s, 12 min, 3.2 h, 5 d. */
export function formatMs(ms: number): string {
  if (ms < 1_000) return `${trim(ms)} ms`;
  if (ms < 60_000) return `${trim(ms / 1_000)} s`;
  if (ms < 3_600_000) return `${trim(ms / 60_000)} min`;
  if (ms < 86_400_000) return `${trim(ms / 3_600_000)} h`;
  return `${trim(ms / 86_400_000)} d`;
}

function trim(value: number): string {
  return String(Number(value.toPrecision(value < 100 ? 2 : 3)));
}

function isSafe(ms: number): boolean {
  return ms >= 0 && Number.isSafeInteger(Math.round(ms));
}
