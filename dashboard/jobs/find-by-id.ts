/**
 * Where a job or a dead letter is shown, by its id.
 *
 * Nothing tells the queue of an id, so that each queue is asked. Ids that are not there are the dear ones, so that a user may ask for so many of
 * them a minute.
 */
import { systemClock, type Clock, type JobInfo, type Platform } from 'millrace';

const MOST_MISSES = 30;
const WINDOW_MS = 60_000;

/** What was found: a job, the id of a dead letter, nothing, or that the user has asked for too much that is not there. */
export type Found = { job: JobInfo } | { letter: string } | 'none' | 'too-many';

/** Finds by id, for all users. */
export class IdFinder {
  readonly #platform: Platform;
  readonly #clock: Clock;
  /** Of users; there are as many as may sign in. */
  readonly #misses = new Map<string, { count: number; untilMs: number }>();

  constructor(platform: Platform, clock: Clock = systemClock) {
    this.#platform = platform;
    this.#clock = clock;
  }

  /** @throws MillraceError when Redis cannot be asked */
  async find(id: string, user: string): Promise<Found> {
    const window = this.#windowOf(user);
    if (window.count >= MOST_MISSES) return 'too-many';
    window.count++; // Before the answer: many may ask at once.
    const { jobs, deadLetters } = this.#platform;
    const job = await jobs.get(id);
    const letter = job ? undefined : await deadLetters.get(id);
    if (job || letter) window.count--;
    if (job) return { job };
    return letter ? { letter: letter.id } : 'none';
  }

  #windowOf(user: string): { count: number; untilMs: number } {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#misses.get(user);
    if (known && nowMs < known.untilMs) return known;
    const fresh = { count: 0, untilMs: nowMs + WINDOW_MS };
    this.#misses.set(user, fresh);
    return fresh;
  }
}
