/** Results and log fields, as they cross from a thread: structured clones of what they would be as JSON, where the two differ. */
import { types } from 'node:util';
import { describeValue } from '../../errors.ts';
import { carryError, rebuildError, type CarriedError } from './carried-error.ts';

/** The fields of a log line. */
export interface CarriedFields {
  /** Set where the fields are an error themselves. */
  readonly error: CarriedError | undefined;
  readonly plain: Readonly<Record<string, unknown>>;
  readonly errors: Readonly<Record<string, CarriedError>>;
}

/**
 * The value with what its objects' toJSON() say in their place. A clone knows no classes: a Buffer, a decimal number or an id of a
 * database would else be stored as its insides. Dates, maps and other values that are cloned as they are stay as they are.
 */
export function withoutClasses(value: unknown, seen: Map<object, unknown> = new Map()): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = seen.get(value);
  if (known !== undefined) return known;
  if (Array.isArray(value)) {
    const copy: unknown[] = [];
    seen.set(value, copy);
    for (const item of value) copy.push(withoutClasses(item, seen));
    return copy;
  }
  if (isClonedAsItIs(value)) return value;
  if ('toJSON' in value && typeof value.toJSON === 'function') return withoutClasses(value.toJSON(''), seen);
  const copy: Record<string, unknown> = {};
  seen.set(value, copy);
  for (const [name, item] of Object.entries(value)) {
    Object.defineProperty(copy, name, {
      value: withoutClasses(item, seen),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}

function isClonedAsItIs(value: object): boolean {
  if (Buffer.isBuffer(value)) return false;
  return (
    types.isDate(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isRegExp(value) ||
    types.isAnyArrayBuffer(value) ||
    ArrayBuffer.isView(value) ||
    types.isNativeError(value) ||
    types.isBoxedPrimitive(value)
  );
}

/** The fields of a log line as plain data. Never throws: what cannot cross is shown as a message would show it. */
export function carryFields(fields: object): CarriedFields {
  if (fields instanceof Error) return { error: carryError(fields), plain: {}, errors: {} };
  const plain: Record<string, unknown> = {};
  const errors: Record<string, CarriedError> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error) errors[name] = carryError(value);
    else plain[name] = copyOf(value);
  }
  return { error: undefined, plain, errors };
}

/** The fields, built again from what carryFields() made of them. */
export function rebuildFields({ error, plain, errors }: CarriedFields): object {
  if (error) return rebuildError(error) as object;
  const rebuilt = Object.entries(errors).map(([name, one]) => [name, rebuildError(one)]);
  return { ...plain, ...Object.fromEntries(rebuilt) };
}

function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol') return value;
  try {
    return structuredClone(withoutClasses(value));
  } catch {
    return describeValue(value);
  }
}
