/**
 * Sees to it that ticks are settled when they come due.
 *
 * Every worker has one, and each looks after all schedules under the prefix, also those that another application declared: as long as one
 * worker lives, no tick is missed. It sleeps until the next tick that it knows of, but wakes every few seconds to hear of new ones.
 * Redis down: it tries again until it is back; ticks that were not seen to in time are missed ones, and their policy applies.
 */
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';
import { familyOf } from '../queue-names.ts';
import { REWOUND_MS, type Settler } from './settler.ts';
import type { ScheduleStore } from './store.ts';

/** What a ticker is made of. */
export interface TickerOptions {
  store: ScheduleStore;
  settler: Settler;
  clock: Clock;
  nowMs: () => Promise<number>;
  log: Logger;
  /** Between two looks when nothing is due. Default 5 s. */
  pollMs?: number | undefined;
}

const POLL_MS = 5_000;
const RETRY_AFTER_MS = 1_000;
const SHORTEST_MS = 5;
/** Of one family in one round. */
const MOST_AT_ONCE = 200;

/** Settles ticks when they come due. */
export class Ticker {
  readonly #options: TickerOptions;
  #nap: AbortController | undefined;
  #isStarted = false;
  #isStopping = false;
  #isAwake = false;
  #lastMs = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(options: TickerOptions) {
    this.#options = options;
  }

  /** Begins. Safe to call twice. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#isStopping = false;
    this.#running = this.#running.then(() => this.#loop());
  }

  /** Resolves when the round that is under way has ended. Safe to call twice. */
  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#isStopping = true;
    this.#nap?.abort();
    await this.#running;
  }

  /** Looks now and not when it meant to. */
  wake(): void {
    this.#isAwake = true;
    this.#nap?.abort();
  }

  /** Settles what is due. The ms until the next tick, or the next look. @throws MillraceError when Redis does not answer */
  async round(): Promise<number> {
    const { store, nowMs, pollMs = POLL_MS } = this.#options;
    const now = await nowMs();
    const declared = await store.declared();
    if (now < this.#lastMs - REWOUND_MS) await this.#settleAll(declared, now);
    this.#lastMs = now;
    const families = new Map([...declared.values()].map((queue) => [familyOf(queue), queue]));
    const looks = await Promise.allSettled([...families.values()].map((queue) => this.#family(queue, declared, now)));
    const failure = looks.find((look) => look.status === 'rejected');
    if (failure) throw failure.reason;
    return Math.min(pollMs, ...looks.map((look) => (look.status === 'fulfilled' ? look.value : pollMs)));
  }

  async #loop(): Promise<void> {
    while (!this.#isStopping) {
      this.#isAwake = false;
      const waitMs = await this.#safeRound();
      if (this.#isStopping || this.#isAwake) continue;
      await this.#sleep(waitMs);
    }
  }

  async #safeRound(): Promise<number> {
    const { clock } = this.#options;
    const began = clock.monotonicMs();
    try {
      const waitMs = await this.round();
      return Math.max(SHORTEST_MS, waitMs - (clock.monotonicMs() - began));
    } catch (error) {
      this.#options.log.debug({ err: error }, 'schedules could not be looked at; trying again'); // The connections log outages.
      return RETRY_AFTER_MS;
    }
  }

  async #sleep(ms: number): Promise<void> {
    const nap = new AbortController();
    this.#nap = nap;
    try {
      await this.#options.clock.sleep(ms, { signal: nap.signal });
    } catch (error) {
      if (!nap.signal.aborted) throw error;
    }
  }

  /** The ms until the next tick of the family. */
  async #family(queue: string, declared: ReadonlyMap<string, string>, now: number): Promise<number> {
    const { store } = this.#options;
    const index = store.index(queue);
    const due = await store.ask((client) => client.zrangebyscore(index, '-inf', now, 'LIMIT', 0, MOST_AT_ONCE));
    // Each worker begins elsewhere, so that those that wake together do not all go for the same one.
    const first = Math.floor(Math.random() * due.length);
    let isAllSettled = true;
    for (const id of [...due.slice(first), ...due.slice(0, first)]) {
      if (this.#isStopping) return POLL_MS;
      isAllSettled = (await this.#settle(declared.get(id) ?? queue, id, now)) && isAllSettled;
    }
    const [, nextMs] = await store.ask((client) =>
      client.zrangebyscore(index, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
    );
    if (!isAllSettled) return RETRY_AFTER_MS;
    return nextMs === undefined ? Number.POSITIVE_INFINITY : Number(nextMs) - now;
  }

  async #settleAll(declared: ReadonlyMap<string, string>, now: number): Promise<void> {
    for (const [id, queue] of declared) await this.#settle(queue, id, now);
  }

  /** Whether it could be settled: what is wrong with one schedule must not stop the others. */
  async #settle(queue: string, id: string, now: number): Promise<boolean> {
    try {
      await this.#options.settler.settle(queue, id, now);
      return true;
    } catch (error) {
      this.#options.log.error({ schedule: id, queue, err: error }, 'a tick could not be enqueued; trying again');
      return false;
    }
  }
}
