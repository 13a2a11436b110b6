/**
 * Checks of what comes from outside: users' data by any Standard Schema, our own options by zod.
 *
 * Both list every fault at once, each with its path, what was expected and what came, because a user who mends one
 * fault only to meet the next stops reading.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { DURATION_FORM, tryToMs, type Duration } from './durations.ts';
import { MillraceError, type ErrorCode } from './errors.ts';

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
  let result = schema['~standard'].validate(value);
  if (result instanceof Promise) result = await result;
  if (!result.issues) return result.value;
  const faults = result.issues.map((issue) => ({ path: formatPath(issue.path ?? []), reason: issue.message }));
  throw faultsError('INPUT_INVALID', `${what} does not match its schema`, faults);
}

/** An option that takes a duration; what comes out is milliseconds. */
export const durationOption: z.ZodType<number, Duration> = z
  .custom<Duration>((value) => tryToMs(value) !== undefined, {
    error: (issue) => `expected ${DURATION_FORM}, got ${JSON.stringify(issue.input) ?? 'undefined'}`,
  })
  .transform((value) => tryToMs(value) ?? 0);

/**
 * Options, checked once at the edge, then frozen. An unknown option fails and names itself and its nearest neighbour.
 *
 * @example
 * const limits = checkOptions(z.strictObject({ capacity: z.number().positive() }), { capcity: 3 }, 'createLimiter');
 * // throws OPTIONS_INVALID: createLimiter: unknown option capcity, did you mean capacity?; capacity: expected number, got undefined
 * @throws MillraceError OPTIONS_INVALID, with all faults.
 */
export function checkOptions<Output>(schema: z.ZodType<Output>, options: unknown, owner: string): Readonly<Output> {
  const result = schema.safeParse(options, { reportInput: true });
  if (result.success) return Object.freeze(result.data);
  throw faultsError('OPTIONS_INVALID', owner, faultsOf(result.error, schema));
}

/** The faults that zod found, worded as ours are. */
export function faultsOf(error: z.ZodError, schema?: z.ZodType): Fault[] {
  return error.issues.flatMap((issue): Fault[] => {
    const path = formatPath(issue.path);
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: '', reason: `unknown option ${join(path, key)}${hint(key, schema)}` }));
    }
    if (issue.code === 'invalid_type') {
      return [{ path, reason: `expected ${issue.expected}, got ${describe(issue.input)}` }];
    }
    if (issue.code === 'invalid_value') {
      return [{ path, reason: `expected ${issue.values.map(String).join(' or ')}, got ${describe(issue.input)}` }];
    }
    return [{ path, reason: issue.message }];
  });
}

/** The known word nearest to a mistyped one, if any is near enough to be meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.floor(word.length / 3) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance || (distance === bestDistance && best === undefined)) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** One error for a list of faults: its message names them all, its facts carry them. */
export function faultsError(code: ErrorCode, what: string, faults: readonly Fault[]): MillraceError {
  const list = faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
  return new MillraceError(code, `${what}: ${list}`, { faults });
}

function hint(key: string, schema: z.ZodType | undefined): string {
  const guess = schema instanceof z.ZodObject ? nearest(key, Object.keys(schema.shape)) : undefined;
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
  return path === '' ? key : `${path}.${key}`;
}

function describe(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
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
