/** Jobs that keep coming while workers and servers go, and the books on what was accepted. */
import { MillraceError } from '../../src/errors.ts';
import type { EnqueueOptions } from '../../src/jobs/enqueue-options.ts';
import type { Platform } from '../../src/platform.ts';
import { eventually } from '../support/eventually.ts';
import { QUEUE, toil } from '../support/fault-jobs.ts';

const BATCH = 20;
const SHORTEST_MS = 5;
const LONGEST_MS = 80;
/** Longer than any outage or want of workers that a test makes, on the slowest of machines. */
const PATIENCE_MS = 300_000;

/** What a load is made of. */
export interface LoadOptions {
  /** With each job. */
  enqueue?: EnqueueOptions | undefined;
  /** So many wait, and some more, while it goes on. */
  backlog: number;
}

/** A steady load. */
export class Load {
  /** The ids of the jobs whose enqueue has resolved. */
  readonly accepted: string[] = [];
  /** How many jobs had an enqueue that failed. Those whose answer alone was lost run all the same. */
  unsure = 0;
  readonly #platform: Platform;
  readonly #options: LoadOptions;
  #running: Promise<void> | undefined;
  #isStopped = false;

  constructor(platform: Platform, options: LoadOptions) {
    this.#platform = platform;
    this.#options = options;
  }

  /** Begins, or goes on. */
  start(): void {
    this.#isStopped = false;
    this.#running ??= this.#run();
    this.#running.catch(() => undefined); // stop() tells of it.
  }

  /** Resolves when so many jobs wait. */
  async isFull(): Promise<void> {
    await eventually(async () => {
      const { waiting } = await this.#platform.jobs.counts(QUEUE);
      if (waiting < this.#options.backlog) throw new Error(`${waiting} jobs wait`);
    }, PATIENCE_MS);
  }

  /** Enqueues no more; resolves when the last answer is there. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    const running = this.#running;
    this.#running = undefined;
    await running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      if (!(await this.#hasRoom())) continue;
      await this.#add(BATCH, () => this.#addMany());
      await this.#add(1, () => this.#addOne());
    }
  }

  /** Waits for workers to have done something, and for a server that answers. */
  #hasRoom(): Promise<boolean> {
    return eventually(async () => {
      if (this.#isStopped) return false;
      const { waiting } = await this.#platform.jobs.counts(QUEUE);
      if (waiting > this.#options.backlog) throw new Error(`${waiting} jobs wait`);
      return true;
    }, PATIENCE_MS);
  }

  async #addMany(): Promise<string[]> {
    const inputs = Array.from({ length: BATCH }, input);
    const added = await this.#platform.jobs.enqueueMany(toil, inputs, this.#options.enqueue);
    return added.map(({ id }) => id);
  }

  async #addOne(): Promise<string[]> {
    const { id } = await this.#platform.jobs.enqueue(toil, input(), this.#options.enqueue);
    return [id];
  }

  async #add(count: number, add: () => Promise<string[]>): Promise<void> {
    try {
      this.accepted.push(...(await add()));
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      this.unsure += count;
    }
  }
}

function input(): { ms: number; hasEffect: boolean } {
  return { ms: SHORTEST_MS + Math.random() * (LONGEST_MS - SHORTEST_MS), hasEffect: Math.random() < 0.5 };
}
