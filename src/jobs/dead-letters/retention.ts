/**
 * How long dead letters are kept: by age and by count, the oldest go first.
 *
 * Promise: nothing is dropped without a warning before. It comes when a queue has 80 % of the letters it may have, and a day before
 * its oldest is too old; each round tells it again, so that it can be a metric, and the log has it once an hour.
 *
 * A parent that still waits for a dropped letter goes on without it, as when an operator discards it.
 */
import { systemClock, type Clock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import type { QueueSet } from '../queue-set.ts';
import type { Redriver } from './redriver.ts';
import type { Shelf } from './shelf.ts';

/** Limits of a dead-letter queue. */
export interface RetentionLimits {
  ageMs: number;
  count: number;
}

/** What is about to be dropped. */
export interface RetentionWarning {
  queue: string;
  /** Which limit is near. */
  limit: 'age' | 'count';
  /** Letters in the queue. */
  letters: number;
  /** When the oldest died, in milliseconds since 1970. */
  oldestAt: number;
}

/** What a retention is made of. */
export interface RetentionOptions {
  queues: QueueSet;
  shelf: Shelf;
  redriver: Redriver;
  limits: RetentionLimits;
  clock?: Clock | undefined;
  /** Called each round while a limit is near, and before anything is dropped. */
  onWarning?: ((warning: RetentionWarning) => void) | undefined;
  /** Called with how many letters were dropped. */
  onDropped?: ((queue: string, count: number, limit: 'age' | 'count') => void) | undefined;
}

const WARN_AT_SHARE = 0.8;
const WARN_BEFORE_MS = 86_400_000;
const LOG_EVERY_MS = 3_600_000;
const BATCH = 50;
/** In one round and queue; the next round goes on. */
const MOST_DROPPED = 1_000;

/** Drops what is over the limits. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #clock: Clock;
  readonly #loggedAt = new Map<string, number>();

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Warns and drops in one queue. */
  async keep(queue: string): Promise<void> {
    const { shelf, limits } = this.#options;
    const letters = await shelf.count(queue);
    if (letters === 0) return;
    const [oldest] = await this.#oldest(queue, 1);
    const oldestAt = oldest?.diedAt ?? this.#clock.wallMs();
    const ageMs = this.#clock.wallMs() - oldestAt;
    if (ageMs > limits.ageMs - Math.min(WARN_BEFORE_MS, limits.ageMs * (1 - WARN_AT_SHARE))) {
      this.#warn({ queue, limit: 'age', letters, oldestAt });
    }
    if (letters >= limits.count * WARN_AT_SHARE) this.#warn({ queue, limit: 'count', letters, oldestAt });
    await this.#dropOverCount(queue, letters - limits.count);
    if (ageMs > limits.ageMs) await this.#dropOld(queue);
  }

  async #dropOverCount(queue: string, over: number): Promise<void> {
    for (let left = Math.min(over, MOST_DROPPED); left > 0; left -= BATCH) {
      const ids = await this.#options.shelf.oldest(queue, Math.min(left, BATCH));
      await this.#drop(queue, ids, 'count');
    }
  }

  async #dropOld(queue: string): Promise<void> {
    const before = this.#clock.wallMs() - this.#options.limits.ageMs;
    for (let dropped = 0; dropped < MOST_DROPPED; dropped += BATCH) {
      const page = await this.#oldest(queue, BATCH);
      const old = page.filter(({ diedAt }) => diedAt < before).map(({ id }) => id);
      await this.#drop(queue, old, 'age');
      if (old.length < BATCH) return;
    }
  }

  async #drop(queue: string, ids: readonly string[], limit: 'age' | 'count'): Promise<void> {
    const outcomes = await this.#options.redriver.discard(queue, ids);
    const count = outcomes.filter((outcome) => outcome === 'discarded').length;
    if (count > 0) this.#options.onDropped?.(queue, count, limit);
  }

  /** When the oldest died. The time stands with the job, so that it is there for a job that is no letter too. */
  async #oldest(queue: string, count: number): Promise<Array<{ id: string; diedAt: number }>> {
    const { shelf } = this.#options;
    const ids = await shelf.oldest(queue, count);
    const times = await shelf.times(queue, ids);
    return ids.flatMap((id, index) => {
      const diedAt = times[index];
      return diedAt === undefined ? [] : [{ id, diedAt }];
    });
  }

  #warn(warning: RetentionWarning): void {
    this.#options.onWarning?.(warning);
    const { queue, limit, letters, oldestAt } = warning;
    const now = this.#clock.monotonicMs();
    const kind = `${queue}/${limit}`;
    const loggedAt = this.#loggedAt.get(kind);
    if (loggedAt !== undefined && now - loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt.set(kind, now);
    const { limits, queues } = this.#options;
    const most = limit === 'count' ? `${limits.count} letters` : formatMs(limits.ageMs);
    queues.log.warn(
      { queue, limit, letters, oldestAt },
      `dead letters of ${queue} come near their limit of ${most}; the oldest are dropped then`,
    );
  }
}
