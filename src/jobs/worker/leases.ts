/**
 * Watches the leases of the jobs that one queue's worker runs, and interrupts whose lease is lost.
 *
 * BullMQ renews them, and says when one could not be renewed because it is another's or nobody's. While Redis is away nobody says
 * anything, and yet they end: so it is also known here until when each one lasts.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Attempt } from './attempt.ts';

/** Looks at the leases, in the time that one lasts. */
const LOOKS = 8;

/** What the watch is made of. */
export interface LeasesParts {
  queue: string;
  running: ReadonlyMap<string, Attempt>;
  leaseMs: number;
  clock: Clock;
  log: Logger;
}

/** The leases of the jobs that run. */
export class Leases {
  readonly #parts: LeasesParts;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: LeasesParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#look(), this.#parts.leaseMs / LOOKS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  renewed(jobIds: readonly string[]): void {
    const { running, clock, leaseMs } = this.#parts;
    const until = clock.monotonicMs() + leaseMs;
    for (const jobId of jobIds) {
      const attempt = running.get(jobId);
      if (attempt) attempt.leaseUntilMs = until;
    }
  }

  lost(jobIds: readonly string[]): void {
    for (const jobId of jobIds) this.#lose(this.#parts.running.get(jobId), 'could not be renewed');
  }

  #look(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const attempt of this.#parts.running.values())
      if (nowMs > attempt.leaseUntilMs) this.#lose(attempt, 'has run out, and could not be renewed in time');
  }

  #lose(attempt: Attempt | undefined, why: string): void {
    if (!attempt || attempt.interruption) return;
    const message = `job ${attempt.id}: its lease ${why}; another worker may run it`;
    this.#parts.log.warn({ jobId: attempt.id, queue: this.#parts.queue }, message);
    attempt.interrupt('lost', new MillraceError('LEASE_LOST', message, { jobId: attempt.id }));
  }
}
