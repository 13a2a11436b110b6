/**
 * One attempt of one job: what its handler is given, and how it ends.
 *
 *   running --handler returns--> done
 *   running --handler throws---> failed
 *   running --interrupt()------> interrupted --handler ends, or the grace is over--> what the interruption says
 *
 * The first interruption counts. A handler that finishes its work within the grace has done it; what comes later is dropped.
 */
import type { Job } from 'bullmq';
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { formatMs } from '../../durations.ts';
import type { Logger } from '../../log.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { JobContract } from '../contract.ts';
import { idOf, parseChildren } from '../dead-letters/children.ts';
import type { RedrivenOptions } from '../dead-letters/letter.ts';
import type { EnqueueOptions, StoredOptions } from '../enqueue-options.ts';
import type { ChildResults, JobFacts, JobOwnContext } from '../handler.ts';
import type { Enqueued } from '../producer.ts';
import type { JobKeys } from '../queue-names.ts';
import { traceIdOf } from '../trace-id.ts';
import type { AttemptTimeouts } from './attempt-timeouts.ts';
import { KeptLog, type JobLog } from './job-log.ts';
import { runOnce } from './once.ts';
import { Progress } from './progress.ts';

/** What an attempt needs of the worker that makes it. */
export interface AttemptHost {
  readonly clock: Clock;
  readonly log: Logger;
  readonly keys: JobKeys;
  readonly client: RedisClient;
  readonly queue: string;
  readonly graceMs: number;
  /** How long the lease of a job lasts without a renewal. */
  readonly leaseMs: number;
  readonly timeouts: AttemptTimeouts;
  /** A key of BullMQ's for this queue. */
  bullKey(suffix: string): string;
  /** Adds a line to those that BullMQ keeps with the job. */
  addLog(jobId: string, line: string, keep: number): Promise<unknown>;
  /** Takes the place of the progress that BullMQ keeps with the job. */
  setProgress(jobId: string, progress: number | object): Promise<unknown>;
  enqueue<Input>(contract: JobContract<Input>, input: Input, options?: EnqueueOptions): Promise<Enqueued>;
}

/** Why an attempt must end before its handler has. */
export type Interruption = 'timeout' | 'cancelled' | 'released' | 'lost';

const FLUSH_LOG_AFTER_MS = 1_000;
/** Lines that are kept with a job, over all its attempts. */
const KEPT_LOG_LINES = 1_000;

/** An attempt, which is also the context that its handler is given. */
export class Attempt implements JobOwnContext {
  readonly #host: AttemptHost;
  readonly #bull: Job;
  readonly #token: string;
  #controller: AbortController | undefined;
  #log: KeptLog | undefined;
  #logTimer: NodeJS.Timeout | undefined;
  #progress: Progress | undefined;
  #giveUp: NodeJS.Timeout | undefined;
  #reject: ((error: MillraceError) => void) | undefined;
  /** The grace was over before there was a handler to wait for. */
  #isOverdue = false;
  #isEnded = false;
  #facts: JobFacts | undefined;
  #running: Map<string, Promise<unknown>> | undefined;
  readonly startedAt: number;
  #timeoutMs: number | undefined;
  #isHeld = false;
  /** When its time is over, in monotonic ms; see AttemptTimeouts. */
  timesOutAtMs = Infinity;
  /** Called when the attempt ends although its handler goes on. */
  onGivenUp: (() => void) | undefined;
  /** Until when the lease lasts without another renewal, in monotonic ms. */
  leaseUntilMs: number;
  interruption: { kind: Interruption; error: MillraceError } | undefined;

  constructor(host: AttemptHost, bull: Job, token: string) {
    this.#host = host;
    this.#bull = bull;
    this.#token = token;
    this.startedAt = host.clock.wallMs();
    this.leaseUntilMs = host.clock.monotonicMs() + host.leaseMs;
  }

  get id(): string {
    return this.#bull.id ?? '';
  }

