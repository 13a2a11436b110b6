/**
 * Jobs without Redis, for tests of code that enqueues and of handlers that work together.
 *
 * Promise: input, options, unique keys and idempotency keys are treated by the same code as in production, or by the same rules, so that
 * status and errors are the same. Nothing runs by itself: drain(), runDue() and advance() run it, on a clock that they move.
 * What is not simulated: workers that die, leases, concurrency, rate limits, retention by age.
 */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { toMs } from '../durations.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { CancelOptions, CancelStatus } from '../jobs/cancel.ts';
import type { JobContract } from '../jobs/contract.ts';
import type { DeadLetter } from '../jobs/dead-letters/letter.ts';
import { enqueueShape, planEnqueue, type EnqueueOptions } from '../jobs/enqueue-options.ts';
import type { EnqueuedFlow, Flow } from '../jobs/flows.ts';
import type { Handler } from '../jobs/handler.ts';
import type { JobInfo } from '../jobs/inspect.ts';
import { createJobIds } from '../jobs/job-id.ts';
import type { Jobs, QueueCounts, WaitForOptions, WaitOptions } from '../jobs/jobs.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../payload.ts';
import { encodeInput } from '../jobs/input.ts';
import type { Enqueued } from '../jobs/producer.ts';
import { cancelledError } from '../jobs/worker/cancellations.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { countJobs, infoOf } from './fake-info.ts';
import { FakeRunner, type FakeRun } from './fake-runner.ts';
import { FakeStore, type FakeJob } from './fake-store.ts';
import { FakeWaits, type FakeWait } from './fake-waits.ts';
import { RecordedJobs, type EnqueuedQuery, type InputMatch, type RecordedJob } from './recorded-jobs.ts';
import { createVirtualTime, takeTurns, type VirtualClock, type VirtualTime } from './virtual-clock.ts';

/** Options of createFakeJobs(). */
export interface FakeJobsOptions {
  /** What drain(), runDue() and advance() run where they are given no handlers; enqueueAndWait() runs them by itself. */
  handlers?: readonly Handler[] | undefined;
  /** What handlers find in their context beside their job, such as fakes of a cache or a mailer; as a platform's modules by name. */
  modules?: Readonly<Record<string, unknown>> | undefined;
  /** What the virtual clock shows first. Default now. */
  start?: Date | number | undefined;
  /** As `jobs.maxPayloadBytes` of the platform. */
  maxPayloadBytes?: number | undefined;
  /** As `grace` of a worker. Default `5s`, of virtual time. */
  grace?: Duration | undefined;
  /** A handler that is silent for so long of real time hangs: the clock then moves to its timeout. Default `2s`. */
  patience?: Duration | undefined;
  /** For the jitter of backoff, from 0 up to 1. Default: always 0, which is the longest wait. */
  random?: (() => number) | undefined;
}

/** What a run of jobs may be told. */
export interface DrainOptions {
  /** `idle`: until nothing is left that a handler could run, moving the clock as far as that takes. `due`: only what may run now. Default `idle`. */
  until?: 'idle' | 'due' | undefined;
  /** A job that enqueues itself for ever ends with WAIT_TIMEOUT after so many attempts. Default 10 000. */
  maxRuns?: number | undefined;
}

/** What was run. */
export interface Drained {
  /** Each attempt, in order. */
  readonly runs: readonly FakeRun[];
  /** Jobs that have not finished: without a handler, of a paused queue, or not due. */
  readonly left: number;
  /** By how much the clock was moved, in ms. */
  readonly elapsedMs: number;
}

