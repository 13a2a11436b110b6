/**
 * What this process has counted of each queue and not written yet.
 *
 * Promise: counting is an addition to a number, and never allocates, waits or throws; a queue's tally is of one size, however long it is not
 * written.
 */
import type { JobOutcome } from '../metric-definitions.ts';
import { BUCKETS, bucketOf } from './buckets.ts';
import { pack } from './packed.ts';

/** Queues that are told apart; a process works on far fewer. */
const MOST_QUEUES = 2_000;

/** Outcomes of an attempt that failed. */
const FAILURES: ReadonlySet<JobOutcome> = new Set(['failed', 'retried', 'dead', 'expired', 'timeout']);

/** The tally of one queue. */
export class QueueTally {
  completed = 0;
  failed = 0;
  retried = 0;
  dead = 0;
  readonly wait = new Uint32Array(BUCKETS);
  readonly run = new Uint32Array(BUCKETS);
  #isEmpty = true;

  /** An attempt has ended. */
  ended(outcome: JobOutcome, isRetried: boolean): void {
    if (outcome === 'completed') this.completed++;
    else if (!FAILURES.has(outcome)) return;
    else {
      this.failed++;
      if (isRetried) this.retried++;
    }
    this.#isEmpty = false;
  }

  /** A dead letter was made. */
  died(): void {
    this.dead++;
    this.#isEmpty = false;
  }

  waited(ms: number): void {
    hit(this.wait, ms);
    this.#isEmpty = false;
  }

  ran(ms: number): void {
    hit(this.run, ms);
    this.#isEmpty = false;
  }

  /** What was counted, packed, and counts anew; undefined for nothing. */
  take(): Buffer | undefined {
    if (this.#isEmpty) return undefined;
    const packed = pack(this);
    this.completed = this.failed = this.retried = this.dead = 0;
    this.wait.fill(0);
    this.run.fill(0);
    this.#isEmpty = true;
    return packed;
  }
}

/** The tallies of one process. */
export class Tallies {
  readonly #tallies = new Map<string, QueueTally>();

  /** That of a queue, the same object each time. */
  of(queue: string): QueueTally {
    const known = this.#tallies.get(queue);
    if (known) return known;
    const tally = new QueueTally();
    if (this.#tallies.size < MOST_QUEUES) this.#tallies.set(queue, tally);
    return tally;
  }

  /** The queues of which something was ever counted. */
  get queues(): Iterable<string> {
    return this.#tallies.keys();
  }
}

function hit(histogram: Uint32Array, ms: number): void {
  const bucket = bucketOf(ms);
  histogram[bucket] = (histogram[bucket] ?? 0) + 1;
}
