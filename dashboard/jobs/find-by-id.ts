/**
 * Where a job or a dead letter is shown, by its id.
 *
 * Nothing tells the queue of an id, so that each queue is asked. A dead letter bears the id of its job and the number of its life: one command
 * asks a queue for all of them. Ids that are not there are the dear ones, so that a user may ask for so many of them a minute.
 */
import { systemClock, type Clock, type JobInfo, type Platform } from 'millrace';

/** A dead job is looked for under so many of its lives. */
const LIVES_TRIED = 8;
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
    const job = await this.#platform.jobs.get(id);
    const letter = job ? undefined : await this.#letter(id);
    if (job || letter !== undefined) window.count--;
    if (job) return { job };
    return letter === undefined ? 'none' : { letter };
  }

  #windowOf(user: string): { count: number; untilMs: number } {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#misses.get(user);
    if (known && nowMs < known.untilMs) return known;
    const fresh = { count: 0, untilMs: nowMs + WINDOW_MS };
    this.#misses.set(user, fresh);
    return fresh;
  }

  /** The letter of that id, or the latest of the job of that id. */
  async #letter(id: string): Promise<string | undefined> {
    const { jobs, deadLetters, redis } = this.#platform;
    const ids = [id, ...Array.from({ length: LIVES_TRIED }, (_, life) => `${id}~${life}`)];
    const client = redis.commands();
    const queues = await jobs.queues();
    const counts = await Promise.all(
      queues.map((queue) => {
        const { dead } = jobs.bullmq(queue);
        return client.exists(...ids.map((one) => dead.toKey(one)));
      }),
    );
    // What is there may be another key of the queue.
    const letters = await Promise.all(
      queues
        .filter((_queue, index) => counts[index] !== 0)
        .flatMap((queue) => ids.map((one) => deadLetters.get(one, { queue }))),
    );
    return letters.findLast((letter) => letter !== undefined)?.id;
  }
}
