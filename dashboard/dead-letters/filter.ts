/** Which letters a page shows or an action means: the fields of the filter, as they stand in an address or a form. */
import type { DeadLetterFilter, DeadReason } from 'millrace';

/** Why a job is a dead letter, in the order of the form. */
export const REASONS: ReadonlyArray<{ value: DeadReason; text: string }> = [
  { value: 'attempts', text: 'all attempts failed' },
  { value: 'unrecoverable', text: 'unrecoverable' },
  { value: 'input', text: 'input does not match' },
  { value: 'expired', text: 'expired' },
  { value: 'poison', text: 'its workers died' },
  { value: 'version', text: 'version too new' },
  { value: 'handler', text: 'no handler' },
  { value: 'child', text: 'a child failed' },
];

/** The names of the fields. */
export const FIELDS = ['queue', 'contract', 'reason', 'fingerprint', 'from', 'to', 'text'] as const;

/** What was asked for, as texts; empty where nothing was. */
export type Asked = Record<(typeof FIELDS)[number], string>;

/** A filter, or what of it cannot be understood: then nothing may be done with it. */
export interface ReadFilter {
  filter: DeadLetterFilter;
  faults: Partial<Record<keyof Asked, string>>;
}

/** Reads the fields by whatever gives them. */
export function askedBy(read: (name: string) => string): Asked {
  return Object.fromEntries(FIELDS.map((name) => [name, read(name).trim().slice(0, 200)])) as Asked;
}

/** The filter that is meant. `secrets` is where texts are not looked for. */
export function filterOf(asked: Asked, secrets: DeadLetterFilter['secrets']): ReadFilter {
  const { queue, contract, reason, fingerprint, from, to, text } = asked;
  const faults: ReadFilter['faults'] = {};
  const times = { from: timeOf(from), to: timeOf(to) };
  if (from !== '' && times.from === undefined) faults.from = 'Expected a date and a time.';
  if (to !== '' && times.to === undefined) faults.to = 'Expected a date and a time.';
  if (reason !== '' && !REASONS.some(({ value }) => value === reason)) faults.reason = 'There is no such reason.';
  const filter: DeadLetterFilter = {
    ...(queue !== '' && { queue }),
    ...(contract !== '' && { contract }),
    ...(reason !== '' && !faults.reason && { reason: reason as DeadReason }),
    ...(fingerprint !== '' && { fingerprint }),
    ...(times.from !== undefined && { from: times.from }),
    ...(times.to !== undefined && { to: times.to }),
    ...(text !== '' && { text, ...(secrets && { secrets }) }),
  };
  return { filter, faults };
}

/** What the field of a form gives, `2026-03-01T12:00`, as UTC. */
export function timeOf(text: string): number | undefined {
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(`${text.slice(0, 16)}Z`) : Number.NaN;
  return Number.isNaN(at) || at < 0 ? undefined : at;
}

/** The fields that say something, for links and hidden fields. */
export function saidBy(asked: Asked): Record<string, string> {
  return Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== ''));
}

/** A link to the list with this filter. */
export function listLink(asked: Asked, more: Record<string, string> = {}): string {
  const query = new URLSearchParams({ ...saidBy(asked), ...more }).toString();
  return query === '' ? '/dead-letters' : `/dead-letters?${query}`;
}

/** A letter, or letters. */
export function lettersText(count: number): string {
  return count === 1 ? 'dead letter' : 'dead letters';
}

/** The filter in words, for people and for the audit. */
export function inWords(asked: Asked): string {
  const said = Object.entries(saidBy(asked)).map(([name, value]) => `${name} ${value}`);
  return said.length === 0 ? 'all dead letters' : `dead letters with ${said.join(', ')}`;
}
