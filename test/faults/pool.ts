/** Worker processes that a test kills, stops and starts again; what is left of them ends with the test. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RedisOptions } from '../../src/redis/address.ts';
import type { WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import type { FaultWorkerOptions } from '../support/fault-jobs.ts';
import { between, readJournal, tally, type Step } from './journal.ts';

/** Start-up takes a second of a core, and the cores are shared. */
export const PATIENCE_MS = 60_000;

/** What the processes of a pool have in common. */
export interface PoolOptions {
  redis: RedisOptions;
  prefix: string;
  worker: Omit<WorkerOptions, 'handlers'>;
}

/** One worker process. */
export class PoolWorker {
  readonly child: Child;
  readonly #journal: string;

  constructor(child: Child, journal: string) {
    this.child = child;
    this.#journal = journal;
  }

  /** As BullMQ notes who runs a job. */
  get name(): string {
    return `${hostname()}:${this.child.pid}`;
  }

  steps(): Step[] {
    return readJournal(this.#journal);
  }

  /** The jobs that its handlers work on. */
  running(): string[] {
    return between(this.steps(), 'start', 'end');
  }

  /** How many runs it has begun. */
  get begun(): number {
    return tally(this.steps(), 'start').total;
  }

  /** Resolves when it has begun at least so many runs since it was started. */
  hasBegun(runs: number): Promise<void> {
    return this.until(`has begun ${runs} runs`, () => this.begun >= runs);
  }

  /** Resolves when its handlers have come to the end of these jobs. */
  hasEnded(jobIds: readonly string[]): Promise<void> {
    return this.until(`has ended ${jobIds.length} jobs`, () => {
      const ends = tally(this.steps(), 'end');
      return jobIds.every((id) => ends.of(id) > 0);
    });
  }

  /** Resolves when what is said of it is true; rejects at once when the process ends before that. */
  async until(what: string, isTrue: () => boolean): Promise<void> {
    const { process: child } = this.child;
    const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
    await eventually(() => {
      if (!isTrue() && !hasEnded()) throw new Error(`expected: ${this.name} ${what}; it says:\n${this.child.err()}`);
    }, PATIENCE_MS);
    if (!isTrue()) throw new Error(`${this.name} has ended before it ${what}; it says:\n${this.child.err()}`);
  }
}

/** The worker processes of a test. */
export class WorkerPool {
  /** Where each process writes its journal. */
  readonly folder = mkdtempSync(join(tmpdir(), 'millrace-faults-'));
  /** All that were ever started. */
  readonly workers: PoolWorker[] = [];
  readonly #options: PoolOptions;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Starts one more. It takes jobs once it is ready. */
  start({ releaseFile }: Pick<FaultWorkerOptions, 'releaseFile'> = {}): PoolWorker {
    const { redis, prefix, worker } = this.#options;
    const journal = join(this.folder, `${this.workers.length}.journal`);
    const options: FaultWorkerOptions = { redis: { ...redis }, prefix, journal, releaseFile, worker: { ...worker } };
    const started = new PoolWorker(startChild('fault-worker', [JSON.stringify(options)]), journal);
    this.workers.push(started);
    return started;
  }

  /** Everything that all of them wrote. */
  steps(): Step[] {
    return this.workers.flatMap((worker) => worker.steps());
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map(({ child }) => child.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }
}
