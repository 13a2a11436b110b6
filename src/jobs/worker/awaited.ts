/**
 * Which jobs somebody waits for, as far as this worker knows: those that say so themselves, and those that it has heard of.
 *
 * Whoever waits tells of it again every second, or every ten where many wait. What is told no more is forgotten without a timer: ids are in
 * two sets, and the older one goes when ids come after both have had their time.
 */
import type { Job } from 'bullmq';
import type { Clock } from '../../clock.ts';
import type { Channel, JobIds } from '../channel.ts';
import type { StoredOptions } from '../enqueue-options.ts';

const KEPT_MS = 30_000;
/** Of each set. Whoever waits for a job that was forgotten finds out of its end by looking. */
const MOST = 50_000;

/** The jobs that are waited for, of all queues of one worker. */
export class Awaited {
  readonly #clock: Clock;
  readonly #wanted: Channel<JobIds>;
  readonly #done: Channel;
  #ids = new Set<string>();
  #older = new Set<string>();
  #turnedAtMs = 0;
  #unlisten: (() => void) | undefined;

  constructor(clock: Clock, wanted: Channel<JobIds>, done: Channel) {
    this.#clock = clock;
    this.#wanted = wanted;
    this.#done = done;
  }

  /** Begins to listen. */
  start(): void {
    this.#unlisten = this.#wanted.listen(({ ids }) => this.#add(ids));
  }

  stop(): void {
    this.#unlisten?.();
  }

  /** Whether somebody waits for the job. */
  has({ id = '', opts }: Job): boolean {
    return (opts as StoredOptions).wait !== undefined || this.#ids.has(id) || this.#older.has(id);
  }

  /** The job has ended: those who wait for it are told. */
  ended(queue: string, job: Job): void {
    if (!this.has(job)) return;
    const { id = '' } = job;
    this.#ids.delete(id);
    this.#older.delete(id);
    void this.#done.tell({ queue, id });
  }

  #add(ids: readonly string[]): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#turnedAtMs > KEPT_MS) {
      this.#older = nowMs - this.#turnedAtMs > 2 * KEPT_MS ? new Set() : this.#ids;
      this.#ids = new Set();
      this.#turnedAtMs = nowMs;
    }
    for (const id of ids) if (this.#ids.size < MOST) this.#ids.add(id);
  }
}
