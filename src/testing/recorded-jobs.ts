/** A spy on what was enqueued, and assertions that say what was instead. */
import { AssertionError } from 'node:assert';
import { inspect, isDeepStrictEqual } from 'node:util';
import type { JobContract } from '../jobs/contract.ts';
import { cutText } from '../describe-error.ts';
import type { EnqueueOptions } from '../jobs/enqueue-options.ts';
import type { EnqueueStatus } from '../jobs/producer.ts';

/** One enqueue. */
export interface RecordedJob<Input = unknown> {
  /** The job that now stands for the input; of a duplicate, the earlier one. */
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly status: EnqueueStatus;
  /** As it travels: read from JSON. */
  readonly input: Input;
  /** What the caller said beyond the contract. */
  readonly options: EnqueueOptions;
  /** When it was enqueued, in ms since 1970 of the virtual clock. */
  readonly enqueuedAt: number;
  /** When it may run first, likewise. */
  readonly dueAt: number;
}

/** Which jobs are meant: those whose input has at least these fields with these values, or of which the function is true. */
export type InputMatch<Input> = ((input: Input) => boolean) | PartialInput<Input>;

/** Some of the fields of an input, at any depth. */
export type PartialInput<Input> = Input extends readonly unknown[]
  ? Input
  : Input extends object
    ? { readonly [Field in keyof Input]?: PartialInput<Input[Field]> }
    : Input;

/** What else an assertion may ask. */
export interface EnqueuedQuery {
  /** So many, not more and not fewer. Default: at least one. */
  times?: number | undefined;
  /** Options of the enqueue that must be these. */
  options?: EnqueueOptions | undefined;
  status?: EnqueueStatus | undefined;
}

const MOST_SHOWN = 10;
/** Characters of one value. */
const LONGEST_SHOWN = 300;

/** All enqueues of one FakeJobs. */
export class RecordedJobs {
  readonly #all: RecordedJob[] = [];

  add(job: RecordedJob): void {
    this.#all.push(Object.freeze(job));
  }

  /** Those of the contract, or all, in order. */
  of<Input>(contract?: JobContract<Input>): Array<RecordedJob<Input>> {
    return this.#all.filter(({ name }) => contract === undefined || name === contract.name) as Array<
      RecordedJob<Input>
    >;
  }

  /** Those that match. @throws AssertionError that shows what was enqueued. */
  assert<Input>(
    contract: JobContract<Input>,
    match: InputMatch<Input> | undefined,
    query: EnqueuedQuery,
  ): Array<RecordedJob<Input>> {
    const found = this.#matching(contract, match, query);
    const { times } = query;
    if (times === undefined ? found.length > 0 : found.length === times) return found;
    const wanted = times === undefined ? 'at least once' : `${times} times, and it was ${found.length} times`;
    throw this.#failure(`expected ${contract.name} to be enqueued ${wanted}`, contract, match, query, 'assertEnqueued');
  }

  /** @throws AssertionError that shows what was enqueued. */
  assertNone<Input>(contract: JobContract<Input>, match: InputMatch<Input> | undefined): void {
    if (this.#matching(contract, match, {}).length === 0) return;
    throw this.#failure(`expected no ${contract.name} to be enqueued`, contract, match, {}, 'assertNotEnqueued');
  }

  #matching<Input>(
    contract: JobContract<Input>,
    match: InputMatch<Input> | undefined,
    { options, status }: EnqueuedQuery,
  ): Array<RecordedJob<Input>> {
    return this.of(contract).filter(
      (job) =>
        isMatch(match, job.input) && hasFields(options, job.options) && (status === undefined || status === job.status),
    );
  }

  #failure<Input>(
    title: string,
    contract: JobContract<Input>,
    match: InputMatch<Input> | undefined,
    query: EnqueuedQuery,
    operator: string,
  ): AssertionError {
    const actual = this.of(contract).map(({ input, options, status }) => ({ input, options, status }));
    const expected = {
      ...(match !== undefined && { input: match }),
      ...(query.options && { options: query.options }),
      ...(query.status && { status: query.status }),
    };
    const asked = Object.keys(expected).length === 0 ? '' : ` with ${shown(expected)}`;
    const lines = actual.slice(0, MOST_SHOWN).map((job, index) => {
      const differences = [
        ...(typeof match === 'function' ? [] : differencesOf(match, job.input, 'input')),
        ...differencesOf(query.options, job.options, 'options'),
        ...differencesOf(query.status, job.status, 'status'),
      ];
      const why = differences.length === 0 ? '' : `\n       ${differences.join('\n       ')}`;
      return `  ${index + 1}. ${shown(job.input)} ${job.status}${why}`;
    });
    const others = [...new Set(this.#all.map(({ name }) => name))].filter((name) => name !== contract.name);
    const more = actual.length > MOST_SHOWN ? [`  and ${actual.length - MOST_SHOWN} more`] : [];
    const heading = actual.length === 0 ? `No ${contract.name} was enqueued` : `Enqueued of ${contract.name}:`;
    const also = others.length === 0 ? [] : [`Enqueued besides: ${others.join(', ')}`];
    return new AssertionError({
      message: [`${title}${asked}`, heading, ...lines, ...more, ...also].join('\n'),
      actual,
      expected,
      operator,
    });
  }
}

function isMatch<Input>(match: InputMatch<Input> | undefined, input: Input): boolean {
  if (typeof match === 'function') return (match as (input: Input) => boolean)(input);
  return hasFields(match, input);
}

function hasFields(expected: unknown, actual: unknown): boolean {
  return differencesOf(expected, actual, '').length === 0;
}

/** Where `actual` lacks what `expected` has; what is undefined there may be anything. */
function differencesOf(expected: unknown, actual: unknown, path: string): string[] {
  if (expected === undefined) return [];
  if (isPlain(expected) && isPlain(actual)) {
    return Object.entries(expected).flatMap(([field, value]) =>
      differencesOf(value, actual[field], `${path}.${field}`),
    );
  }
  return isDeepStrictEqual(expected, actual) ? [] : [`${path}: expected ${shown(expected)}, got ${shown(actual)}`];
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : cutText(inspect(value, { depth: 6, breakLength: Infinity }), LONGEST_SHOWN);
}
