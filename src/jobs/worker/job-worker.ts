/**
 * A worker: what one process runs of the jobs of its queues.
 *
 *   created --start()--> running --stop()--> draining --> stopped
 *
 * Draining is bounded: no more jobs are taken; those that run are waited for until shortly before `drainFor` is over; then their signals
 * abort, and they are handed back to their queues without using up an attempt.
 * Redis down: jobs go on, as long as their leases last; nothing is taken until it is back. A worker that stays silent after that is
 * rebuilt; alive() says so if that did not help.
 */
import { hostname } from 'node:os';
import { withDeadline } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import type { Channel, JobIds, JobMessage } from '../channel.ts';
import type { JobsCore } from '../core.ts';
import type { MemberReport } from '../fleet/heartbeat.ts';
import { MOST_RUNNING } from '../fleet/report.ts';
import type { Handler, JobModules } from '../handler.ts';
import { Attempt } from './attempt.ts';
import { Awaited } from './awaited.ts';
import { cancelledError } from './cancellations.ts';
import { watchEventLoop, type EventLoopWatch } from './event-loop-watch.ts';
import { Liveness } from './liveness.ts';
import { Quarantine } from './quarantine.ts';
import type { AttemptClass, QueueWorkerOptions } from './queue-worker-options.ts';
import { QueueWorker } from './queue-worker.ts';
import type { CheckedWorkerOptions } from './worker-options.ts';

/** What a worker is made of, beyond what all jobs share. */
export interface JobWorkerParts {
  core: JobsCore;
  options: CheckedWorkerOptions;
  /** What handlers find in their context beside their job. */
  modules: Partial<JobModules>;
  cancelChannel: Channel;
  waitChannel: Channel<JobIds>;
  doneChannel: Channel;
  execute: QueueWorkerOptions['execute'];
  version: string;
  /** A job of the queue has failed for good. */
  onDead: (queue: string, jobId: string) => void;
}

/** Of drainFor, what is kept for aborting and handing back. */
const RESERVE_SHARE = 0.2;
const LONGEST_RESERVE_MS = 2_000;
/** Of drainFor, what is left to those who close what the worker has used. */
const REST_SHARE = 0.04;
const LONGEST_REST_MS = 500;
/** Between the abort of a drain and the moment when the job is handed back all the same. */
const RELEASE_GRACE_SHARE = 0.5;
/** A block of the event loop as long as this part of the lease stops the fetching for a while. */
const FETCH_STOPS_AT = 0.25;
/** How long fetching then stays stopped. */
const CALM_MS = 2_000;
/** How often it is looked whether a running job was cancelled, in case that nobody was heard to say so. */
const LOOK_FOR_MARKS_MS = 2_000;

/** The worker of one process. */
export class JobWorker {
  readonly #parts: JobWorkerParts;
  readonly #awaited: Awaited;
  readonly #queues: readonly QueueWorker[];
  readonly #liveness: Liveness;
  readonly #loop: EventLoopWatch;
  #unlisten: (() => void) | undefined;
  #calm: NodeJS.Timeout | undefined;
  #marks: NodeJS.Timeout | undefined;
  #started = false;
  #stopping: Promise<void> | undefined;

