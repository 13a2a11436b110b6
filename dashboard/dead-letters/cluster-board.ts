/**
 * The clusters, counted for all readers together.
 *
 * Promise: however many look, one count runs at a time in this process, and none begins before three times as long has passed as the last
 * one took, at least five seconds: so counting takes a quarter of the time at most, and none when nobody looks. A reader waits a moment for it, then sees what was counted
 * so far, or the last whole count and how old it is.
 */
import {
  systemClock,
  type Clock,
  type ClusterOptions,
  type DeadLetterCluster,
  type DeadLetters,
  type Logger,
} from 'millrace';

/** What a reader sees. */
export interface Counted {
  clusters: readonly DeadLetterCluster[];
  /** How many letters were counted. */
  letters: number;
  /** When the count had ended; undefined of one that still goes on. */
  at: number | undefined;
}

/** The trend of a cluster: how many died in each of the last hours. */
export const TREND_HOURS = 24;

const LEAST_REST_MS = 5_000;
const REST_SHARE = 3;
const WAIT_MS = 120;

type Progress = Parameters<NonNullable<ClusterOptions['onProgress']>>[0];

/** Counts when it is asked to. */
export class ClusterBoard {
  readonly #letters: () => DeadLetters;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  #last: Counted | undefined;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #isCounting = false;
  /** When the count that runs has ended. */
  #ended: Promise<void> = Promise.resolve();
  #soFar: Progress | undefined;

  constructor(letters: () => DeadLetters, log: Logger, clock: Clock = systemClock) {
    this.#letters = letters;
    this.#log = log;
    this.#clock = clock;
  }

  /** The last count, or a new one as far as it came in a moment. */
  async look(): Promise<Counted> {
    if (this.#last && this.#clock.monotonicMs() < this.#restUntilMs) return this.#last;
    if (!this.#isCounting && !this.#stopping.signal.aborted) this.#ended = this.#count();
    await this.#within(this.#ended);
    if (this.#last) return this.#last;
    return { clusters: this.#soFar?.clusters() ?? [], letters: this.#soFar?.read ?? 0, at: undefined };
  }

  /** The letters have changed by our own doing: the next reader has them counted anew. */
  forget(): void {
    this.#restUntilMs = Number.NEGATIVE_INFINITY;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#ended;
  }

  async #count(): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    this.#isCounting = true;
    try {
      const clusters = await this.#letters().clusters({
        trend: { every: '1h', count: TREND_HOURS },
        signal: this.#stopping.signal,
        onProgress: (progress) => (this.#soFar = progress),
      });
      this.#last = { clusters, letters: this.#soFar?.read ?? 0, at: this.#clock.wallMs() };
    } catch (error) {
      this.#log.warn({ err: error }, 'dead letters could not be counted');
    } finally {
      const endedMs = this.#clock.monotonicMs();
      this.#restUntilMs = endedMs + Math.max(LEAST_REST_MS, (endedMs - startedMs) * REST_SHARE);
      this.#soFar = undefined;
      this.#isCounting = false;
    }
  }

  async #within(ended: Promise<void>): Promise<void> {
    const waiting = new AbortController();
    const waited = this.#clock.sleep(WAIT_MS, { signal: waiting.signal }).catch(() => undefined); // Ended early.
    await Promise.race([ended, waited]);
    waiting.abort();
  }
}
