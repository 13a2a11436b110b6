/**
 * A contract: a job's name, its schemas and its policy. No handler is loaded with it, so an API server that enqueues stays light.
 *
 * What the policy says is read by the worker when it runs the job, so a deploy changes it for jobs that wait already; only
 * `attempts`, `priority` and what an enqueue says otherwise travel with the job.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption, type Schema, schemaOption } from '../schema.ts';
import { withQuietFaults } from '../quiet-schema.ts';
import { secretsOption } from '../secrets.ts';
import { backoffOption, DEFAULT_BACKOFF, type Backoff, type CompiledBackoff } from '../backoff.ts';
import { DEAD_SUFFIX } from './queue-names.ts';

/** What a second enqueue with the same key does while the first one counts. */
export const CONFLICT_POLICIES = ['ignore', 'replace', 'reschedule', 'debounce'] as const;
export type ConflictPolicy = (typeof CONFLICT_POLICIES)[number];

/** At most one job of a key. */
export interface UniqueOptions<Input> {
  /** The key, made of the input; jobs of other contracts never share it. */
  key(input: Input): string;
  /** How long the key counts after the enqueue, also when the job has finished before; it ends early when the job becomes a dead letter. Default: until the job has finished. */
  for?: Duration | undefined;
  /**
   * What an enqueue does that meets the key. Default `ignore`.
   * - `ignore`: nothing; the earlier job stays.
   * - `replace`: takes the place of the earlier job while that is delayed.
   * - `reschedule`: moves the earlier job to the new delay while it is delayed; its input stays.
   * - `debounce`: runs the latest input once no more has come for the time in `for`.
   */
  onConflict?: ConflictPolicy | undefined;
}

/** How long finished jobs are kept for looking at them. */
export interface RetentionOptions {
  /** Default `1h`. */
  age?: Duration | undefined;
  /** At most so many of the queue. Default 1 000; 0 keeps none. */
  count?: number | undefined;
}

/** Options of a contract. */
export interface JobOptions<In extends StandardSchemaV1, Out extends StandardSchemaV1> {
  /** Such as `email.send`: letters, digits, `.`, `-` and `_`, beginning with a letter. */
  name: string;
  /** Default: the name up to its first dot. Queues whose names agree up to the first dot share a node of a Cluster. */
  queue?: string | undefined;
  /** The schema of the input: zod, valibot, arktype, or any other that follows Standard Schema. Checked when the job is enqueued and again when it runs. */
  input: In;
  /** The schema of what the handler returns. Checked only: what it returned is stored as it is. */
  output?: Out | undefined;
  /** The version of the input's form; raise it with a change that old handlers or old inputs cannot take. Default 1. */
  version?: number | undefined;
  /** How often the job is tried. Default 5. */
  attempts?: number | undefined;
  /** How long to wait before the next attempt. Default exponential from 1s to 10m with jitter 0.3. */
  backoff?: Backoff | undefined;
  /** How long one attempt may run, at most 24 days; then its signal aborts, and it fails. `false` for no end. Default `1h`. */
  timeout?: Duration | false | undefined;
  /** A job that was not started so long after it was due is a dead letter instead; the parent of a flow never is. Default: it never expires. */
  expiresIn?: Duration | undefined;
  /** 1 comes before 2, and so on to 2 097 151; jobs without one come before all that have one. */
  priority?: number | undefined;
  unique?: UniqueOptions<StandardSchemaV1.InferInput<In>> | undefined;
  /** How long completed jobs are kept. */
  retention?: RetentionOptions | undefined;
  /**
   * Paths of what is secret in the input, `*` for any one step: `['password', 'card.number', 'tokens.*']`. The dashboard, searches and what is
   * told of a bad input show `[secret]` there. It is masked, not encrypted: Redis and the handler have it as it is. Default none.
   */
  secrets?: readonly string[] | undefined;
}

/** A contract, checked and frozen. `Input` is what is enqueued, `Parsed` what the handler gets, `Result` what it returns. */
export interface JobContract<Input = unknown, Parsed = unknown, Result = unknown> {
  readonly name: string;
  readonly queue: string;
  readonly version: number;
  readonly input: Schema<Input, Parsed>;
  readonly output: Schema<Result, unknown> | undefined;
  readonly attempts: number;
  readonly backoff: CompiledBackoff;
  readonly timeoutMs: number | undefined;
  readonly expiresInMs: number | undefined;
  readonly priority: number | undefined;
  readonly unique: Unique<Input> | undefined;
  readonly retention: { readonly ageMs: number; readonly count: number };
  /** Paths of what is secret in the input. */
  readonly secrets: readonly string[];
}

/** A checked rule of uniqueness. */
export interface Unique<Input> {
  key(input: Input): string;
  readonly forMs: number | undefined;
  readonly onConflict: ConflictPolicy;
}

