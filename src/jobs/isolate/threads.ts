/**
 * The threads in which the isolated handlers of one process run: as many as there are jobs for, up to a limit, one job in each at a time.
 *
 * Promise: a handler that goes on after its attempt was given up (timeout, cancel, drain, lost lease, each with its grace) is ended with its
 * thread, also amid `while (true)`, and the worker's own loop is never held up. A thread that dies fails the attempt that it ran, with
 * THREAD_DIED, and no other. After close() no thread is left.
 * A job that finds all threads busy waits for one. Its timeout begins when its handler does: neither that wait nor the loading of the module
 * counts.
 * Redis down: nothing of its own; what a handler asks for fails as it does outside of a thread.
 */
import { availableParallelism } from 'node:os';
import type { ResourceLimits } from 'node:worker_threads';
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { checkOptions } from '../../schema.ts';
import { timeoutOption } from '../contract.ts';
import type { Handler } from '../handler.ts';
import type { Producer } from '../producer.ts';
import type { RunningAttempt } from '../worker/queue-worker-options.ts';
import { HostedJob, type JobServices } from './hosted-job.ts';
import { HostThread } from './host-thread.ts';
import type { RunMessage } from './messages.ts';

/** How the threads of isolated handlers are kept. */
export interface ThreadOptions {
  /**
   * Threads at once, for all queues of the process. Default: as many as the machine runs in parallel. More jobs than threads wait in this
   * process, so give the queues of isolated handlers a `concurrency` that is not far above.
   */
  max?: number | undefined;
  /** A thread without a job ends after so long, at most 24 days. Default `1m`. */
  idleFor?: Duration | undefined;
  /** How long a thread may take to load the module of a handler, before the attempt fails with THREAD_DIED; at most 24 days. Default `1m`. */
  loadWithin?: Duration | undefined;
  /** What each thread may use, as `node:worker_threads` says; a handler that needs more memory fails with THREAD_DIED. Default: as V8 decides. */
  resourceLimits?: ResourceLimits | undefined;
}

const megabytes = z.number().positive().optional();

/** The checks of ThreadOptions. */
export const threadOptionsSchema = z.strictObject({
  max: z.number().int().min(1).max(1_000).optional(),
  idleFor: timeoutOption.default(60_000),
  loadWithin: timeoutOption.default(60_000),
  resourceLimits: z
    .strictObject({
      maxOldGenerationSizeMb: megabytes,
      maxYoungGenerationSizeMb: megabytes,
      codeRangeSizeMb: megabytes,
      stackSizeMb: megabytes,
    })
    .optional(),
});

type CheckedOptions = z.output<typeof threadOptionsSchema>;

/** What the threads are made of. */
export interface ThreadParts {
  producer: Producer;
  /** The names of the platform's modules: a handler that uses one is told that it is not there. */
  modules?: readonly string[] | undefined;
  options?: ThreadOptions | undefined;
}

/** The threads of one process. */
export interface Threads {
  /** How many there are now. */
  readonly size: number;
  /** Runs a handler: in a thread if it is isolated, else here and now. May be taken out: it needs no `this`. */
  readonly execute: (handler: Handler, input: unknown, attempt: RunningAttempt, data: unknown) => unknown;
  /** Ends all threads, and what still runs there. Safe to call twice. */
  close(): Promise<void>;
}

/** Threads for isolated handlers; none is started before a job needs it. @throws MillraceError OPTIONS_INVALID */
export function createThreads({ producer, modules = [], options = {} }: ThreadParts): Threads {
  return new ThreadPool(producer, modules, checkOptions(threadOptionsSchema, options, 'threads'));
}

interface Waiter {
  url: string;
  give(thread: HostThread): void;
  refuse(error: unknown): void;
}

class ThreadPool implements Threads {
  readonly #producer: Producer;
  readonly #modules: readonly string[];
  readonly #options: CheckedOptions;
  readonly #max: number;
  readonly #services: JobServices;
  readonly #all = new Set<HostThread>();
  /** Those without a job, the one that had one last at the end, with the timer that ends it. */
  readonly #idle = new Map<HostThread, NodeJS.Timeout>();
  readonly #waiting = new Set<Waiter>();
  #runs = 0;
  #isClosed = false;

