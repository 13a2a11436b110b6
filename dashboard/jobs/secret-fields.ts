/** Inputs that come back from a form: what was shown as `[secret]` keeps its real value. */
import { maskSecrets, SECRET_MARK } from 'millrace';

/** Inputs with more characters of JSON are shown in part only, and not edited here. */
export const LONGEST_EDITED = 64 * 1_024;

/** The input as a form shows it; undefined where it is too large for one. */
export function editableText(input: unknown, secrets: readonly string[]): string | undefined {
  const text = JSON.stringify(maskSecrets(input, secrets), undefined, 2) ?? 'null';
  return text.length > LONGEST_EDITED ? undefined : text;
}

/**
 * The edited input with the real values in the place of the marks, each at the path where it was. A mark stays a text where the original has no
 * secret.
 *
 * @example
 * restoreSecrets({ to: 'ann', password: '[secret]' }, { to: 'bob', password: 'x' }, ['password']); // { to: 'ann', password: 'x' }
 */
export function restoreSecrets(edited: unknown, original: unknown, secrets: readonly string[]): unknown {
  return secrets.length === 0 ? edited : restored(edited, original, maskSecrets(original, secrets));
}

/** `masked` is the original as it was shown: where it has a mark and the original another value, there is a secret. */
function restored(edited: unknown, original: unknown, masked: unknown): unknown {
  if (edited === SECRET_MARK) return masked === SECRET_MARK ? original : edited;
  if (Array.isArray(edited))
    return edited.map((item: unknown, index) => restored(item, at(original, index), at(masked, index)));
  if (typeof edited !== 'object' || edited === null) return edited;
  return Object.fromEntries(
    Object.entries(edited).map(([key, value]) => [key, restored(value, at(original, key), at(masked, key))]),
  );
}

function at(value: unknown, key: string | number): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string | number, unknown>)[key]
    : undefined;
}
