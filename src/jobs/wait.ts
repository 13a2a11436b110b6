/**
 * Those in this process who wait for the end of a job.
 *
 *   wait ---> told to all workers ---> the job ends ---> its worker tells ---> a look at what became of it ---> all who wait for it
 *
 * Workers tell on a channel of the end of each job that somebody waits for. Whether somebody does they read in the job, where it was
 * enqueued to be waited for, and hear on another channel of any other. What is said on channels can be missed (a worker that started
 * later, a connection that was lost), so each job is looked at when its wait begins, again as soon as the channel is heard again, about
 * once a second meanwhile, and when its time is over: a message that was lost delays the answer and loses nothing.
 * All who wait for a job share its looks, and looks are bounded: LOOKS_A_ROUND of them a second, more only where a job's turn would
 * otherwise come after ROUNDS seconds. Nothing runs while nobody waits.
 *
 * Redis down: goes on waiting until the deadline, because the job does too; then WAIT_TIMEOUT with the reason as its cause.
 */
import { withDeadline, type Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { isMillraceError, MillraceError, type ErrorCode } from '../errors.ts';
import type { Channel, JobIds } from './channel.ts';
import type { JobsCore } from './core.ts';
import { outcomeOf, queueOf, type Returned } from './outcome.ts';
import type { OpenQueue } from './queue-set.ts';

/** One wait. */
export interface WaitRequest {
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** Its worker reads in the job itself that it is waited for. */
  isMarked?: boolean | undefined;
}

const LOOK_EVERY_MS = 1_000;
const LOOKS_A_ROUND = 200;
const ROUNDS = 10;
/** Even a wait of no time looks once. */
const LEAST_LOOK_MS = 250;
/** How many ids are told in one message. */
const TOLD_AT_ONCE = 1_000;

/** What Redis may say during an outage, after which it is asked again. */
const PASSING: readonly ErrorCode[] = ['REDIS_UNREACHABLE', 'REDIS_TIMEOUT', 'REDIS_NOT_READY', 'REDIS_CLUSTER_DOWN'];

interface Waiter {
  resolve: (returned: Returned) => void;
  reject: (error: unknown) => void;
}

/** A job that is waited for. */
class AwaitedJob {
  readonly id: string;
  readonly key: string;
  readonly isMarked: boolean;
  readonly waiters = new Set<Waiter>();
  /** Undefined until it has been found, where whoever waits did not know it. */
  queue: OpenQueue | undefined;
  /** The look that is under way, and whether another one must follow it: it may have been on its way when the message came. */
  looking: Promise<void> | undefined;
  isTold = false;
  lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Why it could not be looked at the last time. */
  trouble: MillraceError | undefined;

  constructor(id: string, key: string, queue: OpenQueue | undefined, isMarked: boolean) {
    this.id = id;
    this.key = key;
    this.queue = queue;
    this.isMarked = isMarked;
  }
}

/** The waits of one process. */
export class JobWaits {
  readonly #core: JobsCore;
  readonly #clock: Clock;
  readonly #done: Channel;
  readonly #wanted: Channel<JobIds>;
  /** Those that were looked at the longest time ago come first. */
  readonly #jobs = new Map<string, AwaitedJob>();
  readonly #fresh = new Set<AwaitedJob>();
  #unlisten: (() => void) | undefined;
  /** Wakes the rounds, which end when there is nothing to look at any more. */
  #pause: AbortController | undefined;
  #isClosed = false;

  constructor(core: JobsCore, done: Channel, wanted: Channel<JobIds>) {
    this.#core = core;
    this.#clock = core.clock;
    this.#done = done;
    this.#wanted = wanted;
  }

  /** How many jobs are waited for. */
  get size(): number {
    return this.#jobs.size;
  }

  /** Begins to listen, for whoever will wait for a job that may be done before he does. */
  open(): void {
    this.#unlisten ??= this.#done.listen(
      ({ queue, id }) => this.#hear(queue, id),
      () => this.#all(),
    );
  }

  /**
   * What the handler returned.
   *
   * @throws MillraceError JOB_FAILED, JOB_CANCELLED, JOB_UNKNOWN, WAIT_TIMEOUT, CLOSED; or the reason of the signal
   */
  async wait(queue: OpenQueue | undefined, id: string, request: WaitRequest): Promise<unknown> {
    const { deadlineMs, signal, isMarked = false } = request;
    signal?.throwIfAborted();
    if (this.#isClosed) throw closed();
    const job = this.#enter(queue, id, isMarked);
    const over = new AbortController();
    let waiter: Waiter | undefined;
    let leave: (() => void) | undefined;
    try {
      const { json } = await new Promise<Returned>((resolve, reject) => {
        waiter = { resolve, reject };
        job.waiters.add(waiter);
        leave = () => reject(signal?.reason);
        signal?.addEventListener('abort', leave, { once: true });
        this.#clock.sleep(deadlineMs, { signal: over.signal }).then(
          () => this.#lastLook(job, reject, deadlineMs),
          () => undefined, // It is over before its time.
        );
      });
      return json === undefined || json === '' ? undefined : (JSON.parse(json) as unknown);
    } finally {
      over.abort();
      if (leave) signal?.removeEventListener('abort', leave);
      if (waiter) job.waiters.delete(waiter);
      if (job.waiters.size === 0) this.#drop(job);
    }
  }

  /** Ends all waits. */
  close(): void {
    this.#isClosed = true;
    this.#unlisten?.();
    for (const job of this.#jobs.values()) this.#end(job, ({ reject }) => reject(closed()));
  }

  #enter(queue: OpenQueue | undefined, id: string, isMarked: boolean): AwaitedJob {
    this.open();
    const key = keyOf(queue?.name, id);
    let job = this.#jobs.get(key);
    if (!job) {
      job = new AwaitedJob(id, key, queue, isMarked);
      this.#jobs.set(key, job);
    }
    // All that come in one turn of the event loop are told, and looked at, together.
    if (this.#fresh.size === 0) setImmediate(() => this.#begin());
    this.#fresh.add(job);
    if (!this.#pause) void this.#goRound();
    return job;
  }

  /** Workers are told before the look: a job that ends after the look is told of by its worker. */
  #begin(): void {
    const jobs = [...this.#fresh].filter(({ waiters }) => waiters.size > 0);
    this.#fresh.clear();
    this.#tell(jobs);
    for (const job of jobs) void this.#look(job);
  }

  #tell(jobs: readonly AwaitedJob[]): void {
    const ids = jobs.filter(({ isMarked }) => !isMarked).map(({ id }) => id);
    for (let from = 0; from < ids.length; from += TOLD_AT_ONCE)
      void this.#wanted.tell({ ids: ids.slice(from, from + TOLD_AT_ONCE) });
  }

  #hear(queue: string, id: string): void {
    for (const key of [keyOf(queue, id), keyOf(undefined, id)]) {
      const job = this.#jobs.get(key);
      if (job) void this.#look(job);
    }
  }

  /** The channel is heard, for the first time or again: whatever was said before may have been missed. */
  #all(): void {
    for (const job of this.#jobs.values()) job.lookedAtMs = Number.NEGATIVE_INFINITY;
    this.#pause?.abort();
  }

  /** Looks now and then at all jobs, in turn. */
  async #goRound(): Promise<void> {
    while (this.#jobs.size > 0) {
      this.#pause = new AbortController();
      await this.#clock.sleep(LOOK_EVERY_MS, { signal: this.#pause.signal }).catch(() => undefined);
      const due = this.#due();
      this.#tell(due);
      await Promise.all(due.map((job) => this.#look(job)));
    }
    this.#pause = undefined;
  }

  #due(): AwaitedJob[] {
    const before = this.#clock.monotonicMs() - LOOK_EVERY_MS;
    const most = Math.max(LOOKS_A_ROUND, Math.ceil(this.#jobs.size / ROUNDS));
    const due: AwaitedJob[] = [];
    for (const job of this.#jobs.values()) {
      if (due.length === most || job.lookedAtMs > before) break;
      due.push(job);
    }
    return due;
  }

  /** Never rejects. One at a time of each job. */
  #look(job: AwaitedJob): Promise<void> {
    job.isTold = true;
    job.looking ??= this.#lookUntilSure(job);
    return job.looking;
  }

  async #lookUntilSure(job: AwaitedJob): Promise<void> {
    try {
      while (job.isTold && job.waiters.size > 0) {
        job.isTold = false;
        job.lookedAtMs = this.#clock.monotonicMs();
        this.#jobs.delete(job.key);
        this.#jobs.set(job.key, job);
        job.queue ??= await queueOf(this.#core, job.id);
        const returned = await outcomeOf(this.#core, job.queue, job.id);
        job.trouble = undefined;
        if (returned) this.#end(job, ({ resolve }) => resolve(returned));
      }
    } catch (error) {
      if (isMillraceError(error) && PASSING.includes(error.code)) job.trouble = error; // The next round looks again.
      else this.#end(job, ({ reject }) => reject(error));
    } finally {
      job.looking = undefined;
    }
  }

  /** The job may have ended just now. */
  async #lastLook(job: AwaitedJob, reject: (error: unknown) => void, deadlineMs: number): Promise<void> {
    try {
      await withDeadline(this.#look(job), LEAST_LOOK_MS, silent);
    } catch (error) {
      job.trouble ??= error as MillraceError;
    }
    reject(late(job, deadlineMs)); // Comes to nothing if the look has told the end.
  }

  #end(job: AwaitedJob, settle: (waiter: Waiter) => void): void {
    this.#drop(job);
    for (const waiter of job.waiters) settle(waiter);
    job.waiters.clear();
  }

  #drop(job: AwaitedJob): void {
    if (this.#jobs.get(job.key) === job) this.#jobs.delete(job.key);
    if (this.#jobs.size === 0) this.#pause?.abort();
  }
}

/** An id is of one job, whatever its queue; yet who names a queue asks for the job of that queue alone. */
function keyOf(queue: string | undefined, id: string): string {
  return `${queue ?? ''} ${id}`;
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the jobs have been closed', {});
}

function silent(): MillraceError {
  return new MillraceError('REDIS_TIMEOUT', 'no answer from Redis meanwhile', {});
}

function late({ id, queue, trouble }: AwaitedJob, deadlineMs: number): MillraceError {
  const named = queue ? ` of queue ${queue.name}` : '';
  const message = `job ${id}${named} did not finish within ${formatMs(deadlineMs)}; it goes on`;
  return new MillraceError('WAIT_TIMEOUT', message, { jobId: id, queue: queue?.name, deadlineMs, cause: trouble });
}
