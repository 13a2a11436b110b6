/** What the operations read of a request: bodies, the query, the idempotency key. */
import { z } from 'zod';
import { systemClock } from '../../clock.ts';
import { tryToMs } from '../../durations.ts';
import { isMillraceError } from '../../errors.ts';
import type { EnqueueOptions } from '../../jobs/enqueue-options.ts';
import { checkOptions, type Fault } from '../../schema.ts';
import type { JsonSchema } from './json-schema.ts';

/** Jobs in one request: one round trip of the queue. */
export const MOST_IN_BATCH = 1_000;
const LONGEST_DELAY_MS = 366 * 86_400_000;
const LONGEST_TIMEOUT_MS = 24 * 86_400_000;
/** How long a request with an idempotency key is remembered, and its job stands for it. */
export const REMEMBERED_FOR_MS = 86_400_000;
export const LONGEST_CANCEL_MS = 10_000;
const LONGEST_WAIT_MS = 60_000;
const DEFAULT_WAIT_MS = 30_000;

/** Levels of a body: more than anybody needs, and few enough for all that comes after. */
const DEEPEST = 200;

const DURATION_PATTERN = /^\d+(?:\.\d+)?(?:ms|s|m|h|d|w)$/;

/** As text or in milliseconds, within bounds. What comes out is milliseconds; the form of what goes in stands in the OpenAPI document. */
const duration = (leastMs: number, mostMs: number, most: string) =>
  z
    .union([z.int(), z.string().max(30).regex(DURATION_PATTERN)], {
      error: "expected milliseconds, or a text such as '30s', '5m', '1h'",
    })
    .transform((value) => tryToMs(value) ?? -1)
    .refine((ms) => ms >= leastMs && ms <= mostMs, `expected from ${leastMs} ms to ${most}`);

const enqueueOptionsSchema = z
  .strictObject({
    delay: duration(0, LONGEST_DELAY_MS, '366 days').optional().describe('Run no sooner than so long from now.'),
    at: z.iso
      .datetime({ offset: true })
      .refine((at) => Date.parse(at) <= systemClock.wallMs() + LONGEST_DELAY_MS, 'expected no later than in 366 days')
      .optional()
      .describe('Run no sooner than then, at most 366 days from now; a time that has passed means now.'),
    priority: z
      .int()
      .min(1)
      .max(2_097_151)
      .optional()
      .describe('1 comes before 2. In the place of the one of the contract.'),
    attempts: z
      .int()
      .min(1)
      .max(1_000)
      .optional()
      .describe('How often it is tried. In the place of that of the contract.'),
    timeout: duration(1, LONGEST_TIMEOUT_MS, '24 days')
      .optional()
      .describe('Of one attempt. In the place of that of the contract.'),
    expiresIn: duration(1, LONGEST_DELAY_MS, '366 days')
      .optional()
      .describe('A job that is not started so long after it was due is not run.'),
    idempotencyKey: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe('Jobs of one contract with the same key, enqueued with the same API key, are one job.'),
    idempotentFor: duration(1, LONGEST_DELAY_MS, '366 days')
      .optional()
      .describe('How long the idempotencyKey counts. Default 1d.'),
  })
  .refine(({ delay, at }) => delay === undefined || at === undefined, { error: 'expected delay or at, got both' })
  .refine(({ idempotencyKey, idempotentFor }) => idempotentFor === undefined || idempotencyKey !== undefined, {
    error: 'idempotentFor says how long an idempotencyKey counts, and none was given',
  });

