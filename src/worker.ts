/**
 * What a process works on, as one: the jobs of its handlers, and the consumers of streams beside them.
 *
 * Both drain side by side when the process is told to stop, within the same bound. The fleet is told of both.
 */
import { MillraceError } from './errors.ts';
import type { FleetSeat } from './jobs/fleet/heartbeat.ts';
import type { ConsumerReport } from './jobs/fleet/report.ts';
import type { Handler } from './jobs/handler.ts';
import type { JobsRuntime } from './jobs/runtime.ts';
import { workerOptionsSchema, type WorkerOptions } from './jobs/worker/worker-options.ts';
import { checkOptions } from './schema.ts';
import type { Member } from './streams/member.ts';
import type { Streams } from './streams/streams.ts';
import type { StreamWorker } from './streams/worker.ts';

/** Options of a worker: handlers of jobs, consumers of streams, or both. */
export interface WorkOptions extends Omit<WorkerOptions, 'handlers'> {
  /** The jobs that it runs; handlers of one queue share that queue's slots. */
  handlers?: readonly Handler[] | undefined;
  /** What consume(), consumeBatch(), and the projections and subscriptions of event stores give. */
  consumers?: readonly Member[] | undefined;
}

/** A worker that runs in this process. */
export interface Worker {
  /** The queues that it works on. */
  readonly queues: readonly string[];
  /** The consumers that it runs. */
  readonly consumers: readonly string[];
  /** How many jobs and entries run now. */
  readonly active: number;
  /** Takes nothing new and ends within `drainFor`. */
  stop(): Promise<void>;
}

/** Where the two kinds of work run. */
export interface Workplaces {
  readonly jobs: Pick<JobsRuntime, 'work' | 'joinFleet'>;
  readonly streams: Pick<Streams, 'run'>;
}

const withoutHandlers = workerOptionsSchema.omit({ handlers: true });

/** Begins to work. @throws MillraceError OPTIONS_INVALID, CLOSED; what a member or a schedule met: then nothing of it runs. */
export async function startWork({ jobs, streams }: Workplaces, options: WorkOptions): Promise<Worker> {
  const { consumers = [], handlers, ...common } = options;
  if (handlers === undefined && consumers.length === 0) {
    throw new MillraceError('OPTIONS_INVALID', 'worker: expected handlers, consumers, or both', {});
  }
  const hasJobs = handlers !== undefined && (handlers.length > 0 || consumers.length === 0);
  if (!hasJobs) checkOptions(withoutHandlers, common, 'worker');
  const jobWorker = hasJobs ? await jobs.work({ ...common, handlers }) : undefined;
  try {
    const { drainFor, version } = options;
    const streamWorker = consumers.length > 0 ? await streams.run(consumers, { drainFor }) : undefined;
    const seat = streamWorker && jobs.joinFleet({ version, report: () => ({ consumers: reportOf(streamWorker) }) });
    return {
      queues: jobWorker?.queues ?? [],
      consumers: consumers.map(({ name }) => name),
      get active() {
        return (jobWorker?.active ?? 0) + (streamWorker?.active ?? 0);
      },
      async stop() {
        await Promise.all([jobWorker?.stop(), stopConsumers(streamWorker, seat)]);
      },
    };
  } catch (error) {
    await jobWorker?.stop();
    throw error;
  }
}

function reportOf({ consumers }: StreamWorker): ConsumerReport[] {
  return consumers.map(({ stream, group, concurrency, active }) => ({ stream, group, concurrency, active }));
}

async function stopConsumers(worker: StreamWorker | undefined, seat: FleetSeat | undefined): Promise<void> {
  seat?.drain();
  await worker?.stop();
  await seat?.leave();
}
