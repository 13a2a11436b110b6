/**
 * A job within a thread: the context that its handler is given there, with what it can have.
 *
 * What reaches Redis is done by the worker, which is asked by message: the lease is its own. Effects of once() run here, their results are
 * looked up and stored there. The contract of enqueue() stays here: what crosses is the checked input as JSON and what the options came to.
 */
import { systemClock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { planEnqueue } from '../enqueue-options.ts';
import type { ChildResults, JobContext } from '../handler.ts';
import { encodeInput } from '../input.ts';
import type { Enqueued } from '../producer.ts';
import type { JobLog } from '../worker/job-log.ts';
import { carryError, rebuildError, type CarriedError } from './carried-error.ts';
import { carryFields } from './carried-value.ts';
import { ThreadProgress } from './thread-progress.ts';
import type { FromThread, Question, RunMessage, ToThread } from './messages.ts';

/** How a thread reaches its worker. */
export interface ThreadLine {
  post(message: FromThread): void;
  /** Takes in what has come although the handler does not let the loop turn. */
  poll(): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  effect: (() => unknown) | undefined;
}

/** A job within a thread. */
export class ThreadJob {
  readonly context: JobContext;
  readonly #request: RunMessage;
  readonly #line: ThreadLine;
  readonly #controller = new AbortController();
  readonly #waiting = new Map<number, Waiting>();
  readonly #progress: ThreadProgress;
  #nextAsk = 1;
  #isOver = false;

  constructor(request: RunMessage, line: ThreadLine) {
    this.#request = request;
    this.#line = line;
    this.#progress = new ThreadProgress((value) => this.#postProgress(value), systemClock);
    this.context = this.#makeContext();
  }

  get run(): number {
    return this.#request.run;
  }

  /** Takes in what the worker says. */
  receive(message: Exclude<ToThread, RunMessage>): void {
    if (message.type === 'abort') {
      this.#controller.abort(rebuildError(message.error));
      return;
    }
    const waiting = this.#waiting.get(message.ask);
    if (!waiting) return;
    switch (message.type) {
      case 'answer':
        this.#waiting.delete(message.ask);
        waiting.resolve(message.value);
        break;
      case 'refusal':
        this.#waiting.delete(message.ask);
        waiting.reject(rebuildError(message.error));
        break;
      case 'effect':
        void this.#runEffect(message.ask, waiting.effect);
        break;
    }
  }

  /** Says what was not said yet. The handler has ended: what it left behind is told so. */
  end(): void {
    this.#progress.flush();
    this.#isOver = true;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#closed());
    this.#waiting.clear();
  }

  #makeContext(): JobContext {
    const { job, modules } = this.#request;
    const context = {
      job: Object.freeze(job),
      signal: polledSignal(this.#controller.signal, () => this.#line.poll()),
      log: this.#makeLog(),
      progress: (value: number | object): void => {
        if (!this.#isOver) this.#progress.set(value);
      },
      once: (key: string, effect: () => unknown): Promise<unknown> => this.#once(key, effect),
      enqueue: (...given: Parameters<JobContext['enqueue']>): Promise<Enqueued> => this.#enqueue(...given),
      children: async (): Promise<ChildResults> => (await this.#ask({ about: 'children' })) as ChildResults,
    };
    for (const name of modules) {
      if (name in context) continue;
      Object.defineProperty(context, name, { get: () => refuseModule(name, job.name), enumerable: false });
    }
    return context as unknown as JobContext;
  }

  #makeLog(): JobLog {
    const write =
      (level: keyof JobLog) =>
      (first: unknown, message?: string): void => {
        if (this.#isOver) return;
        const carried = typeof first === 'object' && first !== null ? carryFields(first) : String(first);
        this.#line.post({ type: 'log', run: this.run, level, first: carried, message });
      };
    return Object.freeze({
      trace: write('trace'),
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
    });
  }

  async #once(key: string, effect: () => unknown): Promise<unknown> {
    let ended: { result: unknown } | { thrown: unknown } | undefined;
    const observed = async (): Promise<unknown> => {
      try {
        const result = await effect();
        ended = { result };
        return result;
      } catch (thrown) {
        ended = { thrown };
        throw thrown;
      }
    };
    try {
      const stored = await this.#ask({ about: 'once', key }, observed);
      return ended && 'result' in ended ? ended.result : stored;
    } catch (error) {
      throw ended && 'thrown' in ended ? ended.thrown : error;
    }
  }

  async #enqueue(...[contract, input, options]: Parameters<JobContext['enqueue']>): Promise<Enqueued> {
    const plan = planEnqueue(contract, input, options, () => systemClock.wallMs());
    const json = await encodeInput(contract, input, this.#request.maxPayloadBytes);
    const target = { name: contract.name, queue: contract.queue };
    return (await this.#ask({ about: 'enqueue', target, json, plan })) as Enqueued;
  }

  async #ask(question: Question, effect?: () => unknown): Promise<unknown> {
    if (this.#isOver) throw this.#closed();
    const ask = this.#nextAsk++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(ask, { resolve, reject, effect });
      this.#line.post({ type: 'ask', run: this.run, ask, question });
    });
  }

  async #runEffect(ask: number, effect: (() => unknown) | undefined): Promise<void> {
    const { run } = this;
    let result: unknown;
    try {
      result = await effect?.();
    } catch (thrown) {
      this.#line.post({ type: 'effect-failed', run, ask, error: carryError(thrown) });
      return;
    }
    try {
      const json = JSON.stringify(result) as string | undefined;
      this.#line.post({ type: 'effect-done', run, ask, json });
    } catch (cause) {
      this.#line.post({ type: 'effect-unstorable', run, ask, error: carryError(cause) });
    }
  }

  #postProgress(value: number | object): void {
    try {
      const plain = JSON.parse(JSON.stringify(value)) as number | object;
      this.#line.post({ type: 'progress', run: this.run, value: plain });
    } catch (error) {
      this.context.log.debug({ err: error }, 'progress not written');
    }
  }

  #closed(): MillraceError {
    const { id, name } = this.#request.job;
    return new MillraceError('CLOSED', `${name} ${id}: its handler has ended already`, { jobId: id });
  }
}

/** The signal, which also knows that it has aborted while a loop that never waits asks it. */
function polledSignal(signal: AbortSignal, poll: () => void): AbortSignal {
  const isAborted = (): boolean => Reflect.get(AbortSignal.prototype, 'aborted', signal);
  return Object.defineProperties(signal, {
    aborted: {
      get: () => {
        if (!isAborted()) poll();
        return isAborted();
      },
    },
    throwIfAborted: {
      value: () => {
        if (!isAborted()) poll();
        if (isAborted()) throw signal.reason;
      },
    },
  });
}

function refuseModule(module: string, job: string): never {
  throw new MillraceError(
    'THREAD_BOUNDARY',
    `${job} is isolated: ${module} stays in the worker's own thread and cannot be used here; do it in a job that is not isolated, and enqueue that`,
    { module },
  );
}

/** The reason of a refusal, for what a thread says by itself. */
export function boundaryError(message: string, cause: unknown): CarriedError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return carryError(new MillraceError('THREAD_BOUNDARY', `${message}: ${reason}`, { cause }));
}
