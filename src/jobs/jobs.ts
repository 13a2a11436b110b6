/**
 * The jobs of a platform, as an app sees them: enqueue, wait, look, cancel.
 *
 * Redis down: an enqueue fails within its deadline (2 s) with ENQUEUE_TIMEOUT and leaves nothing behind that would run later; see
 * producer.ts for what is promised of one whose answer was lost.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { cancelJob, type CancelOptions, type CancelStatus } from './cancel.ts';
import { Channel } from './channel.ts';
import { positiveDuration, type JobContract } from './contract.ts';
import type { JobsCore } from './core.ts';
import { enqueueShape, type EnqueueOptions } from './enqueue-options.ts';
import { Flows, type EnqueuedFlow, type Flow } from './flows.ts';
import { inspectJob, type JobInfo } from './inspect.ts';
import { createJobMetrics, type JobMetricsRegistry } from './job-metrics.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../payload.ts';
import { Producer, type Enqueued } from './producer.ts';
import { deadQueueOf } from './queue-names.ts';
import { QueueSet } from './queue-set.ts';
import { Transactions } from './transactions.ts';
import { waitForJob } from './wait.ts';

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

/** The checks of JobsOptions. */
export const jobsOptionsSchema = z.strictObject({
  enqueueDeadline: positiveDuration.default(2_000),
  maxPayloadBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
  telemetry: z.custom<object>((value) => typeof value === 'object' && value !== null, 'expected an object').optional(),
});
const waitSchema = z.strictObject({ ...enqueueShape, waitFor: durationOption.default(30_000) });

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
export class JobsClient implements Jobs {
  readonly core: JobsCore;
  readonly cancelChannel: Channel;
  readonly doneChannel: Channel;
  /** Those of the process. */
  readonly transactions: Transactions;
  readonly #flows: Flows;

  constructor({ connections, prefix, log = silentLogger, clock = systemClock, registry, options = {} }: JobsParts) {
    const checked = checkOptions(jobsOptionsSchema, options, 'jobs');
    const queues = new QueueSet(connections, prefix, log, { clock, telemetry: checked.telemetry });
    const metrics = createJobMetrics(registry);
    const limits = { deadlineMs: checked.enqueueDeadline, maxPayloadBytes: checked.maxPayloadBytes };
    const { telemetry } = checked;
    const producer = new Producer({ queues, metrics, clock, telemetry, ...limits });
    this.core = { connections, queues, producer, metrics, clock, log, telemetry };
    this.cancelChannel = new Channel(queues.keys.cancelChannel, connections, log);
    this.doneChannel = new Channel(queues.keys.doneChannel, connections, log);
    this.transactions = new Transactions(queues, { clock });
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
    this.doneChannel.open(); // Before the job is there, which may be done sooner than the subscription.
    const { id } = await this.core.producer.enqueue(contract, input, options, { isAwaited: true });
    const queue = this.core.queues.get(contract.queue);
    const result = await waitForJob(this.core, this.doneChannel, queue, id, waitMs);
    return (await asReturned(contract, result)) as Result;
  }

  get(jobId: string): Promise<JobInfo | undefined> {
    return inspectJob(this.core.queues, jobId);
  }

  cancel(jobId: string, options?: CancelOptions): Promise<{ status: CancelStatus }> {
    const { core, cancelChannel: channel, transactions } = this;
    return cancelJob({ core, channel, transactions }, jobId, options);
  }

  queues(): Promise<string[]> {
    return this.core.queues.known();
  }

  async counts(name: string): Promise<QueueCounts> {
    const { queues } = this.core;
    return this.#asked(async () => {
      const [counts, dead] = await Promise.all([
        queues
          .get(name)
          .queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized', 'waiting-children', 'completed', 'failed'),
        queues.get(deadQueueOf(name)).queue.getJobCounts('waiting'),
      ]);
      return { ...counts, dead: dead['waiting'] ?? 0 } as QueueCounts;
    });
  }

  pause(name: string): Promise<void> {
    return this.#asked(() => this.core.queues.get(name).queue.pause());
  }

  resume(name: string): Promise<void> {
    return this.#asked(() => this.core.queues.get(name).queue.resume());
  }

  /** Lets go of everything; the connections stay open. */
  async close(): Promise<void> {
    this.core.producer.close();
    this.cancelChannel.close();
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
