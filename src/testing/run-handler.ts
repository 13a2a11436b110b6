/**
 * Runs a handler in the test itself: no Redis, no worker, no waiting.
 *
 * Promise: the outcome is the one that a worker would come to: the input is read from JSON and parsed by the contract, an older one is
 * upgraded, the result is checked, the timeout counts, and what is thrown is classified in the same way.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { DeathReason } from '../jobs/attempt-record.ts';
import { attemptsOption, positiveDuration } from '../jobs/contract.ts';
import type { DescribedError } from '../describe-error.ts';
import type { ChildResults, Handler, JobFacts } from '../jobs/handler.ts';
import { encodeInput } from '../jobs/input.ts';
import type { Interruption } from '../jobs/worker/attempt.ts';
import { cancelledError } from '../jobs/worker/cancellations.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { bullJob, FakeAttempt, type AttemptEnd, type BullJob, type RunOutcome } from './fake-attempt.ts';
import { createFakeJobs, type FakeJobs } from './fake-jobs.ts';
import { effectsOf, storedEffects } from './fake-once.ts';
import type { RecordedJob } from './recorded-jobs.ts';
import type { LoggedLine } from './spy-log.ts';
import { VirtualTime } from './virtual-clock.ts';

/** What a run may be told. */
export interface RunHandlerOptions {
  /** The job's id. Default `test`. */
  id?: string | undefined;
  /** Which attempt this is. Default 1. */
  attempt?: number | undefined;
  /** How many there are at most. Default the contract's. */
  attempts?: number | undefined;
  /** The version of the contract that the job was enqueued with; another than the handler's goes through its upgrade(). Default the contract's. */
  version?: number | undefined;
  /** How long the job has waited beyond its delay. Default 0. */
  waited?: Duration | undefined;
  /** How often it came back from the dead letters. Default 0. */
  redriven?: number | undefined;
  /** Results of effects that an earlier attempt has stored; pass on `effects` of an earlier run to test a second attempt. */
  effects?: Readonly<Record<string, unknown>> | undefined;
  /** What children() gives. Default: no children. */
  children?: Partial<ChildResults> | undefined;
  /** What the handler finds in its context beside its job, such as fakes of a cache; as a platform's modules by name. */
  modules?: Readonly<Record<string, unknown>> | undefined;
  /** When it aborts, the attempt is interrupted: as cancelled if its reason is a MillraceError JOB_CANCELLED, else as `abortAs` says. */
  signal?: AbortSignal | undefined;
  /** Interrupts the attempt after so long. */
  abortAfter?: Duration | undefined;
  /** Why the attempt is interrupted: its job was cancelled, its worker stops (`released`), or its lease is lost. Default `released`. */
  abortAs?: 'cancelled' | 'released' | 'lost' | undefined;
  /** In the place of the contract's. */
  timeout?: Duration | false | undefined;
  /** In the place of the contract's. */
  expiresIn?: Duration | undefined;
  /** How long the handler may go on after its signal has aborted. Default `5s`. */
  grace?: Duration | undefined;
  /** What timeout, abortAfter and grace count by: createVirtualClock(), moved by the test. Default: real time. */
  clock?: Clock | undefined;
  /** Where the jobs go that the handler enqueues. Default: fake jobs of this run. */
  jobs?: FakeJobs | undefined;
  /** For the jitter of backoff, from 0 up to 1. Default: always 0, which is the longest wait. */
  random?: (() => number) | undefined;
}

/** What a run came to. */
export interface HandlerRun<Result = unknown> {
  /** `failed` and `timeout` use up an attempt; `postponed`, `released` and `cancelled` do not. */
  readonly outcome: RunOutcome;
  /** What the handler returned, as JSON keeps it: a Date is a string, nothing is null. Undefined unless completed. */
  readonly result: Result | undefined;
  /** What was thrown, or why the attempt was ended, as it is kept with the job. */
  readonly error: DescribedError | undefined;
  /** The same as it was thrown. */
  readonly thrown: unknown;
  /** Why the job would be a dead letter now; undefined when it would not. */
  readonly reason: DeathReason | undefined;
  /** How long the job would wait for its next attempt; undefined when there would be none. */
  readonly retryInMs: number | undefined;
  readonly log: readonly LoggedLine[];
  /** Every value, in order; a worker writes five a second, and always the last. */
  readonly progress: ReadonlyArray<number | object>;
  /** What the handler enqueued. */
  readonly enqueued: readonly RecordedJob[];
  /** The results of all effects of once(), those of earlier attempts too. */
  readonly effects: Readonly<Record<string, unknown>>;
  /** The keys of the effects that ran now and not in an earlier attempt. */
  readonly ran: readonly string[];
}

