/**
 * The jobs of a platform: enqueue, wait, look, cancel for an app; search, retry and what the dashboard needs for those who operate it.
 *
 * Redis down: an enqueue fails within its deadline (2 s) with ENQUEUE_TIMEOUT and leaves nothing behind that would run later; see
 * producer.ts for what is promised of one whose answer was lost.
 */
import type { Queue } from 'bullmq';
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { cancelJob, type CancelOptions, type CancelStatus } from './cancel.ts';
import { Channel, readIds, readMessage, type JobIds } from './channel.ts';
import { checkContract, positiveDuration, type JobContract } from './contract.ts';
import { ContractBook, type ContractInfo } from './contract-book.ts';
import type { JobsCore } from './core.ts';
import { countJobs, keysToCount } from './count-jobs.ts';
import { enqueueShape, type EnqueueOptions } from './enqueue-options.ts';
import { Flows, type EnqueuedFlow, type Flow } from './flows.ts';
import { inspectJob, type JobInfo } from './inspect.ts';
import { createJobMetrics, type JobMetricsRegistry } from './job-metrics.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../payload.ts';
import { Producer, type Enqueued } from './producer.ts';
import { deadQueueOf } from './queue-names.ts';
import { QueueSet } from './queue-set.ts';
import { retryJob, type RetryStatus } from './retry.ts';
import type { JobFilter, JobPage, SearchOptions } from './search/filter.ts';
import { Transactions } from './transactions.ts';
import { JobWaits } from './wait.ts';

/** Options of the jobs. */
export interface JobsOptions {
  /** How long an enqueue may take. Default `2s`. */
  enqueueDeadline?: Duration | undefined;
  /** The largest input, in bytes of JSON. Default 256 KB. */
  maxPayloadBytes?: number | undefined;
  /** BullMQ's telemetry, such as `new BullMQOtel({ tracerName: 'shop' })` of the package bullmq-otel; traces then lead from the enqueue to the run. */
  telemetry?: object | undefined;
}

/** What an enqueue that is waited for may say. */
export interface WaitOptions extends EnqueueOptions {
  /** How long to wait for the end of the job. Default `30s`. */
  waitFor?: Duration | undefined;
}

/** What a wait for a job may say. */
export interface WaitForOptions<Result = unknown> {
  /** Of the job: it gives the result its type, and only its queue is asked for the job. Default: all queues are asked once. */
  contract?: JobContract<unknown, unknown, Result> | undefined;
  /** How long to wait for the end of the job. Default `30s`. */
  deadline?: Duration | undefined;
  /** Ends the wait; the job goes on. */
  signal?: AbortSignal | undefined;
}

/** How many jobs a queue has, by state. `dead` counts its dead letters. */
export type QueueCounts = Record<
  'waiting' | 'active' | 'delayed' | 'prioritized' | 'waiting-children' | 'completed' | 'failed' | 'dead',
  number
>;

/** The jobs of a platform. */
export interface Jobs {
  /**
   * Adds a job.
   * @throws MillraceError INPUT_INVALID with each path and reason, PAYLOAD_TOO_LARGE, OPTIONS_INVALID, ENQUEUE_TIMEOUT
   */
  enqueue<Input>(contract: JobContract<Input>, input: NoInfer<Input>, options?: EnqueueOptions): Promise<Enqueued>;
  /**
   * Adds many jobs, in order, 1 000 in a round trip; all inputs are checked before the first is sent. Options for all, or a function that
   * gives them for each. The deadline counts for each round trip; when Redis is lost on the way, the error's fact `notEnqueued` tells
   * the places (`from`, and `to` that is not one of them) of the inputs that did not get there.
   */
  enqueueMany<Input>(
    contract: JobContract<Input>,
    inputs: readonly NoInfer<Input>[],
    options?: EnqueueOptions | ((input: NoInfer<Input>, index: number) => EnqueueOptions),
  ): Promise<Enqueued[]>;
  /** Adds a flow, as a whole or not at all. */
  enqueueFlow(flow: Flow): Promise<EnqueuedFlow>;
  /** Adds a job and waits for what its handler returns, as JSON: without an output schema that says otherwise, nothing is `null`. @throws MillraceError JOB_FAILED, JOB_CANCELLED, JOB_UNKNOWN, WAIT_TIMEOUT */
  enqueueAndWait<Input, Result>(
    contract: JobContract<Input, unknown, Result>,
    input: NoInfer<Input>,
    options?: WaitOptions,
  ): Promise<Result>;
  /**
   * Waits for what the handler of a job returns that anybody has enqueued, or has returned already. It is told by the job's worker, so that
   * nothing is asked of Redis meanwhile but a look now and then, in case that a message was lost.
   *
   * @example
   * const { messageId } = await platform.jobs.waitFor(id, { contract: sendEmail, deadline: '1m', signal: request.signal });
   * @throws MillraceError JOB_FAILED, JOB_CANCELLED, WAIT_TIMEOUT; JOB_UNKNOWN for an id of no job, and for a job that has ended and is kept no longer; the reason of the signal
   */
  waitFor<Result = unknown>(jobId: string, options?: WaitForOptions<Result>): Promise<Result>;
  /** All that is known of a job; undefined when nothing is. */
  get(jobId: string): Promise<JobInfo | undefined>;
  /** Cancels a job in any state and any process; resolves once it does not run any more, or the deadline is over. */
  cancel(jobId: string, options?: CancelOptions): Promise<{ status: CancelStatus }>;
  /** The names of all queues that were ever used. */
  queues(): Promise<string[]>;
  /** How many jobs the queue has. */
  counts(queue: string): Promise<QueueCounts>;
  /** No worker takes jobs of the queue until resume(). */
  pause(queue: string): Promise<void>;
  resume(queue: string): Promise<void>;
}

