/**
 * What travels to another process: a value as plain JSON.
 *
 * The schema sees the JSON form and not the value that was given, because that is what the other process will see: a Date that became a
 * string is refused here, with its path, and not an hour later over there. What is stored is the value before the schema's
 * defaults and transforms, so that the same schema can parse it again. A value that JSON would leave as it is, as most are, need
 * not be parsed to know its JSON form.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { MillraceError, describeValue } from './errors.ts';
import { inputFaults, type Schema } from './schema.ts';

/** The largest payload by default, in bytes of JSON. */
export const DEFAULT_MAX_PAYLOAD_BYTES = 256 * 1_024;

/** No character of a string takes more bytes of UTF-8. */
const BYTES_PER_CHAR = 3;

/** What is encoded, and within which bounds. */
export interface PayloadRule {
  readonly schema: Schema<unknown, unknown>;
  /** The contract that asks for it. */
  readonly contract: string;
  /** What messages call it, such as `the input of email.send`. */
  readonly what: string;
  readonly maxBytes: number;
}

/**
 * The value as it travels, once the schema has agreed to it. A promise only where the schema answers with one.
 *
 * @throws MillraceError INPUT_INVALID with each path and reason; PAYLOAD_TOO_LARGE.
 */
export function encodePayload(value: unknown, rule: PayloadRule): string | Promise<string> {
  const { schema, what, maxBytes } = rule;
  const json = toJson(what, value);
  if (json.length * BYTES_PER_CHAR > maxBytes) checkSize(json, rule);
  const result = schema['~standard'].validate(isJson(value) ? value : JSON.parse(json));
  if (isPromise(result)) {
    return result.then(({ issues }) => {
      if (issues) throw refused(what, issues, value);
      return json;
    });
  }
  if (result.issues) throw refused(what, result.issues, value);
  return json;
}

/** The value as the schema gives it back. A promise only where the schema answers with one. @throws MillraceError INPUT_INVALID */
export function parseWith<Parsed>(
  schema: Schema<unknown, Parsed>,
  value: unknown,
  what: string,
): Parsed | Promise<Parsed> {
  const result = schema['~standard'].validate(value);
  if (isPromise(result)) {
    return result.then((settled) => {
      if (settled.issues) throw inputFaults(what, settled.issues);
      return settled.value;
    });
  }
  if (result.issues) throw inputFaults(what, result.issues);
  return result.value;
}

/** Schemas may answer with a promise that is not of this realm's class. */
function isPromise<T extends object>(result: T | Promise<T>): result is Promise<T> {
  return typeof (result as { then?: unknown }).then === 'function';
}

/** Whether JSON leaves the value as it is, so that there is nothing to parse. What has a JSON form at all is no cycle. */
function isJson(value: unknown): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true;
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object') return false;
  return Array.isArray(value) ? isJsonArray(value) : isJsonObject(value);
}

function isJsonArray(items: readonly unknown[]): boolean {
  for (const item of items) if (!isJson(item)) return false;
  return true;
}

function isJsonObject(object: object): boolean {
  if (Object.getPrototypeOf(object) !== Object.prototype || 'toJSON' in object) return false;
  for (const key in object) if (!isJson((object as Record<string, unknown>)[key])) return false;
  return true;
}

function toJson(what: string, input: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(input) as string | undefined;
  } catch (cause) {
    const first = withoutJson(input, [], []);
    const reason = first?.message ?? (cause instanceof Error ? cause.message.split('\n', 1)[0] : undefined);
    const { message, facts } = inputFaults(what, [{ message: reason ?? String(cause), path: first?.path ?? [] }]);
    throw new MillraceError('INPUT_INVALID', message.replace(UNMATCHED, ' has no JSON form:'), {
      ...facts,
      cause,
    });
  }
  if (json !== undefined) return json;
  const reason = `expected a value with a JSON form, got ${describeValue(input)}`;
  throw new MillraceError('INPUT_INVALID', `${what}: ${reason}`, { faults: [{ path: '', reason }] });
}

const UNMATCHED = ' does not match its schema:';

/** What the schema found, with a hint where JSON has made something else of what was given. */
function refused(what: string, issues: readonly StandardSchemaV1.Issue[], input: unknown): MillraceError {
  const told = issues.map((issue) => {
    const path = (issue.path ?? []).map((step) => (typeof step === 'object' ? step.key : step));
    let given: unknown = input;
    for (const step of path) given = (given as Record<PropertyKey, unknown> | null | undefined)?.[step];
    const became = changedByJson(given);
    return became === undefined ? issue : { ...issue, message: `${issue.message} (${became})` };
  });
  return inputFaults(what, told);
}

function changedByJson(given: unknown): string | undefined {
  if (given instanceof Date)
    return 'it travels as JSON, in which a Date is a string: take z.coerce.date(), or its like';
  if (typeof given === 'number' && !Number.isFinite(given)) return `it travels as JSON, in which ${given} is null`;
  if (typeof given === 'function' || typeof given === 'symbol')
    return `it travels as JSON, which has no ${typeof given}`;
  if (given instanceof Map || given instanceof Set) return 'it travels as JSON, in which a Map or Set is {}';
  return undefined;
}

/** The first place in the value that has no JSON form. */
function withoutJson(
  value: unknown,
  path: readonly PropertyKey[],
  above: readonly unknown[],
): { path: readonly PropertyKey[]; message: string } | undefined {
  if (typeof value === 'bigint') return { path, message: 'expected a value with a JSON form, got a bigint' };
  if (typeof value !== 'object' || value === null) return undefined;
  if (above.includes(value))
    return { path, message: 'expected a value with a JSON form, got an object that is within itself' };
  for (const [key, inner] of Object.entries(value)) {
    const found = withoutJson(inner, [...path, Array.isArray(value) ? Number(key) : key], [...above, value]);
    if (found) return found;
  }
  return undefined;
}

function checkSize(json: string, { contract, what, maxBytes }: PayloadRule): void {
  const sizeBytes = Buffer.byteLength(json);
  if (sizeBytes <= maxBytes) return;
  throw new MillraceError(
    'PAYLOAD_TOO_LARGE',
    `${what} has ${sizeBytes} bytes, ${maxBytes} are allowed; store it elsewhere and send where it is`,
    { contract, sizeBytes, maxBytes },
  );
}
