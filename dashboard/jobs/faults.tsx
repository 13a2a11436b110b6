/** What is wrong with an input that somebody typed: each fault with its path. */
import { isMillraceError, type Fault } from 'millrace';

/** The faults that an error tells of; undefined for an error that is no fault of what was typed. */
export function faultsOf(error: unknown): Fault[] | undefined {
  if (!isMillraceError(error)) return undefined;
  const { faults } = error.facts as { faults?: readonly Fault[] };
  if (error.code === 'PAYLOAD_TOO_LARGE') return [{ path: '', reason: error.message }];
  if (error.code !== 'INPUT_INVALID' && error.code !== 'OPTIONS_INVALID') return undefined;
  return faults ? [...faults] : [{ path: '', reason: error.message }];
}

/** A JSON text, or why it is none, with the line where it goes wrong. */
export function parseJson(text: string): { value: unknown } | { fault: Fault } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    const [, position] = /at position (\d+)/.exec((error as Error).message) ?? [];
    const line = position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length;
    return { fault: { path: '', reason: `This is no JSON${line === undefined ? '' : `: look at line ${line}`}.` } };
  }
}

/** All faults in one text, for the field that they belong to. */
export function faultText(faults: readonly Fault[]): string | undefined {
  if (faults.length === 0) return undefined;
  return faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
}
