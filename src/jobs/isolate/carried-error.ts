/**
 * What was thrown, as it crosses between a worker and a thread.
 *
 * A structured clone loses the class, the code and the fields of an error, and fails for an error that holds something which cannot be
 * copied. So an error crosses as plain data and is built again: a MillraceError as one, with code and facts; an error of JavaScript's own
 * classes as such; any other as an Error that has the name, and those of its fields that are text, numbers or booleans.
 *
 * Promise: carryError() never throws, whatever was thrown; chains of causes are cut at a bounded length.
 */
import { describeValue, MillraceError, type ErrorCode } from '../../errors.ts';

/** Something thrown, as plain data. */
export type CarriedError =
  | { readonly kind: 'value'; readonly value: unknown }
  | {
      readonly kind: 'error';
      readonly name: string;
      readonly message: string;
      readonly stack: string | undefined;
      /** Of a MillraceError. */
      readonly millrace: { readonly code: ErrorCode; readonly facts: Readonly<Record<string, unknown>> } | undefined;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
      readonly cause: CarriedError | undefined;
      /** Of an AggregateError. */
      readonly errors: readonly CarriedError[] | undefined;
    };

const LONGEST_CHAIN = 6;
const MOST_ERRORS = 6;
const MOST_FIELDS = 20;

/** The classes that an error is built again as; of any other only the name is kept. */
const CLASSES = new Map<string, new (message: string) => Error>(
  [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((one) => [one.name, one]),
);

/** What was thrown, as plain data. */
export function carryError(thrown: unknown, depth = 0): CarriedError {
  if (!isErrorLike(thrown)) return { kind: 'value', value: cloneable(thrown) };
  const isDeep = depth >= LONGEST_CHAIN;
  const cause = read(thrown, 'cause');
  const errors = read(thrown, 'errors');
  return {
    kind: 'error',
    name: nameOf(thrown),
    message: text(read(thrown, 'message')) ?? '',
    stack: text(read(thrown, 'stack')),
    millrace: thrown instanceof MillraceError ? { code: thrown.code, facts: factsOf(thrown) } : undefined,
    fields: fieldsOf(thrown),
    cause: cause === undefined || isDeep ? undefined : carryError(cause, depth + 1),
    errors:
      Array.isArray(errors) && !isDeep
        ? errors.slice(0, MOST_ERRORS).map((one: unknown) => carryError(one, depth + 1))
        : undefined,
  };
}

/** What was thrown, built again from what carryError() made of it. */
export function rebuildError(carried: CarriedError): unknown {
  if (carried.kind === 'value') return carried.value;
  const { name, message, stack, millrace, fields } = carried;
  const cause = carried.cause && { cause: rebuildError(carried.cause) };
  const error = millrace
    ? new MillraceError(millrace.code, message, { ...millrace.facts, ...cause })
    : carried.errors
      ? new AggregateError(carried.errors.map(rebuildError), message)
      : new (CLASSES.get(name) ?? Error)(message);
  if (!millrace) {
    Object.assign(error, fields);
    if (cause) define(error, 'cause', cause.cause);
    if (error.name !== name) define(error, 'name', name);
  }
  define(error, 'stack', stack ?? `${name}: ${message}`);
  return error;
}

/** As `name` says, or for a class that does not set it, the name of the class. */
function nameOf(error: object): string {
  const name = text(read(error, 'name'));
  if (name !== undefined && name !== 'Error') return name;
  const className = text(read(read(error, 'constructor'), 'name'));
  return className === undefined || className === 'Object' ? 'Error' : className;
}

function factsOf({ facts }: MillraceError): Record<string, unknown> {
  return Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, cloneable(value)]));
}

function fieldsOf(error: object): Record<string, string | number | boolean> {
  const fields: Record<string, string | number | boolean> = {};
  const names = safely(() => Object.keys(error)) ?? [];
  for (const name of names.slice(0, MOST_FIELDS)) {
    const value = read(error, name);
    if (['string', 'number', 'boolean'].includes(typeof value)) fields[name] = value as string | number | boolean;
  }
  // Node's own errors have it where it is not listed.
  const code = read(error, 'code');
  if (typeof code === 'string' || typeof code === 'number') fields['code'] = code;
  for (const own of ['name', 'message', 'stack']) delete fields[own];
  return fields;
}

/** The value if it can be copied, else what a message would show of it. */
function cloneable(value: unknown): unknown {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol')) {
    return value;
  }
  return safely(() => structuredClone(value)) ?? safely(() => describeValue(value)) ?? 'a value that cannot be shown';
}

function isErrorLike(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  return (safely(() => value instanceof Error) ?? false) || typeof read(value, 'stack') === 'string';
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function read(value: unknown, property: string): unknown {
  if (value === undefined || value === null) return undefined;
  return safely(() => (value as Record<string, unknown>)[property]);
}

/** As a constructor would set it: writable, and not listed. */
function define(error: Error, property: string, value: unknown): void {
  Object.defineProperty(error, property, { value, writable: true, configurable: true, enumerable: false });
}

/** Undefined where it throws: a getter or a proxy that fails leaves one fact out, not the whole error. */
function safely<Value>(act: () => Value): Value | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