  constructor(producer: Producer, modules: readonly string[], options: CheckedOptions) {
    this.#producer = producer;
    this.#modules = modules;
    this.#options = options;
    this.#max = options.max ?? availableParallelism();
    this.#services = { send: (target, json, plan) => producer.send(target, producer.entry(target, json, plan)) };
  }

  get size(): number {
    return this.#all.size;
  }

  readonly execute: Threads['execute'] = (handler, input, attempt, data) =>
    handler.isolate ? this.#isolate(handler, handler.isolate.href, attempt, data) : handler.run(input, attempt);

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const waiter of this.#waiting) waiter.refuse(closedError());
    for (const timer of this.#idle.values()) clearTimeout(timer);
    this.#idle.clear();
    await Promise.all(
      [...this.#all].map((thread) => {
        thread.terminate(closedError());
        return thread.exited;
      }),
    );
  }

  async #isolate({ contract }: Handler, url: string, attempt: RunningAttempt, data: unknown): Promise<unknown> {
    const { signal } = attempt;
    signal.throwIfAborted();
    attempt.holdTimeout();
    const thread = this.#take(url) ?? (await this.#wait(url, signal));
    const request: RunMessage = {
      type: 'run',
      run: ++this.#runs,
      url,
      contract: { name: contract.name, queue: contract.queue, version: contract.version },
      data,
      job: attempt.job,
      modules: this.#modules,
      maxPayloadBytes: this.#producer.maxPayloadBytes,
    };
    attempt.onGivenUp = () => thread.terminate(signal.reason);
    try {
      return await thread.run(new HostedJob(request, attempt, this.#services), signal, this.#options.loadWithin);
    } finally {
      attempt.onGivenUp = undefined;
      this.#give(thread);
    }
  }

  /** A thread that is free now, best one that has loaded the module. Undefined when all are busy. */
  #take(url: string): HostThread | undefined {
    if (this.#isClosed) throw closedError();
    const free = [...this.#idle.keys()].filter(({ isUsable }) => isUsable).toReversed();
    const thread = free.find((one) => one.hasLoaded(url)) ?? free[0];
    if (!thread) return this.#all.size < this.#max ? this.#open() : undefined;
    clearTimeout(this.#idle.get(thread));
    this.#idle.delete(thread);
    return thread;
  }

  /** Waits for a thread: in turn, and no longer than the job may run at all. */
  #wait(url: string, signal: AbortSignal): Promise<HostThread> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiter);
        signal.removeEventListener('abort', onAbort);
      };
      const waiter: Waiter = {
        url,
        give: (thread) => {
          leave();
          resolve(thread);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.refuse(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  #open(): HostThread {
    const thread = new HostThread(this.#options.resourceLimits);
    this.#all.add(thread);
    void thread.exited.then(() => this.#onExit(thread));
    return thread;
  }

  #give(thread: HostThread): void {
    if (!thread.isUsable || this.#isClosed) return;
    const [next] = this.#waiting;
    if (next) {
      next.give(thread);
      return;
    }
    // It may end the process's last work: a thread that only waits must not keep it.
    this.#idle.set(thread, setTimeout(() => this.#retire(thread), this.#options.idleFor).unref());
  }

  /** Nobody is given it from now on; until it has ended it takes up its place. */
  #retire(thread: HostThread): void {
    this.#idle.delete(thread);
    thread.terminate();
  }

  #onExit(thread: HostThread): void {
    this.#all.delete(thread);
    clearTimeout(this.#idle.get(thread));
    this.#idle.delete(thread);
    const [next] = this.#waiting;
    if (!next || this.#isClosed) return;
    try {
      next.give(this.#open());
    } catch (error) {
      next.refuse(error);
    }
  }
}

function closedError(): MillraceError {
  return new MillraceError('CLOSED', 'the threads of isolated handlers have been closed', {});
}