  get job(): JobFacts {
    return (this.#facts ??= factsOf(this.#bull, this.#host.queue, this.startedAt));
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.interruption) this.#controller.abort(this.interruption.error);
    }
    return this.#controller.signal;
  }

  get log(): JobLog {
    const { log, clock, queue } = this.#host;
    if (this.#log) return this.#log;
    this.#log = new KeptLog(
      () => {
        const { id, name, attemptsStarted, opts } = this.#bull;
        const traceId = traceIdOf(opts);
        return log.child({ jobId: id, job: name, queue, attempt: attemptsStarted, ...(traceId && { traceId }) });
      },
      clock,
      () => (this.#logTimer ??= setTimeout(() => void this.#flushLog(), FLUSH_LOG_AFTER_MS)),
    );
    if (this.#isEnded) this.#log.close();
    return this.#log;
  }

  // Getters, so that a handler may take the context apart, and an attempt pays for no more than its handler uses.

  get progress(): JobOwnContext['progress'] {
    return (value) => {
      // What is told after the end, or without the lease, would take the place of what the next attempt tells.
      if (!this.#isEnded && this.interruption?.kind !== 'lost') this.#progressOf().set(value);
    };
  }

  get once(): JobOwnContext['once'] {
    return (key, effect) => this.#once(key, effect);
  }

  get enqueue(): JobOwnContext['enqueue'] {
    return (contract, input, options) => this.#host.enqueue(contract, input, options);
  }

  get children(): JobOwnContext['children'] {
    return async (): Promise<ChildResults> => {
      const [results, failures] = await Promise.all([
        this.#bull.getChildrenValues(),
        this.#bull.getIgnoredChildrenFailures(),
      ]);
      const { children }: RedrivenOptions = this.#bull.opts;
      const before = parseChildren(children);
      return {
        results: { ...before?.results, ...byId(results ?? {}) },
        failures: { ...before?.failures, ...byId(failures ?? {}) },
      };
    };
  }

  /** The last lines of the log, for the record of the attempt. */
  logTail(count: number): string[] {
    return this.#log?.tail(count) ?? [];
  }

  /** Waits for the handler, but no longer than interruptions allow. */
  finish(work: PromiseLike<unknown>, timeoutMs: number | undefined): Promise<unknown> {
    this.timesOutAtMs = Infinity;
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      work.then(resolve, reject);
      if (this.#isOverdue && this.interruption) reject(this.interruption.error);
      this.#timeoutMs = timeoutMs;
      if (!this.#isHeld) this.startTimeout();
    });
  }

  /** To be called before finish() where the handler must wait until it can begin: the timeout counts from startTimeout() on. */
  holdTimeout(): void {
    this.#isHeld = true;
  }

  startTimeout(): void {
    this.#isHeld = false;
    if (this.#timeoutMs === undefined || this.interruption || this.#isEnded) return;
    this.timesOutAtMs = this.#host.timeouts.begin(this.#timeoutMs);
  }

  /** Its time is over. */
  timeOut(): void {
    this.timesOutAtMs = Infinity;
    const timeoutMs = this.#timeoutMs ?? 0;
    const { id, name } = this.job;
    const message = `${name} ${id} ran longer than its timeout of ${formatMs(timeoutMs)}`;
    this.interrupt('timeout', new MillraceError('JOB_TIMEOUT', message, { jobId: id, contract: name, timeoutMs }));
  }

  /** Aborts the signal, and ends the attempt after the grace even if its handler goes on. */
  interrupt(kind: Interruption, error: MillraceError, graceMs: number = this.#host.graceMs): void {
    if (this.interruption || this.#isEnded) return;
    this.interruption = { kind, error };
    this.timesOutAtMs = Infinity;
    this.#giveUp = setTimeout(() => {
      this.#isOverdue = true;
      this.#reject?.(error);
      this.onGivenUp?.();
    }, graceMs);
    this.#controller?.abort(error);
  }

  /** Stops the attempt's timers, and writes what is left of its log and progress. */
  async end(): Promise<void> {
    this.endTimers();
    this.#log?.close();
    // A job whose lease is lost may be another worker's by now, which tells its own progress.
    if (this.interruption?.kind === 'lost') this.#progress?.drop();
    await Promise.all([this.#progress?.close(), this.#log && this.#flushLog()]);
  }

  /** Whether end() has something to wait for. */
  get hasLoose(): boolean {
    return this.#progress !== undefined || this.#log !== undefined;
  }

  /** Whether effects of the job may be stored. */
  get hasEffects(): boolean {
    return this.#running !== undefined;
  }

  /** Stops the attempt's timers; what is told to interrupt it from now on comes too late. */
  endTimers(): void {
    this.#isEnded = true;
    this.timesOutAtMs = Infinity;
    clearTimeout(this.#giveUp);
  }

  #progressOf(): Progress {
    return (this.#progress ??= new Progress(async (latest) => {
      try {
        await this.#host.setProgress(this.id, latest);
      } catch (error) {
        this.#host.log.debug({ jobId: this.id, err: error }, 'progress not written'); // The next one may be.
      }
    }, this.#host.clock));
  }

  #once<T>(key: string, effect: () => Promise<T> | T): Promise<T> {
    this.#running ??= new Map();
    const running = this.#running.get(key);
    if (running) return running as Promise<T>;
    const { client, clock, keys, queue, leaseMs } = this.#host;
    const store = {
      client,
      clock,
      lock: this.#host.bullKey(`${this.id}:lock`),
      effects: keys.once(queue, this.id),
      token: this.#token,
      jobId: this.id,
      leaseMs,
      mustGoOn: () => this.#mustGoOn(),
    };
    const result = runOnce(store, key, effect);
    this.#running.set(key, result);
    const forget = (): boolean | undefined => this.#running?.delete(key);
    result.then(forget, forget);
    return result;
  }

  /** Throws when an effect that begins now would have no attempt to belong to. Within the grace after an interruption it has. */
  #mustGoOn(): void {
    const { interruption } = this;
    const isOver = this.#isEnded || this.#isOverdue;
    if (interruption && (isOver || interruption.kind === 'lost')) throw interruption.error;
    if (isOver) throw new MillraceError('CLOSED', `job ${this.id}: its attempt has ended already`, { jobId: this.id });
  }

  async #flushLog(): Promise<void> {
    clearTimeout(this.#logTimer);
    this.#logTimer = undefined;
    const lines = this.#log?.take() ?? [];
    try {
      await Promise.all(lines.map((line) => this.#host.addLog(this.id, line, KEPT_LOG_LINES)));
    } catch (error) {
      this.#host.log.debug({ jobId: this.#bull.id, err: error }, 'log lines not kept with the job'); // They are in the worker's log.
    }
  }
}

function factsOf(bull: Job, queue: string, startedAt: number): JobFacts {
  const stored: StoredOptions = bull.opts;
  return Object.freeze({
    id: bull.id ?? '',
    name: bull.name,
    queue,
    version: stored.v ?? 1,
    attempt: bull.attemptsMade + 1,
    attempts: bull.opts.attempts ?? 1,
    enqueuedAt: bull.timestamp,
    waitedMs: waitedMs(bull, startedAt),
    redriven: stored.redriven ?? 0,
  });
}

/** How long the job waited beyond its delay; the clocks of two machines may make it seem less than nothing. */
export function waitedMs(bull: Pick<Job, 'timestamp' | 'opts'>, startedAt: number): number {
  // As it was enqueued: BullMQ's own count of the delay is 0 once it is over, and that of the last retry later on.
  return Math.max(0, startedAt - bull.timestamp - (bull.opts.delay ?? 0));
}

function byId<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [idOf(key), value]));
}
