/**
 * Checks of what comes from outside: users' data by any Standard Schema, our own options by zod.
 *
 * Both list every fault at once, each with its path, what was expected and what came, because a user who mends one
 * fault only to meet the next stops reading.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { DURATION_FORM, tryToMs, type Duration } from './durations.ts';
import { describeValue, MillraceError, type ErrorCode } from './errors.ts';

/** Any schema that follows the Standard Schema convention: zod, valibot, arktype and others. */
export type Schema<Input = unknown, Output = Input> = StandardSchemaV1<Input, Output>;

/** One reason why a value was refused. */
export interface Fault {
  /** Where, such as `items[2].price`; empty for the value as a whole. */
  path: string;
  /** What was expected there, and what came. */
  reason: string;
}

/**
 * The value as the schema gives it back.
 *
 * @example
 * const order = await parseInput(z.object({ id: z.string() }), { id: 7 }, 'order');
 * // throws INPUT_INVALID: order does not match its schema: id: Invalid input: expected string, received number
 * @throws MillraceError INPUT_INVALID, with all faults.
 */
export async function parseInput<Output>(
  schema: Schema<unknown, Output>,
  value: unknown,
  what: string,
): Promise<Output> {
  const result = await schema['~standard'].validate(value);
  if (!result.issues) return result.value;
  throw inputFaults(what, result.issues);
}

/** The error for what a schema found. */
export function inputFaults(what: string, issues: readonly StandardSchemaV1.Issue[]): MillraceError {
  const faults = issues.map((issue) => ({ path: formatPath(issue.path ?? []), reason: issue.message }));
  return faultsError('INPUT_INVALID', `${what} does not match its schema`, faults);
}

/** An option that takes a duration; what comes out is milliseconds. */
export const durationOption: z.ZodType<number, Duration> = z
  .custom<Duration>((value) => tryToMs(value) !== undefined, {
    error: (issue) => `expected ${DURATION_FORM}, got ${describeValue(issue.input)}`,
  })
  .transform((value) => tryToMs(value) ?? 0);

/** An option that takes a function. */
export const functionOption = z.custom<never>((value) => typeof value === 'function', 'expected a function');

/** Whether the value is a schema of the user's, whatever made it. */
export function isSchema(value: unknown): boolean {
  return (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value;
}

/** An option that takes a schema of the user's. */
export const schemaOption: z.ZodType<Schema> = z.custom<Schema>(
  isSchema,
  'expected a schema that follows Standard Schema, such as one of zod',
);

/**
 * Options, checked once at the edge, then frozen. An unknown option fails and names itself and its nearest neighbour.
 * Of an option that is named in `secrets`, and of all below it, messages tell the type only.
 *
 * @example
 * const limits = checkOptions(z.strictObject({ capacity: z.number().positive() }), { capcity: 3 }, 'createLimiter');
 * // throws OPTIONS_INVALID: createLimiter: capacity: expected number, got undefined; unknown option capcity, did you mean capacity?
 * @throws MillraceError OPTIONS_INVALID, with all faults.
 */
export function checkOptions<Output>(
  schema: z.ZodType<Output>,
  options: unknown,
  owner: string,
  secrets: readonly string[] = [],
): Readonly<Output> {
  const result = schema.safeParse(options, { reportInput: true });
  if (result.success) return Object.freeze(result.data);
  throw faultsError('OPTIONS_INVALID', owner, faultsOf(result.error.issues, schema, secrets));
}

/** The faults that zod found, worded as ours are. */
function faultsOf(issues: readonly z.core.$ZodIssue[], schema: z.ZodType, secrets: readonly string[]): Fault[] {
  return issues.flatMap((issue): Fault[] => {
    const path = formatPath(issue.path);
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(schema, issue.path);
      return issue.keys.map((key) => ({ path: '', reason: `unknown option ${join(path, key)}${hint(key, known)}` }));
    }
    if (issue.code === 'invalid_union') {
      const meant = issue.errors.find((branch) => !branch.some(isOtherType));
      if (meant)
        return faultsOf(
          meant.map((inner) => below(issue.path, inner)),
          schema,
          secrets,
        );
    }
    const isSecret = secrets.includes(String(issue.path[0]));
    const expected = expectedBy(issue);
    if (expected.includes(', got ')) return [{ path, reason: expected }]; // The option's own message says it all.
    return [{ path, reason: `${expected}, got ${isSecret ? typeName(issue.input) : describeValue(issue.input)}` }];
  });
}

function expectedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected === 'int' ? 'a whole number' : issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.map(String).join(' or ')}`;
    case 'invalid_union': {
      const types = issue.errors.flat().flatMap((inner) => (inner.code === 'invalid_type' ? [inner.expected] : []));
      return types.length > 0 ? `expected ${[...new Set(types)].join(' or ')}` : issue.message;
    }
    case 'too_small':
      return `expected ${issue.inclusive ? 'at least' : 'more than'} ${counted(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `expected ${issue.inclusive ? 'at most' : 'less than'} ${counted(issue.maximum, issue.origin)}`;
    case 'custom':
    case 'invalid_element':
    case 'invalid_format':
    case 'invalid_key':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return issue.message;
  }
}

function counted(count: number | bigint, origin: string): string {
  const unit = { string: ' character', array: ' item' }[origin];
  return `${count}${unit ?? ''}${unit === undefined || Number(count) === 1 ? '' : 's'}`;
}

/** Of a union, the branches for another type of value say nothing about the value that came. */
function isOtherType({ code, path }: z.core.$ZodIssue): boolean {
  return code === 'invalid_type' && path.length === 0;
}

function below(path: readonly PropertyKey[], issue: z.core.$ZodIssue): z.core.$ZodIssue {
  return { ...issue, path: [...path, ...issue.path] };
}

/** The options that an object of the schema may have, at a path of the value. */
function keysAt(schema: unknown, [step, ...rest]: readonly PropertyKey[]): string[] {
  const path = step === undefined ? [] : [step, ...rest];
  if (schema instanceof z.ZodObject) {
    return step === undefined ? Object.keys(schema.shape) : keysAt(schema.shape[String(step)], rest);
  }
  if (schema instanceof z.ZodArray) return keysAt(schema.element, rest);
  if (schema instanceof z.ZodRecord) return keysAt(schema.valueType, rest);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => keysAt(option, path));
  if (schema instanceof z.ZodPipe) return keysAt(schema.in, path);
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodNullable) {
    return keysAt(schema.unwrap(), path);
  }
  return [];
}

/**
 * The known word nearest to a mistyped one, if any is near enough to be meant.
 *
 * @example
 * const meant = nearest('emial', ['email', 'report']); // email
 * @param within How many letters may differ; default about a third of the word.
 */
export function nearest(
  word: string,
  known: Iterable<string>,
  within: number = Math.floor((word.length + 1) / 3),
): string | undefined {
  let best: string | undefined;
  let bestDistance = within + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}

/** One error for a list of faults: its message names them all, its facts carry them. */
export function faultsError(code: ErrorCode, what: string, faults: readonly Fault[]): MillraceError {
  const list = faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
  return new MillraceError(code, `${what}: ${list}`, { faults });
}

function hint(key: string, known: readonly string[]): string {
  const guess = nearest(key, known);
  return guess === undefined ? '' : `, did you mean ${guess}?`;
}

function formatPath(path: ReadonlyArray<PropertyKey | StandardSchemaV1.PathSegment>): string {
  let text = '';
  for (const segment of path) {
    const key = typeof segment === 'object' ? segment.key : segment;
    text = typeof key === 'number' ? `${text}[${key}]` : join(text, String(key));
  }
  return text;
}

function join(path: string, key: string): string {
  if (!/^[\w$-]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === '' ? key : `${path}.${key}`;
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (value === undefined || value === null) return String(value);
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current[column] = Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, substitution);
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}
