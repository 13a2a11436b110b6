/**
 * Hides the secret values of an input wherever else they stand: in an error, a log, a result.
 *
 * A value of fewer than six characters may be anything, and is left. What holds a secret in part, such as a text that was cut through it, is too.
 */
import { maskSecrets, SECRET_MARK } from '../secrets.ts';

const SHORTEST_VALUE = 6;
const MOST_VALUES = 500;

/**
 * What puts `[secret]` in the place of the input's secret values, wherever they stand in another value; that is left as it is.
 *
 * @example
 * const hide = hideSecrets({ user: 'ann', password: 'hunter2' }, ['password']);
 * hide('hunter2 is wrong'); // [secret] is wrong
 */
export function hideSecrets(input: unknown, secrets: readonly string[]): <T>(value: T) => T {
  const values = new Set<string>();
  if (secrets.length > 0) collect(input, maskSecrets(input, secrets), values);
  if (values.size === 0) return (value) => value;
  // The longest first, so that one that begins another leaves nothing of it.
  const ordered = [...values].toSorted((one, other) => other.length - one.length).slice(0, MOST_VALUES);
  const hide = (text: string): string => ordered.reduce((rest, secret) => rest.replaceAll(secret, SECRET_MARK), text);
  return (value) => mapTexts(value, hide) as typeof value;
}

/** The leaves of what was masked. */
function collect(value: unknown, masked: unknown, into: Set<string>): void {
  if (value === masked) return;
  if (masked === SECRET_MARK) leavesOf(value, into);
  else if (isTree(value) && isTree(masked)) {
    for (const [key, inner] of Object.entries(value)) collect(inner, (masked as Record<string, unknown>)[key], into);
  }
}

/** Each as it is, and as it stands in JSON. */
function leavesOf(value: unknown, into: Set<string>): void {
  if (isTree(value)) for (const inner of Object.values(value)) leavesOf(inner, into);
  else if (typeof value === 'string' || typeof value === 'number') {
    const text = String(value);
    if (text.length >= SHORTEST_VALUE) into.add(text).add(JSON.stringify(text).slice(1, -1));
  }
}

function mapTexts(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === 'string') return map(value);
  if (typeof value === 'number') return map(String(value)) === String(value) ? value : SECRET_MARK;
  if (Array.isArray(value)) return value.map((item: unknown) => mapTexts(item, map));
  if (!isTree(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [map(key), mapTexts(inner, map)]));
}

function isTree(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