/** The largest priority that BullMQ can order by. */
export const LOWEST_PRIORITY = 2_097_151;

export const priorityOption: z.ZodType<number> = z.number().int().min(1).max(LOWEST_PRIORITY);
export const attemptsOption: z.ZodType<number> = z.number().int().min(1).max(1_000);
export const positiveDuration: z.ZodType<number, Duration> = durationOption.pipe(
  z.number().refine((ms) => ms >= 1, { error: 'expected more than 0 ms' }),
);
/** A timer of Node's that is set for longer than 24.8 days fires at once. */
const LONGEST_TIMEOUT_MS = 24 * 86_400_000;
export const timeoutOption: z.ZodType<number, Duration> = positiveDuration.pipe(
  z.number().refine((ms) => ms <= LONGEST_TIMEOUT_MS, { error: 'expected at most 24 days' }),
);

const NAME = /^[a-z][\w-]*(?:\.[\w-]+)*$/i;
const nameOption = z
  .string()
  .max(100)
  .regex(NAME, { error: "expected letters, digits, '_', '-' and single dots, beginning with a letter" });
const queueOption = nameOption.refine((queue) => !queue.endsWith(DEAD_SUFFIX), {
  error: `a name that ends in ${DEAD_SUFFIX} belongs to a dead-letter queue`,
});
const keyOption = z.custom<(input: unknown) => string>((value) => typeof value === 'function', {
  error: 'expected a function of the input',
});

const uniqueOption = z
  .strictObject({
    key: keyOption,
    for: positiveDuration.optional(),
    onConflict: z.enum(CONFLICT_POLICIES, { error: `expected ${CONFLICT_POLICIES.join(', ')}` }).default('ignore'),
  })
  .refine(({ for: forMs, onConflict }) => onConflict !== 'debounce' || forMs !== undefined, {
    error: 'debounce needs `for`: how long it must have been quiet',
  })
  .transform(({ key, for: forMs, onConflict }): Unique<unknown> => Object.freeze({ key, forMs, onConflict }));

const contractSchema = z.strictObject({
  name: nameOption,
  queue: queueOption.optional(),
  input: schemaOption,
  output: schemaOption.optional(),
  version: z.number().int().min(1).default(1),
  attempts: attemptsOption.default(5),
  backoff: backoffOption.optional(),
  timeout: z.union([timeoutOption, z.literal(false)]).default(3_600_000),
  expiresIn: positiveDuration.optional(),
  priority: priorityOption.optional(),
  unique: uniqueOption.optional(),
  retention: z
    .strictObject({ age: positiveDuration.default(3_600_000), count: z.number().int().min(0).default(1_000) })
    .default({ age: 3_600_000, count: 1_000 }),
  secrets: secretsOption,
});

/**
 * A contract, to be shared by those who enqueue and those who handle.
 *
 * @example
 * export const sendEmail = defineJob({
 *   name: 'email.send',
 *   input: z.object({ to: z.email(), template: z.string() }),
 *   attempts: 5,
 *   timeout: '30s',
 * });
 * @throws MillraceError OPTIONS_INVALID, with every fault.
 */
export function defineJob<In extends StandardSchemaV1, Out extends StandardSchemaV1 = Schema>(
  options: JobOptions<In, Out>,
): JobContract<StandardSchemaV1.InferInput<In>, StandardSchemaV1.InferOutput<In>, StandardSchemaV1.InferInput<Out>> {
  const given: unknown = (options as { name?: unknown } | undefined)?.name;
  const checked = checkOptions(contractSchema, options, `defineJob${typeof given === 'string' ? ` ${given}` : ''}`);
  return Object.freeze({
    name: checked.name,
    queue: checked.queue ?? checked.name.split('.', 1)[0] ?? checked.name,
    version: checked.version,
    input: withQuietFaults(checked.input, checked.secrets) as never,
    output: checked.output as never,
    attempts: checked.attempts,
    backoff: checked.backoff ?? DEFAULT_BACKOFF,
    timeoutMs: checked.timeout === false ? undefined : checked.timeout,
    expiresInMs: checked.expiresIn,
    priority: checked.priority,
    unique: checked.unique,
    retention: Object.freeze({ ageMs: checked.retention.age, count: checked.retention.count }),
    secrets: checked.secrets,
  });
}

/** For those who write JavaScript, or hand over a handler where its contract is meant. */
export function checkContract(contract: JobContract): void {
  if (typeof contract?.name === 'string' && typeof contract.queue === 'string' && contract.retention) return;
  throw new MillraceError(
    'OPTIONS_INVALID',
    `expected a contract of defineJob(), got ${contract && 'contract' in contract ? 'a handler' : describeValue(contract)}`,
    {},
  );
}