/** The jobs of a platform, with what those need who operate it. */
export interface PlatformJobs extends Jobs {
  /**
   * Jobs that fit, the newest first, a page at a time. Each call does a bounded work, so a page may have few jobs or none and still a cursor.
   *
   * @example
   * const { jobs, cursor } = await platform.jobs.search({ names: ['email.send'], states: ['active'], text: 'ann@example.com' });
   * @throws MillraceError OPTIONS_INVALID, JOB_UNKNOWN for a queue that nobody ever used
   */
  search(filter: JobFilter, options?: SearchOptions): Promise<JobPage>;
  /** Runs a job again that has completed or failed, with all its attempts, or now that is delayed. Effects that once() has kept are not repeated. */
  retry(jobId: string): Promise<{ status: RetryStatus }>;
  /** Whether pause() holds for the queue. */
  isPaused(queue: string): Promise<boolean>;
  /** The contracts that are in use, as workers and apps have told them; those that nobody has told for 30 days are forgotten. */
  contracts(): Promise<ContractInfo[]>;
  /**
   * Tells the contracts to those who look at jobs, such as the dashboard. A worker does so by itself; an app that enqueues before any worker has
   * run does so for secrets to be masked from the first job on. At most 500 contracts are remembered.
   */
  register(contracts: readonly JobContract[]): Promise<void>;
  /** BullMQ's own objects of a queue and of its dead letters, for tools such as Bull Board; close() of the platform closes them. What they write goes past Millrace. */
  bullmq(queue: string): { queue: Queue; dead: Queue };
}

/** The checks of JobsOptions. */
export const jobsOptionsSchema = z.strictObject({
  enqueueDeadline: positiveDuration.default(2_000),
  maxPayloadBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
  telemetry: z.custom<object>((value) => typeof value === 'object' && value !== null, 'expected an object').optional(),
});
const waitSchema = z.strictObject({ ...enqueueShape, waitFor: durationOption.default(30_000) });
const waitForSchema = z.strictObject({
  contract: z.custom<JobContract>().optional(),
  deadline: durationOption.default(30_000),
  signal: z.instanceof(AbortSignal).optional(),
});

/** What the jobs are made of. */
export interface JobsParts {
  connections: Connections;
  prefix: string;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  registry?: JobMetricsRegistry | undefined;
  options?: JobsOptions | undefined;
}

/** The jobs of one process, with what the parts of the platform need of them. */
export class JobsClient implements PlatformJobs {
  readonly core: JobsCore;
  readonly cancelChannel: Channel;
  readonly waitChannel: Channel<JobIds>;
  readonly doneChannel: Channel;
  /** Those who wait in this process. */
  readonly waits: JobWaits;
  /** Those of the process. */
  readonly transactions: Transactions;
  /** The contracts that processes have told. */
  readonly contractBook: ContractBook;
  readonly #flows: Flows;

  constructor({ connections, prefix, log = silentLogger, clock = systemClock, registry, options = {} }: JobsParts) {
    const checked = checkOptions(jobsOptionsSchema, options, 'jobs');
    const queues = new QueueSet(connections, prefix, log, { clock, telemetry: checked.telemetry });
    const metrics = createJobMetrics(registry);
    const limits = { deadlineMs: checked.enqueueDeadline, maxPayloadBytes: checked.maxPayloadBytes };
    const { telemetry } = checked;
    const producer = new Producer({ queues, metrics, clock, telemetry, ...limits });
    this.core = { connections, queues, producer, metrics, clock, log, telemetry };
    this.cancelChannel = new Channel(queues.keys.cancelChannel, connections, log, readMessage);
    this.waitChannel = new Channel(queues.keys.waitChannel, connections, log, readIds);
    this.doneChannel = new Channel(queues.keys.doneChannel, connections, log, readMessage);
    this.waits = new JobWaits(this.core, this.doneChannel, this.waitChannel);
    this.transactions = new Transactions(queues, { clock });
    this.contractBook = new ContractBook({ connections, prefix, log, clock });
    this.#flows = new Flows(this.core, limits);
  }