  constructor(parts: JobWorkerParts) {
    this.#parts = parts;
    const { core, options } = parts;
    this.#awaited = new Awaited(core.clock, parts.waitChannel, parts.doneChannel);
    this.#queues = queueWorkers(parts, this.#awaited);
    this.#liveness = new Liveness({
      core,
      queues: this.#queues,
      silentForMs: options.silentFor,
      onSilent: (reason) => {
        core.log.error(`${reason}; this process should be replaced`);
        options.onSilent?.(reason);
      },
    });
    this.#loop = watchEventLoop({ clock: core.clock, onBlocked: (blockedMs) => this.#onBlocked(blockedMs) });
  }

  /** The names of the queues that it works on. */
  get queueNames(): string[] {
    return this.#queues.map(({ name }) => name);
  }

  /** How many jobs run now. */
  get activeCount(): number {
    return this.#queues.reduce((sum, { running }) => sum + running.size, 0);
  }

  /** What it does now, for the fleet. */
  report(): MemberReport {
    const { clock } = this.#parts.core;
    const nowMs = clock.monotonicMs();
    const wallMs = clock.wallMs();
    return {
      queues: this.#queues.map(({ name, concurrency, running, lastTakenMs }) => ({
        name,
        concurrency,
        active: running.size,
        ...(lastTakenMs !== undefined && { takenMs: Math.round(nowMs - lastTakenMs) }),
      })),
      running: this.#queues.flatMap(({ name: queue, running }) =>
        [...running.values()].slice(0, MOST_RUNNING).map(({ job: { id, name, attempt }, startedAt }) => {
          return { id, name, queue, attempt, runMs: Math.max(0, wallMs - startedAt) };
        }),
      ),
    };
  }

  /** How long stop() may take, with what comes after it. */
  get drainForMs(): number {
    return this.#parts.options.drainFor;
  }

  /** Begins to take jobs. Safe to call twice. */
  start(): void {
    if (this.#started || this.#stopping) return;
    this.#started = true;
    const { core, cancelChannel } = this.#parts;
    this.#unlisten = cancelChannel.listen((message) => this.#onCancel(message));
    this.#awaited.start();
    for (const queue of this.#queues) {
      core.queues.register(queue.name);
      queue.start();
    }
    this.#loop.start();
    this.#liveness.start();
    this.#marks = setInterval(() => {
      for (const queue of this.#queues) void queue.obeyMarks();
    }, LOOK_FOR_MARKS_MS).unref();
  }

  /** Takes no more jobs, and ends within `drainFor`. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Why this process should be replaced; undefined when it should not. */
  async alive(): Promise<string | undefined> {
    return this.#liveness.verdict();
  }

  /** Why it cannot work now; undefined when it can. */
  async ready(): Promise<string | undefined> {
    if (this.#stopping) return 'draining';
    if (!this.#started) return 'not started';
    const troubles = this.#queues.flatMap((queue) => {
      const trouble = queue.trouble();
      return trouble === undefined ? [] : [`queue ${queue.name} ${trouble}`];
    });
    return troubles.length === 0 ? undefined : troubles.join('; ');
  }

  async #stop(): Promise<void> {
    this.#liveness.stop();
    this.#loop.stop();
    clearTimeout(this.#calm);
    await this.#drain();
    clearInterval(this.#marks);
    this.#unlisten?.();
    this.#awaited.stop();
  }

  async #drain(): Promise<void> {
    const { core, options } = this.#parts;
    const reserveMs = Math.min(options.drainFor * RESERVE_SHARE, LONGEST_RESERVE_MS);
    const restMs = Math.min(options.drainFor * REST_SHARE, LONGEST_REST_MS);
    const ended = Promise.all(this.#queues.map((queue) => queue.close()));
    if (this.activeCount > 0)
      core.log.info({ active: this.activeCount }, `draining for up to ${formatMs(options.drainFor)}`);
    if (await isWithin(ended, options.drainFor - reserveMs - restMs)) return;
    core.log.warn({ active: this.activeCount }, 'handing unfinished jobs back to their queues');
    this.#release(reserveMs * RELEASE_GRACE_SHARE);
    if (await isWithin(ended, reserveMs)) return;
    core.log.error(
      { active: this.activeCount },
      'jobs could not be handed back; they run again once their leases are over',
    );
    for (const queue of this.#queues) queue.hangUp();
  }

  #release(graceMs: number): void {
    for (const queue of this.#queues) {
      for (const [jobId, attempt] of queue.running) {
        const error = new MillraceError('JOB_RELEASED', `job ${jobId} is handed back to its queue: the worker stops`, {
          jobId,
        });
        attempt.interrupt('released', error, graceMs);
      }
    }
  }

  #onCancel({ queue, id, reason = 'no reason given' }: JobMessage): void {
    const attempt = this.#queues.find(({ name }) => name === queue)?.running.get(id);
    attempt?.interrupt('cancelled', cancelledError(id, reason));
  }

  #onBlocked(blockedMs: number): void {
    const { core, options } = this.#parts;
    core.metrics.eventLoopBlocked(blockedMs);
    core.log.warn({ blockedMs: Math.round(blockedMs) }, `the event loop was blocked for ${formatMs(blockedMs)}`);
    if (blockedMs < options.lease * FETCH_STOPS_AT || this.#stopping) return;
    core.log.warn('leases are in danger: no more jobs are taken until the event loop is calm');
    for (const queue of this.#queues) void queue.pause();
    clearTimeout(this.#calm);
    this.#calm = setTimeout(() => {
      if (this.#stopping) return;
      for (const queue of this.#queues) void queue.resume();
    }, CALM_MS);
  }
}

function queueWorkers(
  { core, options, modules, execute, version, onDead }: JobWorkerParts,
  awaited: Awaited,
): QueueWorker[] {
  const { connections, queues, producer, metrics, clock, log } = core;
  const AttemptWithModules = class extends Attempt {} as AttemptClass;
  Object.defineProperties(AttemptWithModules.prototype, Object.getOwnPropertyDescriptors(modules));
  const quarantine = new Quarantine(clock);
  return [...byQueue(options.handlers, options.queues)].map(
    ([name, handlers]) =>
      new QueueWorker({
        host: {
          clock,
          log,
          keys: queues.keys,
          client: connections.commands(),
          graceMs: options.grace,
          enqueue: (contract, input, more) => producer.enqueue(contract, input, more),
        },
        connection: connections.queue(),
        queue: queues.get(name),
        handlers,
        meter: (contract) => metrics.forContract(name, contract),
        Attempt: AttemptWithModules,
        execute,
        concurrency: options.queues[name]?.concurrency ?? options.concurrency,
        leaseMs: options.lease,
        stalledCheckMs: options.stalledCheck ?? options.lease,
        poisonAfter: options.poisonAfter,
        quarantine,
        strangerGraceMs: options.strangerGrace,
        worker: `${hostname()}:${process.pid}`,
        version,
        telemetry: core.telemetry,
        onStalled: (queue) => metrics.forQueue(queue).stalled(),
        onDead,
        awaited,
      }),
  );
}

/** @throws MillraceError OPTIONS_INVALID for two handlers of one job, and for options of a queue that has no handler. */
function byQueue(handlers: readonly Handler[], queues: CheckedWorkerOptions['queues']): Map<string, Handler[]> {
  const grouped = new Map<string, Handler[]>();
  for (const handler of handlers) {
    const { name, queue } = handler.contract;
    const others = grouped.get(queue) ?? [];
    if (others.some(({ contract }) => contract.name === name)) {
      throw new MillraceError('OPTIONS_INVALID', `worker: handlers: two of them handle ${name}`, { contract: name });
    }
    grouped.set(queue, [...others, handler]);
  }
  const strange = Object.keys(queues).find((queue) => !grouped.has(queue));
  if (strange === undefined) return grouped;
  const known = [...grouped.keys()].join(', ');
  throw new MillraceError('OPTIONS_INVALID', `worker: queues.${strange}: no handler works on it; there are ${known}`, {
    queue: strange,
  });
}

async function isWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const late = new MillraceError('CLOSED', 'not within the time', {});
  try {
    await withDeadline(work, Math.max(0, ms), () => late);
    return true;
  } catch (error) {
    if (error === late) return false;
    throw error;
  }
}
