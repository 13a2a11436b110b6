/** What flags and words say, as numbers, lists, moments and contracts. */
import { z } from 'zod';
import { defineJob, isMillraceError, systemClock, toMs, type Duration, type JobContract } from '../index.ts';
import { UsageError, type Flag, type Words } from './command.ts';

/** The flag of every command that prints facts. */
export const JSON_FLAG: Readonly<Record<string, Flag>> = {
  json: 'Prints JSON: one document, or of a list a line each.',
};

/** The flag's text; undefined when it was not given. @throws UsageError for an empty one, which a script's unset variable leaves behind */
export function textOf(name: string, { [name]: text }: Words['flags']): string | undefined {
  if (typeof text !== 'string') return undefined;
  if (text === '') throw new UsageError(`--${name}: expected a value, got none`);
  return text;
}

/** A whole number of at least `least`. @throws UsageError */
export function countOf(name: string, flags: Words['flags'], least = 1, most = Infinity): number | undefined {
  const count = numberOf(name, flags);
  if (count !== undefined && !(Number.isSafeInteger(count) && count >= least))
    throw new UsageError(`--${name}: expected a whole number of at least ${least}, got ${count}`);
  if (count !== undefined && count > most) throw new UsageError(`--${name}: expected at most ${most}, got ${count}`);
  return count;
}

/** @throws UsageError */
export function numberOf(name: string, flags: Words['flags']): number | undefined {
  const text = textOf(name, flags);
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!Number.isFinite(number)) throw new UsageError(`--${name}: expected a number, got ${text}`);
  return number;
}

/** Items with commas between them. @throws UsageError */
export function listOf(name: string, flags: Words['flags']): string[] | undefined {
  const items = textOf(name, flags)
    ?.split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (items?.length === 0) throw new UsageError(`--${name}: expected names with commas between them`);
  return items;
}

/** One of some words. @throws UsageError */
export function choiceOf<Choice extends string>(
  name: string,
  flags: Words['flags'],
  choices: readonly Choice[],
): Choice | undefined {
  const text = textOf(name, flags);
  if (text === undefined || choices.includes(text as Choice)) return text as Choice | undefined;
  throw new UsageError(`--${name}: expected one of ${choices.join(', ')}, got ${text}`);
}

/** Such as `30s`. @throws UsageError */
export function durationOf(name: string, flags: Words['flags']): Duration | undefined {
  const text = textOf(name, flags) as Duration | undefined;
  if (text !== undefined) msOf(name, text);
  return text;
}

function msOf(name: string, text: Duration): number {
  try {
    return toMs(text);
  } catch (error) {
    if (!isMillraceError(error, 'DURATION_INVALID')) throw error;
    throw new UsageError(`--${name}: expected how long, such as 500ms, 30s or 1h, got ${text}`, { cause: error });
  }
}

/** How long ago, or when: `15m`, `2026-11-21`, `2026-11-21T10:00Z`. In milliseconds since 1970. @throws UsageError */
export function momentOf(name: string, flags: Words['flags']): number | undefined {
  const text = textOf(name, flags);
  if (text === undefined) return undefined;
  if (/^[\d.]+(?:ms|s|m|h|d|w)$/.test(text)) return systemClock.wallMs() - msOf(name, text as Duration);
  const at = /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new UsageError(`--${name}: expected how long ago, such as 15m, or a date, got ${text}`);
  return at;
}

/** A contract of which the name is known, and maybe the queue. @throws UsageError for names that the library refuses */
export function contractNamed(name: string, queue?: string): JobContract {
  try {
    return defineJob({ name, input: z.unknown(), queue });
  } catch (error) {
    if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    const [fault] = error.facts['faults'] as Array<{ path: string; reason: string }>;
    const word = fault?.path === 'queue' ? '--queue' : 'NAME';
    throw new UsageError(`${word}: ${fault?.reason ?? error.message}`, { cause: error });
  }
}