/** Jobs in memory, with a spy and a clock. */
export interface FakeJobs extends Jobs {
  /** The time of these jobs. Moving it runs nothing; advance() does. Handlers may sleep on it. */
  readonly clock: VirtualClock;
  /** What was enqueued, in order: of the contract, or all. */
  enqueued(): RecordedJob[];
  enqueued<Input>(contract: JobContract<Input>): Array<RecordedJob<Input>>;
  /** Fails unless such a job was enqueued; gives those that were. @throws AssertionError of node:assert, with what was enqueued. */
  assertEnqueued<Input>(
    contract: JobContract<Input>,
    match?: InputMatch<Input>,
    query?: EnqueuedQuery,
  ): Array<RecordedJob<Input>>;
  /** Fails if such a job was enqueued. @throws AssertionError of node:assert, with what was enqueued. */
  assertNotEnqueued<Input>(contract: JobContract<Input>, match?: InputMatch<Input>): void;
  /** Runs jobs in order of priority and time, with their retries and delays, moving the clock. @throws MillraceError WAIT_TIMEOUT */
  drain(handlers?: readonly Handler[], options?: DrainOptions): Promise<Drained>;
  /** Runs what may run now; the clock stands still. @throws MillraceError WAIT_TIMEOUT */
  runDue(handlers?: readonly Handler[]): Promise<Drained>;
  /** Moves the clock, and runs what becomes due on the way. @throws MillraceError WAIT_TIMEOUT */
  advance(by: Duration, handlers?: readonly Handler[]): Promise<Drained>;
  /** Every attempt so far. */
  runs(): readonly FakeRun[];
  /** Jobs that failed for good: of the contract, or all. */
  deadLetters(contract?: JobContract): DeadLetter[];
}

const isFunction = (value: unknown): boolean => typeof value === 'function';
const optionsSchema = z.strictObject({
  handlers: z.array(z.custom<Handler>()).optional(),
  modules: z.record(z.string(), z.unknown()).default({}),
  start: z.union([z.date(), z.number()]).optional(),
  maxPayloadBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
  grace: durationOption.default(5_000),
  patience: durationOption.default(2_000),
  random: z.custom<() => number>(isFunction, { error: 'expected a function' }).default(() => () => 0),
});
const drainSchema = z.strictObject({
  until: z.enum(['idle', 'due']).default('idle'),
  maxRuns: z.number().int().min(1).default(10_000),
});
const waitSchema = z.strictObject({ ...enqueueShape, waitFor: durationOption.default(30_000) });
const waitForSchema = z.strictObject({
  contract: z.custom<JobContract>().optional(),
  deadline: durationOption.default(30_000),
  signal: z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional(),
});
const cancelSchema = z.strictObject({
  reason: z.string().min(1).max(1_000).default('no reason given'),
  deadline: durationOption.default(10_000),
});

class InMemoryJobs implements FakeJobs {
  readonly #time: VirtualTime;
  readonly #store: FakeStore;
  readonly #runner: FakeRunner;
  readonly #waits: FakeWaits;
  readonly #recorded = new RecordedJobs();
  readonly #nextId = createJobIds();
  readonly #handlers: readonly Handler[] | undefined;
  readonly #maxPayloadBytes: number;
  readonly #nowMs = (): number => this.#time.wallMs();

