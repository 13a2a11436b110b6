/**
 * Keeps a job that may kill its process apart from others that may not deserve its end.
 *
 * When a process dies, every job that it ran counts a stall, and only one of them may be to blame. A job on its last stall before it
 * would be called poison is a suspect. A process has at most one suspect at a time; the others are put off, so that none of them is
 * active when that one kills the process. What runs beside it without being a suspect is counted a stall, and runs again.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';

/** How long a suspect that is put off stays away. */
const PUT_OFF_MS = 1_000;
/** A suspect begins once no other was met for so long: those that were taken together with it have then been put off. */
const QUIET_MS = 200;
/** And no later than this, however many there are; but never while one of them is still active, which a busy machine can make long. */
const LONGEST_WAIT_MS = 3_000;
const LOOK_AGAIN_MS = 20;

/** The quarantine of one process. */
export class Quarantine {
  readonly #clock: Clock;
  /** Suspects that are being put off; they are active until that is done. */
  readonly #outgoing = new Set<string>();
  #inside: string | undefined;
  #metAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the suspect is the one; if not, it is to be put off. */
  enter(jobId: string): boolean {
    this.#metAtMs = this.#clock.monotonicMs();
    if (this.#inside === undefined) this.#inside = jobId;
    else this.#outgoing.add(jobId);
    return this.#inside === jobId;
  }

  /** Waits until the others are away. */
  async alone(): Promise<void> {
    const until = this.#clock.monotonicMs() + LONGEST_WAIT_MS;
    for (;;) {
      const nowMs = this.#clock.monotonicMs();
      const leftMs = Math.min(until, this.#metAtMs + QUIET_MS) - nowMs;
      if (leftMs <= 0 && this.#outgoing.size === 0) return;
      await this.#clock.sleep(Math.max(leftMs, LOOK_AGAIN_MS));
    }
  }

  /** The job is not active any more, whether it was the one or was put off. */
  leave(jobId: string): void {
    this.#outgoing.delete(jobId);
    if (this.#inside === jobId) this.#inside = undefined;
  }
}

/** What puts off a suspect that is not the one. */
export function putOffError(jobId: string): MillraceError {
  const message = `job ${jobId} waits: another job that may have ended its worker runs in this process`;
  return new MillraceError('JOB_POSTPONED', message, { jobId, delayMs: PUT_OFF_MS });
}
