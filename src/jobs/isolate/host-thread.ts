/**
 * One thread, as its worker sees it.
 *
 *   idle --run()--> busy --handler ends--> idle
 *   any  --terminate(), or it dies by itself--> ended
 *
 * A thread ends at once when it is told to, also amid a loop that never waits; only a call into native code that blocks, such as
 * execSync(), is waited for by Node. It holds no process open while it is idle.
 */
import { Worker, type ResourceLimits } from 'node:worker_threads';
import { describeValue, MillraceError } from '../../errors.ts';
import { formatMs } from '../../durations.ts';
import type { HostedJob } from './hosted-job.ts';
import type { FromThread, ThreadData } from './messages.ts';

const BOOT = new URL('./boot.js', import.meta.url);
/** In a checkout, `millrace` must lead a handler to the sources and not to a build. */
const SOURCE_CONDITION = 'millrace-source';
const IS_CHECKOUT = import.meta.url.endsWith('.ts');

/** One thread. */
export class HostThread {
  /** Resolves when nothing is left of the thread. */
  readonly exited: Promise<void>;
  readonly #worker: Worker;
  readonly #flag = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #loaded = new Set<string>();
  #job: HostedJob | undefined;
  #uncaught: unknown;
  #isEnding = false;

  constructor(resourceLimits: ResourceLimits | undefined) {
    const workerData: ThreadData = { flag: this.#flag };
    const execArgv = conditions();
    this.#worker = new Worker(BOOT, {
      name: 'millrace handler',
      workerData,
      ...(execArgv && { execArgv }),
      ...(resourceLimits && { resourceLimits }),
    });
    this.#worker.unref();
    this.#worker.on('message', (message: FromThread) => this.#job?.receive(message));
    this.#worker.on('messageerror', (error) => this.#job?.fail(error));
    this.#worker.on('error', (error) => {
      this.#uncaught = error;
      this.#isEnding = true;
    });
    this.exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#onExit(code);
        resolve();
      });
    });
  }

  /** Whether it may be given a job. */
  get isUsable(): boolean {
    return !this.#isEnding;
  }

  /** Whether it has loaded the module already. */
  hasLoaded(url: string): boolean {
    return this.#loaded.has(url);
  }

  /** Runs a job; the thread must be idle. A handler that is not loaded in time is ended with its thread. */
  async run(job: HostedJob, signal: AbortSignal, loadWithinMs: number): Promise<unknown> {
    this.#job = job;
    this.#worker.ref();
    const onAbort = (): void => {
      job.abort(signal.reason);
      Atomics.store(this.#flag, 0, 1);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const loading = setTimeout(() => this.terminate(loadError(job, loadWithinMs)), loadWithinMs);
    job.onBegan = () => clearTimeout(loading);
    try {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      job.start((message) => this.#worker.postMessage(message));
      if (signal.aborted) onAbort();
      const result = await job.ended;
      this.#loaded.add(job.request.url);
      return result;
    } finally {
      clearTimeout(loading);
      signal.removeEventListener('abort', onAbort);
      this.#job = undefined;
      this.#worker.unref();
      if (job.isSpoiled) this.terminate();
    }
  }

  /** Ends the thread, whatever it does. What it ran has failed with the error. */
  terminate(error?: unknown): void {
    this.#isEnding = true;
    if (error !== undefined) this.#job?.fail(error);
    void this.#worker.terminate();
  }

  #onExit(exitCode: number): void {
    this.#isEnding = true;
    const { job, contract } = this.#job?.request ?? {};
    if (!job) return;
    const how = howItDied(this.#uncaught, exitCode);
    this.#job?.fail(
      new MillraceError('THREAD_DIED', `the thread of ${job.name} ${job.id} ended before its handler did: ${how}`, {
        jobId: job.id,
        contract: contract?.name,
        exitCode,
        cause: this.#uncaught,
      }),
    );
  }
}

function loadError({ request }: HostedJob, loadWithinMs: number): MillraceError {
  const { job, contract, url } = request;
  const message = `the handler of ${job.name} ${job.id} was not loaded in a thread within ${formatMs(loadWithinMs)}: ${url}`;
  return new MillraceError('THREAD_DIED', message, { jobId: job.id, contract: contract.name, url, loadWithinMs });
}

function howItDied(uncaught: unknown, exitCode: number): string {
  if (uncaught === undefined) return `exit code ${exitCode}, as of process.exit()`;
  if (!(uncaught instanceof Error)) return `uncaught ${describeValue(uncaught)}`;
  if ('code' in uncaught && uncaught.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'out of memory; see resourceLimits';
  return `uncaught ${uncaught.name}: ${uncaught.message}`;
}

/** Threads begin with the options of the process, unless the condition is missing there. */
function conditions(): string[] | undefined {
  const isGiven = process.execArgv.some((option) => option.includes(SOURCE_CONDITION));
  return IS_CHECKOUT && !isGiven ? [`--conditions=${SOURCE_CONDITION}`] : undefined;
}