  constructor(options: z.output<typeof optionsSchema>) {
    const { handlers, modules, maxPayloadBytes, grace, patience, random } = options;
    this.#time = createVirtualTime(options);
    this.#store = new FakeStore(this.#nowMs, (job) => this.#waits.ended(job));
    this.#waits = new FakeWaits(this.#store, this.#time);
    this.#handlers = handlers;
    this.#maxPayloadBytes = maxPayloadBytes;
    this.#runner = new FakeRunner({
      store: this.#store,
      time: this.#time,
      modules,
      graceMs: grace,
      patienceMs: patience,
      random,
      enqueue: (contract, input, more) => this.enqueue(contract, input, more),
    });
  }

  get clock(): VirtualClock {
    return this.#time;
  }

  async enqueue<Input>(
    contract: JobContract<Input>,
    input: NoInfer<Input>,
    options?: EnqueueOptions,
  ): Promise<Enqueued> {
    return this.#add(contract, options, await this.#layOut(contract, input, options));
  }

  async enqueueMany<Input>(
    contract: JobContract<Input>,
    inputs: ReadonlyArray<NoInfer<Input>>,
    options?: EnqueueOptions | ((input: NoInfer<Input>, index: number) => EnqueueOptions),
  ): Promise<Enqueued[]> {
    const laidOut: Array<() => Enqueued> = [];
    for (const [index, input] of inputs.entries()) {
      try {
        const said = typeof options === 'function' ? options(input, index) : options;
        const parts = await this.#layOut(contract, input, said);
        laidOut.push(() => this.#add(contract, said, parts));
      } catch (error) {
        if (!isMillraceError(error)) throw error;
        const message = `job ${index} of ${inputs.length}: ${error.message}; nothing was enqueued`;
        throw new MillraceError(error.code, message, { ...error.facts, index, cause: error });
      }
    }
    return laidOut.map((add) => add());
  }

  async enqueueFlow(root: Flow): Promise<EnqueuedFlow> {
    const add = await this.#layOutFlow(root);
    const { job, ids } = add();
    this.#record(root.contract, root.options, job.json, { id: job.id, status: 'added' });
    return ids;
  }

  enqueueAndWait<Input, Result>(
    contract: JobContract<Input, unknown, Result>,
    input: NoInfer<Input>,
    options: WaitOptions = {},
  ): Promise<Result> {
    const answer = this.#enqueueAndWait(contract, input, options);
    // A test may drain first and look at the answer then; until then its failure is no unhandled one.
    answer.catch(() => undefined);
    return answer as Promise<Result>;
  }

  waitFor<Result = unknown>(jobId: string, options: WaitForOptions<Result> = {}): Promise<Result> {
    const answer = this.#waitFor(jobId, options);
    answer.catch(() => undefined); // As above.
    return answer as Promise<Result>;
  }

  async get(jobId: string): Promise<JobInfo | undefined> {
    const job = this.#store.jobs.get(jobId);
    return job && infoOf(job);
  }

  async cancel(jobId: string, options: CancelOptions = {}): Promise<{ status: CancelStatus }> {
    const { reason, deadline } = checkOptions(cancelSchema, options, 'cancel');
    const job = this.#store.jobs.get(jobId);
    if (!job) return { status: 'unknown' };
    if (job.state === 'active') {
      const late = this.#time.guard.sleep(deadline);
      await Promise.race([this.#runner.interrupt(jobId, cancelledError(jobId, reason)), late]);
      return { status: stateAfter(job) };
    }
    if (job.state === 'completed') return { status: 'finished' };
    if (job.state !== 'cancelled') this.#store.cancel(job, reason);
    return { status: 'cancelled' };
  }

  async queues(): Promise<string[]> {
    return [...this.#store.queues].toSorted();
  }

  async counts(queue: string): Promise<QueueCounts> {
    return countJobs(this.#store, queue);
  }

  async pause(queue: string): Promise<void> {
    this.#store.paused.add(queue);
  }

  async resume(queue: string): Promise<void> {
    this.#store.paused.delete(queue);
  }

  enqueued<Input>(contract?: JobContract<Input>): Array<RecordedJob<Input>> {
    return this.#recorded.of(contract);
  }

  assertEnqueued<Input>(
    contract: JobContract<Input>,
    match?: InputMatch<Input>,
    query: EnqueuedQuery = {},
  ): Array<RecordedJob<Input>> {
    return this.#recorded.assert(contract, match, query);
  }

  assertNotEnqueued<Input>(contract: JobContract<Input>, match?: InputMatch<Input>): void {
    this.#recorded.assertNone(contract, match);
  }

  drain(handlers?: readonly Handler[], options: DrainOptions = {}): Promise<Drained> {
    const { until, maxRuns } = checkOptions(drainSchema, options, 'drain');
    return this.#run('drain', handlers, until, maxRuns);
  }

  runDue(handlers?: readonly Handler[]): Promise<Drained> {
    return this.#run('runDue', handlers, 'due');
  }

  advance(by: Duration, handlers: readonly Handler[] = this.#handlers ?? []): Promise<Drained> {
    return this.#run('advance', handlers, this.#time.wallMs() + toMs(by));
  }

  runs(): readonly FakeRun[] {
    return [...this.#runner.runs];
  }

  deadLetters(contract?: JobContract): DeadLetter[] {
    return this.#store.letters.filter((letter) => contract === undefined || letter.contract === contract.name);
  }

  async #run(
    owner: string,
    handlers: readonly Handler[] | undefined = this.#handlers,
    until: 'due' | 'idle' | number,
    maxRuns: number = drainSchema.parse({}).maxRuns,
  ): Promise<Drained> {
    if (!handlers) {
      throw new MillraceError('OPTIONS_INVALID', `${owner}: no handlers; give them here, or to createFakeJobs()`, {});
    }
    await takeTurns(); // An enqueue that was called just now and not awaited counts.
    const before = this.#runner.runs.length;
    const startMs = this.#time.monotonicMs();
    await this.#runner.run({ handlers, until, maxRuns });
    return {
      runs: this.#runner.runs.slice(before),
      left: this.#store.unfinished().length,
      elapsedMs: this.#time.monotonicMs() - startMs,
    };
  }

  async #enqueueAndWait<Input>(
    contract: JobContract<Input>,
    input: Input,
    { waitFor, ...options }: WaitOptions,
  ): Promise<unknown> {
    const { waitFor: waitMs } = checkOptions(waitSchema, { waitFor, ...options }, `enqueueAndWait ${contract.name}`);
    const { id } = await this.enqueue(contract, input, options);
    return this.#outcome(this.#waits.open(id, contract.queue, waitMs), waitMs);
  }

  async #waitFor(jobId: string, options: WaitForOptions): Promise<unknown> {
    const { contract, deadline, signal } = checkOptions(waitForSchema, options, `waitFor ${jobId}`);
    signal?.throwIfAborted();
    return this.#outcome(this.#waits.open(jobId, contract?.queue, deadline, signal), deadline);
  }

  async #outcome(wait: FakeWait, waitMs: number): Promise<unknown> {
    if (this.#handlers) {
      const until = this.#time.wallMs() + waitMs;
      const { maxRuns } = drainSchema.parse({});
      await this.#runner.run({ handlers: this.#handlers, until, maxRuns, isEnough: () => wait.isOver });
    }
    return wait.outcome;
  }

  async #layOut<Input>(
    contract: JobContract<Input>,
    input: Input,
    options: EnqueueOptions | undefined,
  ): Promise<{ json: string; plan: ReturnType<typeof planEnqueue> }> {
    const json = await encodeInput(contract, input, this.#maxPayloadBytes);
    return { json, plan: planEnqueue(contract, input, options, this.#nowMs) };
  }

  #add(
    contract: JobContract,
    options: EnqueueOptions | undefined,
    { json, plan }: { json: string; plan: ReturnType<typeof planEnqueue> },
  ): Enqueued {
    const enqueued = this.#store.add(this.#nextId(), contract, json, plan);
    this.#record(contract, options, json, enqueued);
    return enqueued;
  }

  #record(contract: JobContract, options: EnqueueOptions = {}, json: string, { id, status }: Enqueued): void {
    const { name, queue } = contract;
    const now = this.#time.wallMs();
    const dueAt = this.#store.jobs.get(id)?.dueAt ?? now;
    this.#recorded.add({ id, name, queue, status, input: JSON.parse(json), options, enqueuedAt: now, dueAt });
  }

  /** Checks the whole flow before any of it is added. */
  async #layOutFlow({ contract, input, options, children }: Flow): Promise<() => { job: FakeJob; ids: EnqueuedFlow }> {
    if (contract.unique || options?.idempotencyKey !== undefined) {
      const message = `flow ${contract.name}: a job of a flow cannot be unique or have an idempotencyKey`;
      throw new MillraceError('OPTIONS_INVALID', message, { contract: contract.name });
    }
    const { json, plan } = await this.#layOut(contract, input, options);
    const below = await Promise.all(children.map(async (child) => ({ child, add: await this.#layOutFlow(child) })));
    return () => {
      const added = below.map(({ child, add }) => ({ child, ...add() }));
      const ids = added.map(({ job }) => job.id);
      const job = this.#store.addToFlow(this.#nextId(), contract, json, plan.opts, ids);
      for (const { child, job: childJob } of added) {
        childJob.parent = { job, onFailure: child.onFailure };
        this.#record(child.contract, child.options, childJob.json, { id: childJob.id, status: 'added' });
      }
      return { job, ids: { id: job.id, children: added.map((one) => one.ids) } };
    };
  }
}

function stateAfter({ state }: FakeJob): CancelStatus {
  if (state === 'cancelled') return 'cancelled';
  return state === 'active' ? 'requested' : 'finished';
}

/**
 * Jobs in memory. Make new ones for each test; there is nothing to close.
 *
 * @example
 * const jobs = createFakeJobs();
 * await signUp(jobs, 'ada@example.org');
 * jobs.assertEnqueued(sendEmail, { to: 'ada@example.org' });
 * await jobs.drain([sendEmailHandler]);
 * @throws MillraceError OPTIONS_INVALID
 */
export function createFakeJobs(options: FakeJobsOptions = {}): FakeJobs {
  return new InMemoryJobs(checkOptions(optionsSchema, options, 'createFakeJobs'));
}
