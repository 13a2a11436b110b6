/** What flags say, as numbers, lists and moments. */
import { systemClock, toMs, type Duration } from '../index.ts';
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
export function countOf(name: string, flags: Words['flags'], least = 1): number | undefined {
  const count = numberOf(name, flags);
  if (count === undefined || (Number.isSafeInteger(count) && count >= least)) return count;
  throw new UsageError(`--${name}: expected a whole number of at least ${least}, got ${count}`);
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

/** How long ago, or when: `15m`, `2026-11-21`, `2026-11-21T10:00Z`. In milliseconds since 1970. @throws UsageError */
export function momentOf(name: string, flags: Words['flags']): number | undefined {
  const text = textOf(name, flags);
  if (text === undefined) return undefined;
  if (/^[\d.]+(?:ms|s|m|h|d|w)$/.test(text)) return systemClock.wallMs() - toMs(text as Duration);
  const at = /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new UsageError(`--${name}: expected how long ago, such as 15m, or a date, got ${text}`);
  return at;
}
