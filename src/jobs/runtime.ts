/**
 * The jobs of one process, put together: the client, the dead letters, the schedules, and the workers that the process runs.
 *
 * close() undoes in reverse: workers drain, what moves dead letters ends, the client lets go. All of it within the longest `drainFor` of
 * the workers, also when Redis does not answer: what has not ended by then is left to the next process.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { systemClock, withDeadline, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { RedisClient } from '../redis/clients.ts';
import type { Connections } from '../redis/connect.ts';
import { ServerTime } from '../redis/server-time.ts';
import { checkOptions } from '../schema.ts';
import { positiveDuration } from './contract.ts';
import type { DeadLetters } from './dead-letters/dead-letters.ts';
import { Mover } from './dead-letters/mover.ts';
import { Reconciler } from './dead-letters/reconciler.ts';
import { createFleet, createFleetKeys, type Fleet } from './fleet/fleet.ts';
import { Heartbeat, type FleetMember, type FleetSeat } from './fleet/heartbeat.ts';
import type { JobModules } from './handler.ts';
import { createHistory, type History } from './history/history.ts';
import type { RecordPlace } from './history/record.ts';
import { Recorder } from './history/recorder.ts';
import { JobsClient, type JobsOptions } from './jobs.ts';
import type { JobMetricsRegistry } from './job-metrics.ts';
import { createThreads, type Threads } from './isolate/threads.ts';
import { readDepths } from './queue-depths.ts';
import { createSchedules, type Schedules, type SchedulesClient } from './schedules/schedules.ts';
import { JobWorker } from './worker/job-worker.ts';
import { workerOptionsSchema, type WorkerOptions } from './worker/worker-options.ts';

/** How long dead letters are kept. What is near a limit is warned of before anything is dropped. */
export interface DeadLetterRetention {
  /** Default `30d`. */
  age?: Duration | undefined;
  /** At most so many of each queue. Default 100 000. */
  count?: number | undefined;
}

/** What the jobs of a process are made of. */
export interface JobsRuntimeParts {
  connections: Connections;
  prefix: string;
  log: Logger;
  registry: JobMetricsRegistry;
  /** What handlers find in their context beside their job. */
  modules: JobModules;
  options: JobsOptions;
  deadLetters: DeadLetterRetention;
  /** Of Millrace. */
  version: string;
  /** Of the application, for workers that tell none of their own. */
  appVersion?: string | undefined;
  /** How often workers tell of themselves, in ms. Default 5 s. */
  heartbeatMs?: number | undefined;
  clock?: Clock | undefined;
}

/** A worker that runs in this process. */
export interface Worker {
  /** The queues that it works on. */
  readonly queues: readonly string[];
  /** How many jobs run now. */
  readonly active: number;
  /** Takes no more jobs and ends within `drainFor`. */
  stop(): Promise<void>;
}

/** The checks of DeadLetterRetention. */
export const retentionSchema = z.strictObject({
  age: positiveDuration.default(30 * 86_400_000),
  count: z.number().int().min(1).default(100_000),
});

/** How long a close may take where no worker says. */
const CLOSE_WITHIN_MS = 5_000;
/** What comes last is given so long, even if all before it took too long. */
const LEAST_MS = 20;

/** What stands beside a worker. */
interface WorkerParts {
  threads: Threads;
  /** From its start on. */
  seat?: FleetSeat;
  /** Ends the telling of its contracts. */
  keepSilent?: () => void;
}

/** The jobs of one process. */
export class JobsRuntime {
  readonly jobs: JobsClient;
  readonly deadLetters: DeadLetters;
  readonly schedules: Schedules;
  readonly fleet: Fleet;
  readonly history: History;
  readonly #heartbeat: Heartbeat;
  readonly #recorder: Recorder;
  readonly #schedules: SchedulesClient;
  readonly #parts: JobsRuntimeParts;
  readonly #clock: Clock;
  readonly #mover: Mover;
  readonly #retention: { ageMs: number; count: number };
  readonly #workers = new Map<JobWorker, WorkerParts>();
  #letters: Promise<DeadLetters> | undefined;
  #reconciler: Reconciler | undefined;
  #draining: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  /** When draining and closing must have ended, in monotonic ms. */
  #until = Number.POSITIVE_INFINITY;