const jobSchema = z.strictObject({
  input: z.unknown().optional(), // The contract says what it must be; JSON has no undefined, so that one that is missing is refused.
  options: enqueueOptionsSchema.optional(),
});
const batchSchema = z.strictObject({ jobs: z.array(jobSchema).min(1).max(MOST_IN_BATCH) });
const cancelSchema = z.strictObject({
  reason: z.string().min(1).max(1_000).optional().describe('Why; the handler of a running job is told.'),
  deadline: duration(0, LONGEST_CANCEL_MS, '10 s')
    .optional()
    .describe('How long to wait for the worker that runs it. Default 10s.'),
});
const waitSchema = z.strictObject({
  timeout: z
    .string()
    .max(30)
    .transform((text) => tryToMs(/^\d+$/.test(text) ? Number(text) : text) ?? -1)
    .refine((ms) => ms >= 0 && ms <= LONGEST_WAIT_MS, "expected up to 60 s, such as '30s' or milliseconds")
    .default(DEFAULT_WAIT_MS),
});

/** A job as it is asked for. */
export interface JobRequest {
  input: unknown;
  options: EnqueueOptions;
}

/** What was read, or what is wrong with it. */
export type Read<T> = { value: T } | { faults: readonly Fault[] };

/** The body of an enqueue. */
export function readJob(body: unknown): Read<JobRequest> {
  return mapRead(read(jobSchema, body, ['input']), jobRequestOf);
}

/** The body of an enqueue of many. */
export function readBatch(body: unknown): Read<JobRequest[]> {
  return mapRead(read(batchSchema, body, ['jobs']), ({ jobs }) => jobs.map(jobRequestOf));
}

/** The body of a cancellation, which may be left out. */
export function readCancel(body: unknown): Read<{ reason?: string; deadline?: number }> {
  return mapRead(read(cancelSchema, body ?? {}, []), ({ reason, deadline }) => ({
    ...(reason !== undefined && { reason }),
    ...(deadline !== undefined && { deadline }),
  }));
}

/** How long a wait may take, in ms. */
export function readWait(query: unknown): Read<number> {
  return mapRead(read(waitSchema, { ...(query as object) }, []), ({ timeout }) => timeout);
}

/** The forms of bodies, as JSON Schemas for the document. */
export function bodySchemas(): Record<'enqueueOptions' | 'cancel', JsonSchema> {
  return { enqueueOptions: formOf(enqueueOptionsSchema), cancel: formOf(cancelSchema) };
}

function formOf(schema: z.ZodType): JsonSchema {
  const { $schema: _dialect, ...form } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return form;
}

const HEADER_KEY = /^[\x21-\x7e]{1,255}$/;

/** The key of the header: as a quoted string, as the draft has it, or bare, as most send it. */
export function readIdempotencyKey(header: string | undefined): Read<string | undefined> {
  if (header === undefined) return { value: undefined };
  const key = /^"(.*)"$/.exec(header.trim())?.[1] ?? header.trim();
  if (HEADER_KEY.test(key)) return { value: key };
  return {
    faults: [
      { path: 'Idempotency-Key', reason: 'expected up to 255 letters, digits and signs of ASCII, without spaces' },
    ],
  };
}

function jobRequestOf({ input, options = {} }: z.output<typeof jobSchema>): JobRequest {
  const { at, ...rest } = options;
  return { input, options: { ...rest, ...(at !== undefined && { at: Math.max(0, Date.parse(at)) }) } };
}

/** Level by level: a body may be so deep that whoever calls himself for each level runs out of stack. */
function isDeeperThan(levels: number, body: object): boolean {
  let level: object[] = [body];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === levels) return true;
    level = level.flatMap((one) => Object.values(one).filter(isObject));
  }
  return false;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** @param quiet parts of the body of which only the type is told */
function read<T>(schema: z.ZodType<T>, body: unknown, quiet: readonly string[]): Read<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return { faults: [{ path: '', reason: 'expected an object' }] };
  if (isDeeperThan(DEEPEST, body)) return { faults: [{ path: '', reason: `expected at most ${DEEPEST} levels` }] };
  try {
    return { value: checkOptions(schema, body, 'request', quiet) };
  } catch (error) {
    if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    return { faults: error.facts['faults'] as Fault[] };
  }
}

function mapRead<T, U>(value: Read<T>, map: (value: T) => U): Read<U> {
  return 'faults' in value ? value : { value: map(value.value) };
}