const isFunction = (value: unknown): boolean => typeof value === 'function';
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const optionsSchema = z.strictObject({
  id: z.string().min(1).default('test'),
  attempt: attemptsOption.default(1),
  attempts: attemptsOption.optional(),
  version: z.number().int().min(1).optional(),
  waited: durationOption.default(0),
  redriven: z.number().int().min(0).default(0),
  effects: z.record(z.string(), z.unknown()).default({}),
  children: z
    .strictObject({
      results: z.record(z.string(), z.unknown()).default({}),
      failures: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),
  modules: z.record(z.string(), z.unknown()).default({}),
  signal: z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional(),
  abortAfter: durationOption.optional(),
  abortAs: z.enum(['cancelled', 'released', 'lost']).default('released'),
  timeout: z.union([z.literal(false), positiveDuration]).optional(),
  expiresIn: positiveDuration.optional(),
  grace: durationOption.default(5_000),
  clock: z.custom<Clock>(isObject, { error: 'expected a clock' }).default(systemClock),
  jobs: z.custom<FakeJobs>(isObject, { error: 'expected jobs of createFakeJobs()' }).optional(),
  random: z.custom<() => number>(isFunction, { error: 'expected a function' }).default(() => () => 0),
});
type Checked = z.output<typeof optionsSchema>;

const ANYTHING = z.unknown();

/**
 * Runs the handler once with the input, as a worker would. Never rejects for what the handler does: that is the outcome.
 *
 * @example
 * const run = await runHandler(sendEmail, { to: 'ada@example.org' }, { modules: { mailer: fakeMailer } });
 * assert.equal(run.outcome, 'completed');
 * @throws MillraceError OPTIONS_INVALID; INPUT_INVALID for an input that has no JSON form.
 */
export async function runHandler<Result = unknown>(
  handler: Handler,
  input: unknown,
  options: RunHandlerOptions = {},
): Promise<HandlerRun<Result>> {
  const { contract } = handler;
  const checked = checkOptions(optionsSchema, options, `runHandler ${contract.name}`);
  const data: unknown = JSON.parse(await encodeInput({ ...contract, input: ANYTHING }, input, Infinity));
  const jobs = checked.jobs ?? createFakeJobs();
  const before = jobs.enqueued().length;
  const effects = storedEffects(checked.effects);
  const attempt = new FakeAttempt({
    handler,
    ...jobOf(handler, data, checked),
    metAt: checked.clock.wallMs(),
    timeoutMs: checked.timeout,
    graceMs: checked.grace,
    clock: checked.clock,
    guard: checked.clock instanceof VirtualTime ? checked.clock.guard : checked.clock,
    effects,
    children: checked.children,
    modules: checked.modules,
    enqueue: (of, what, more) => jobs.enqueue(of, what, more),
    random: checked.random,
  });
  const end = await interrupted(attempt, checked);
  return {
    outcome: end.outcome,
    result: end.result as Result | undefined,
    error: end.error,
    thrown: end.thrown,
    reason: end.reason,
    retryInMs: end.retryInMs,
    log: attempt.lines,
    progress: attempt.progress,
    enqueued: jobs.enqueued().slice(before),
    effects: effectsOf(effects),
    ran: attempt.once.ran,
  };
}

function jobOf({ contract }: Handler, data: unknown, checked: Checked): { job: JobFacts; bull: BullJob } {
  const { id, attempt, attempts = contract.attempts, version = contract.version, waited, redriven, clock } = checked;
  const { name, queue } = contract;
  const enqueuedAt = clock.wallMs() - waited;
  const job = { id, name, queue, version, attempt, attempts, enqueuedAt, waitedMs: waited, redriven };
  const opts = {
    attempts,
    v: version,
    ...(redriven > 0 && { redriven }),
    ...(checked.expiresIn !== undefined && { exp: checked.expiresIn }),
  };
  const counts = { attemptsMade: attempt - 1, attemptsStarted: attempt };
  return { job: Object.freeze(job), bull: bullJob({ id, name, data, opts, timestamp: enqueuedAt, ...counts }) };
}

/** Runs the attempt, and interrupts it when the options say so. */
async function interrupted(
  attempt: FakeAttempt,
  { id, signal, abortAfter, abortAs, clock }: Checked,
): Promise<AttemptEnd> {
  const over = new AbortController();
  const onAbort = (): void => {
    const given: unknown = signal?.reason;
    if (isMillraceError(given, 'JOB_CANCELLED')) attempt.interrupt('cancelled', cancelled(id, given));
    else attempt.interrupt(abortAs, reasonOf(abortAs, id));
  };
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true, signal: over.signal });
  if (abortAfter !== undefined) {
    const interrupt = (): void => attempt.interrupt(abortAs, reasonOf(abortAs, id));
    clock.sleep(abortAfter, { signal: over.signal }).then(interrupt, () => undefined); // Refused: the attempt was over first.
  }
  try {
    return await attempt.run();
  } finally {
    over.abort();
  }
}

function cancelled(jobId: string, error: MillraceError): MillraceError {
  const { reason = error.message } = error.facts;
  return new MillraceError('JOB_CANCELLED', error.message, { jobId, reason });
}

function reasonOf(kind: Exclude<Interruption, 'timeout'>, jobId: string): MillraceError {
  switch (kind) {
    case 'cancelled':
      return cancelledError(jobId, 'no reason given');
    case 'released':
      return new MillraceError('JOB_RELEASED', `job ${jobId} is handed back to its queue: the worker stops`, { jobId });
    case 'lost':
      return new MillraceError(
        'LEASE_LOST',
        `job ${jobId}: its lease could not be renewed; another worker may run it`,
        { jobId },
      );
  }
}