  constructor(parts: JobsRuntimeParts) {
    const { connections, prefix, log, registry, options, deadLetters, clock = systemClock } = parts;
    this.#parts = parts;
    this.#clock = clock;
    const { age, count } = checkOptions(retentionSchema, deadLetters, 'deadLetters');
    this.#retention = { ageMs: age, count };
    this.jobs = new JobsClient({ connections, prefix, log, clock, registry, options });
    const { core, transactions } = this.jobs;
    const { queues, metrics } = core;
    this.#mover = new Mover({
      queues,
      transactions,
      lettersAgeMs: this.#retention.ageMs,
      onMoved: ({ queue, contract, reason }) => metrics.forContract(queue, contract).deadLetter(reason),
    });
    this.deadLetters = deadLettersOf(() => (this.#letters ??= this.#loadDeadLetters()));
    this.#schedules = createSchedules(core, {
      transactions,
      maxPayloadBytes: core.producer.maxPayloadBytes,
      onSettled: ({ queue, contract, late, missed }) => metrics.forContract(queue, contract).ticks(late, missed),
    });
    this.schedules = this.#schedules;
    metrics.collectQueues(() => readDepths(queues, clock));
    const client = (): RedisClient => connections.commands();
    const fleetKeys = createFleetKeys(prefix);
    const { version: millrace, appVersion, heartbeatMs: everyMs } = parts;
    this.fleet = createFleet(client, fleetKeys);
    const declared = (): string[] => this.#schedules.declaredHere;
    const told = { millrace, appVersion, everyMs, schedules: declared };
    this.#heartbeat = new Heartbeat({ client, keys: fleetKeys, clock, log, ...told });
    const place: RecordPlace = { client, keys: queues.keys, time: new ServerTime(clock), process: randomUUID() };
    this.history = createHistory({ queues, place, clock, log });
    this.#recorder = new Recorder({ tallies: metrics.tallies, place, clock, log });
  }

  /** Tells the fleet of what else works in this process, until the seat is left. */
  joinFleet(member: FleetMember): FleetSeat {
    return this.#heartbeat.join(member);
  }

  /**
   * Runs jobs in this process until stop() or close(). Resolves once it has begun, and what it declares of schedules is in Redis.
   *
   * @throws MillraceError OPTIONS_INVALID, CLOSED; INPUT_INVALID for the input of a schedule; what is wrong with Redis
   */
  async work(options: WorkerOptions): Promise<Worker> {
    this.#checkOpen();
    const checked = checkOptions(workerOptionsSchema, options, 'worker');
    const { modules, version, appVersion } = this.#parts;
    const { core, cancelChannel, waitChannel, doneChannel } = this.jobs;
    const threads = createThreads({
      producer: core.producer,
      modules: Object.getOwnPropertyNames(modules),
      options: checked.threads,
    });
    const worker = new JobWorker({
      core,
      options: checked,
      modules,
      cancelChannel,
      waitChannel,
      doneChannel,
      execute: threads.execute,
      version: checked.version ?? appVersion ?? version,
      onDead: (queue, jobId) => void this.#mover.moved(queue, jobId),
    });
    const { schedules, owner, revision } = checked;
    this.#workers.set(worker, { threads });
    try {
      if (schedules) await this.#schedules.reconcile(schedules, { owner, revision });
      this.#checkOpen(); // It may have been closed meanwhile.
    } catch (error) {
      await this.#stop(worker);
      throw error;
    }
    worker.start();
    const seat = this.#heartbeat.join({ version: checked.version, report: () => worker.report() });
    const keepSilent = this.jobs.contractBook.keep(checked.handlers.map(({ contract }) => contract));
    this.#workers.set(worker, { threads, seat, keepSilent });
    this.#recorder.start();
    this.#schedules.start();
    this.#reconcile();
    return {
      queues: worker.queueNames,
      get active() {
        return worker.activeCount;
      },
      stop: () => this.#stop(worker),
    };
  }

  /** Why this process should be replaced; undefined when it should not. */
  async alive(): Promise<string | undefined> {
    return firstReason([...this.#workers.keys()].map((worker) => worker.alive()));
  }

  /** Why its workers cannot work now; undefined when they can, or there are none. */
  async ready(): Promise<string | undefined> {
    return firstReason([...this.#workers.keys()].map((worker) => worker.ready()));
  }

  /** Stops the workers, each within its `drainFor`, and what moves dead letters and settles ticks; all else can still be used. Safe to call twice. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  /** Drains the workers and lets go of everything; the connections stay open. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.drain();
    await this.#heartbeat.close();
    await this.#within(this.#until, this.jobs.close());
  }

  async #drain(): Promise<void> {
    this.#heartbeat.drain();
    const workers = [...this.#workers.keys()];
    const withinMs = workers.length === 0 ? CLOSE_WITHIN_MS : Math.max(...workers.map(({ drainForMs }) => drainForMs));
    this.#until = this.#clock.monotonicMs() + withinMs;
    // At once, so that neither begins another round on a server that may be frozen.
    const background = Promise.all([this.#schedules.close(), this.#reconciler?.stop()]);
    background.catch(() => undefined); // Awaited below.
    await Promise.all(workers.map((worker) => this.#stop(worker)));
    await this.#within(this.#until, Promise.all([background, this.#mover.idle()]));
    await this.#within(this.#until, this.#recorder.stop());
  }

  async #stop(worker: JobWorker): Promise<void> {
    const until = this.#clock.monotonicMs() + worker.drainForMs;
    const { threads, seat, keepSilent } = this.#workers.get(worker) ?? {};
    seat?.drain();
    keepSilent?.();
    await worker.stop();
    await threads?.close();
    this.#workers.delete(worker);
    await this.#within(until, this.#mover.idle());
    await Promise.all([this.#within(until, this.#recorder.write()), seat?.leave()]);
  }

  /** Waits for the work, but no longer than until then. */
  async #within(until: number, work: Promise<unknown>): Promise<void> {
    const leftMs = Math.max(LEAST_MS, until - this.#clock.monotonicMs());
    const late = new MillraceError('CLOSED', 'not within the time', {});
    try {
      await withDeadline(work, leftMs, () => late);
    } catch (error) {
      if (error !== late) throw error;
      this.#parts.log.warn('stopped without waiting for Redis any longer; the next process does the rest');
    }
  }

  #checkOpen(): void {
    if (this.#draining ?? this.#closing) throw new MillraceError('CLOSED', 'the jobs have been closed', {});
  }

  /** Loaded by whoever looks at dead letters: a worker moves them, and seldom looks. */
  async #loadDeadLetters(): Promise<DeadLetters> {
    const { createDeadLetters } = await import('./dead-letters/dead-letters.ts');
    const { core, transactions } = this.jobs;
    const { queues, metrics } = core;
    return createDeadLetters(queues, {
      secrets: () => this.jobs.contractBook.secrets(),
      transactions,
      clock: this.#clock,
      onRedriven: ({ queue }) => metrics.forQueue(queue).redriven(),
      onDiscarded: (queue, n) => metrics.forQueue(queue).discarded(n),
    });
  }

  #reconcile(): void {
    const { core, transactions } = this.jobs;
    const { queues, metrics } = core;
    this.#reconciler ??= new Reconciler({
      queues,
      mover: this.#mover,
      transactions,
      clock: this.#clock,
      retention: this.#retention,
      onWarning: ({ queue, limit }) => metrics.forQueue(queue).nearLimit(limit),
      // A cancelled child of a flow has failed for its parent's sake; what is told of it is in its trace.
      onCancelled: async (queue, jobId) => void (await queues.get(queue).backend.remove(jobId, false)),
      onDropped: (queue, n, limit) => metrics.forQueue(queue).dropped(limit, n),
    });
    this.#reconciler.start();
  }
}

/** Dead letters that are loaded with the first question. The transactions are the runtime's, so there is nothing to close. */
function deadLettersOf(load: () => Promise<DeadLetters>): DeadLetters {
  return {
    list: async (options) => (await load()).list(options),
    count: async (filter) => (await load()).count(filter),
    clusters: async (filter) => (await load()).clusters(filter),
    get: async (id, options) => (await load()).get(id, options),
    redrive: async (target, options) => (await load()).redrive(target, options),
    discard: async (target, options) => (await load()).discard(target, options),
    close: async () => undefined,
  };
}

async function firstReason(checks: ReadonlyArray<Promise<string | undefined>>): Promise<string | undefined> {
  return (await Promise.all(checks)).find((reason) => reason !== undefined);
}