  enqueue<Input>(contract: JobContract<Input>, input: NoInfer<Input>, options?: EnqueueOptions): Promise<Enqueued> {
    return this.core.producer.enqueue(contract, input, options);
  }

  enqueueMany<Input>(
    contract: JobContract<Input>,
    inputs: readonly NoInfer<Input>[],
    options?: EnqueueOptions | ((input: NoInfer<Input>, index: number) => EnqueueOptions),
  ): Promise<Enqueued[]> {
    return this.core.producer.enqueueMany(contract, inputs, options);
  }

  enqueueFlow(flow: Flow): Promise<EnqueuedFlow> {
    return this.#flows.enqueue(flow);
  }

  async enqueueAndWait<Input, Result>(
    contract: JobContract<Input, unknown, Result>,
    input: NoInfer<Input>,
    { waitFor, ...options }: WaitOptions = {},
  ): Promise<Result> {
    const { waitFor: waitMs } = checkOptions(waitSchema, { waitFor, ...options }, `enqueueAndWait ${contract?.name}`);
    this.waits.open(); // Before the job is there, which may be done sooner than the subscription.
    const { id, status } = await this.core.producer.enqueue(contract, input, options, { isAwaited: true });
    const queue = this.core.queues.get(contract.queue);
    // A duplicate is a job that others may have enqueued.
    const result = await this.waits.wait(queue, id, { deadlineMs: waitMs, isMarked: status === 'added' });
    return (await asReturned(contract, result)) as Result;
  }

  async waitFor<Result = unknown>(jobId: string, options: WaitForOptions<Result> = {}): Promise<Result> {
    const { contract, deadline: deadlineMs, signal } = checkOptions(waitForSchema, options, `waitFor ${jobId}`);
    if (contract) checkContract(contract);
    const queue = contract && this.core.queues.get(contract.queue);
    const result = await this.waits.wait(queue, jobId, { deadlineMs, signal });
    return (contract ? await asReturned(contract, result) : result) as Result;
  }

  get(jobId: string): Promise<JobInfo | undefined> {
    return inspectJob(this.core.queues, jobId);
  }

  cancel(jobId: string, options?: CancelOptions): Promise<{ status: CancelStatus }> {
    const { core, cancelChannel: channel, doneChannel, transactions } = this;
    return cancelJob({ core, channel, doneChannel, transactions }, jobId, options);
  }

  queues(): Promise<string[]> {
    return this.core.queues.known();
  }

  async counts(name: string): Promise<QueueCounts> {
    const { client, keys } = this.core.queues;
    return this.#asked(() => countJobs(client, keysToCount(keys, name), {}));
  }

  pause(name: string): Promise<void> {
    return this.#asked(() => this.core.queues.get(name).queue.pause());
  }

  resume(name: string): Promise<void> {
    return this.#asked(() => this.core.queues.get(name).queue.resume());
  }

  isPaused(name: string): Promise<boolean> {
    const { client, keys } = this.core.queues;
    return this.#asked(async () => (await client.hexists(keys.bull(name, 'meta'), 'paused')) === 1);
  }

  async search(filter: JobFilter, options?: SearchOptions): Promise<JobPage> {
    // Loaded by whoever looks: an app that enqueues never does.
    const { searchJobs } = await import('./search/search.ts');
    const { queues, clock } = this.core;
    return searchJobs({ queues, clock, secrets: () => this.contractBook.secrets() }, filter, options);
  }

  retry(jobId: string): Promise<{ status: RetryStatus }> {
    return retryJob(this.core.queues, jobId);
  }

  contracts(): Promise<ContractInfo[]> {
    return this.contractBook.list();
  }

  register(contracts: readonly JobContract[]): Promise<void> {
    return this.contractBook.register(contracts);
  }

  bullmq(name: string): { queue: Queue; dead: Queue } {
    const { queues } = this.core;
    return { queue: queues.get(name).queue, dead: queues.get(deadQueueOf(name)).queue };
  }

  /** Lets go of everything; the connections stay open. */
  async close(): Promise<void> {
    this.contractBook.close();
    this.core.producer.close();
    this.waits.close();
    this.cancelChannel.close();
    this.waitChannel.close();
    this.doneChannel.close();
    await this.transactions.close();
    await this.#flows.close();
    await this.core.queues.close();
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw explainRedisError(error, this.core.connections.label);
    }
  }
}

/** JSON has no undefined: a result that the handler left out comes back as null, which its schema may not allow. */
async function asReturned(contract: JobContract, result: unknown): Promise<unknown> {
  if (result !== null || !contract.output) return result;
  const asNull = await contract.output['~standard'].validate(null);
  return asNull.issues ? undefined : null;
}
