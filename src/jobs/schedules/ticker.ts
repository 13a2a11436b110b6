/**
 * Sees to it that ticks are settled when they come due.
 *
 * Every worker has one, and each looks after all schedules under the prefix, also those that another application declared: as long as one
 * worker lives, no tick is missed. It sleeps until the next tick that it knows of, but wakes every few seconds to hear of new ones.
 * Each family of queues is looked after by itself, by the clock of the server that has it, and what is declared is remembered: on a
 * Cluster, ticks of the others come in time when one server is away.
 * Redis down: it tries again until it is back; ticks that were not seen to in time are missed ones, and their policy applies.
 */
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';
import { defineScript } from '../../redis/script.ts';
import { familyOf } from '../queue-names.ts';
import { REWOUND_MS, type Settler } from './settler.ts';
import type { ScheduleStore } from './store.ts';

/** What a ticker is made of. */
export interface TickerOptions {
  store: ScheduleStore;
  settler: Settler;
  clock: Clock;
  /** In the place of the server's time. For tests. */
  nowMs?: (() => Promise<number>) | undefined;
  log: Logger;
  /** Between two looks when nothing is due. Default 5 s. */
  pollMs?: number | undefined;
}

const POLL_MS = 5_000;
const RETRY_AFTER_MS = 1_000;
const SHORTEST_MS = 5;
/** Of one family in one round. */
const MOST_AT_ONCE = 200;

const tellTime = defineScript({
  file: 'jobs/tell-time.lua',
  keys: ['index'],
  args: [],
  reply: (ms: number) => ms,
});

/** Settles ticks when they come due. */
export class Ticker {
  readonly #options: TickerOptions;
  /** The queue of each schedule, as of the last look. */
  #declared: ReadonlyMap<string, string> = new Map();
  /** What looks after each family, until nothing of it is declared. */
  readonly #families = new Map<string, Promise<void>>();
  /** When each family was last looked at, by its server. */
  readonly #lastMs = new Map<string, number>();
  readonly #naps = new Set<AbortController>();
  #wakes = 0;
  #isStarted = false;
  #isStopping = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: TickerOptions) {
    this.#options = options;
  }

  /** Begins. Safe to call twice. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#isStopping = false;
    this.#running = this.#running.then(() => this.#run());
  }

  /** Resolves when the looks that are under way have ended. Safe to call twice. */
  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#isStopping = true;
    this.#endNaps();
    await this.#running;
  }

  /** Looks now and not when it meant to. */
  wake(): void {
    this.#wakes++;
    this.#endNaps();
  }

  /** Settles what is due, once. @throws MillraceError when Redis does not answer */
  async round(): Promise<void> {
    this.#declared = await this.#options.store.declared();
    const looks = await Promise.allSettled([...this.#queues().keys()].map((family) => this.#look(family)));
    const failure = looks.find((look) => look.status === 'rejected');
    if (failure) throw failure.reason;
  }

  async #run(): Promise<void> {
    await this.#repeat(() => this.#hear());
    await Promise.all(this.#families.values());
    this.#families.clear();
  }

  /** Hears what is declared, and begins to look after new families. */
  async #hear(): Promise<number> {
    const { store, pollMs = POLL_MS } = this.#options;
    this.#declared = await store.declared();
    for (const family of this.#queues().keys()) {
      if (!this.#families.has(family))
        this.#families.set(
          family,
          this.#repeat(() => this.#look(family)),
        );
    }
    return pollMs;
  }

  /** A queue of each family that has schedules. */
  #queues(): Map<string, string> {
    return new Map([...this.#declared.values()].map((queue) => [familyOf(queue), queue]));
  }

  /** Settles what is due of the family. The ms until the next look; undefined when nothing of it is declared any more. */
  async #look(family: string): Promise<number | undefined> {
    const { pollMs = POLL_MS } = this.#options;
    const queue = this.#queues().get(family);
    if (queue === undefined) {
      this.#families.delete(family);
      return undefined;
    }
    const now = await this.#nowMs(queue);
    if (now < (this.#lastMs.get(family) ?? 0) - REWOUND_MS) await this.#settleAll(family, now);
    this.#lastMs.set(family, now);
    return Math.min(pollMs, await this.#family(queue, this.#declared, now));
  }

  #nowMs(queue: string): Promise<number> {
    const { nowMs, store } = this.#options;
    return nowMs ? nowMs() : tellTime(store.queues.client, { index: store.index(queue) }, {});
  }

  /** Looks again and again, until there is nothing to look after. */
  async #repeat(look: () => Promise<number | undefined>): Promise<void> {
    while (!this.#isStopping) {
      const wakes = this.#wakes;
      const waitMs = await this.#safely(look);
      if (waitMs === undefined) return;
      if (!this.#isStopping && wakes === this.#wakes) await this.#sleep(waitMs);
    }
  }

  async #safely(look: () => Promise<number | undefined>): Promise<number | undefined> {
    const { clock } = this.#options;
    const began = clock.monotonicMs();
    try {
      const waitMs = await look();
      return waitMs === undefined ? undefined : Math.max(SHORTEST_MS, waitMs - (clock.monotonicMs() - began));
    } catch (error) {
      this.#options.log.debug({ err: error }, 'schedules could not be looked at; trying again'); // The connections log outages.
      return RETRY_AFTER_MS;
    }
  }

  async #sleep(ms: number): Promise<void> {
    const nap = new AbortController();
    this.#naps.add(nap);
    try {
      await this.#options.clock.sleep(ms, { signal: nap.signal });
    } catch (error) {
      if (!nap.signal.aborted) throw error;
    } finally {
      this.#naps.delete(nap);
    }
  }

  #endNaps(): void {
    for (const nap of this.#naps) nap.abort();
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

  async #settleAll(family: string, now: number): Promise<void> {
    for (const [id, queue] of this.#declared) if (familyOf(queue) === family) await this.#settle(queue, id, now);
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
