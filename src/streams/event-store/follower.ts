/**
 * What follows the events in a process: a projection or a subscription that runs.
 *
 *   standby --the place is free--> following --place lost--> standby
 *                                   |    ^
 *                          a failure|    |after a wait
 *                                   v    |
 *                                   waiting
 *
 * First it catches up, then it waits for what comes: both are the same read, which answers at once while there is something behind the position.
 * Nothing is passed over: after each failure it asks Redis again where it stands.
 * Redis down: it tries again, 50 ms to 2 s apart, and is not ready meanwhile.
 */
import { randomUUID } from 'node:crypto';
import { backoffMs, type CompiledBackoff } from '../../backoff.ts';
import { withDeadline } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { reconnectDelayMs } from '../../redis/backoff.ts';
import { isOutage } from '../../redis/guard.ts';
import type { Running } from '../member.ts';
import type { StoreCore } from './core.ts';
import type { EventRef } from './entry.ts';
import type { FollowerMeter } from './event-metrics.ts';
import { giveUpPlace, waitForPlace, type HeldPlace, type Place } from '../../redis/place.ts';
import { LiveReader } from './live-reader.ts';
import { PAGE } from './reader.ts';

/** For as long as one process follows. */
export interface Turn {
  /** Aborts when nothing new is to be begun. */
  readonly draining: AbortSignal;
  /** Aborts when what runs is to end. */
  readonly signal: AbortSignal;
  /** Undefined where every process follows for itself. */
  readonly held: HeldPlace | undefined;
}

/** What a follower does with events. */
export interface Follows {
  /** `projection orders/list`, for logs and metrics. */
  readonly title: string;
  /** The key of the place of the one that follows; undefined where every process does. */
  readonly leader: string | undefined;
  readonly leaseMs: number;
  readonly meter: FollowerMeter;
  /** The position of the last event that counts as done, as Redis has it. */
  locate(): Promise<number>;
  /** Takes the events in order, until it is to end. @returns how far it came. @throws what a handler threw that is to be called again */
  work(refs: readonly EventRef[], turn: Turn): Promise<number>;
  /** Nothing has come for a while, or the turn ends: notes what is not noted yet. */
  settle(turn: Turn): Promise<void>;
}

/** After a failure of a handler; that of Redis has its own. */
const BACKOFF: CompiledBackoff = { type: 'exponential', delayMs: 200, maxMs: 30_000, jitter: 0.3 };
/** How often it is asked how much is left, while there is much. */
const LAG_LOOK_MS = 2_000;
/** How long stop() waits, beyond its bound, for what was told to end. */
const END_WITHIN_MS = 2_000;

/** A follower that runs. */
export class Follower implements Running {
  readonly #core: StoreCore;
  readonly #follows: Follows;
  readonly #live: LiveReader;
  /** Where only one follows. */
  readonly #place: Place | undefined;
  readonly #draining = new AbortController();
  readonly #ending = new AbortController();
  #running: Promise<void> | undefined;
  #paused: { promise: Promise<void>; resume: () => void } | undefined;
  #active = 0;
  #failures = 0;
  #trouble: string | undefined;
  #lagLookedMs = Number.NEGATIVE_INFINITY;

  /** @param core of the store whose events it follows */
  constructor(core: StoreCore, follows: Follows) {
    this.#core = core;
    this.#follows = follows;
    const { connections, clock } = core;
    const { leader, leaseMs } = follows;
    const client = () => connections.commands();
    this.#place = leader === undefined ? undefined : { client, key: leader, leaseMs, token: randomUUID(), clock };
    this.#live = new LiveReader(core.connections, follows.title.replaceAll(' ', '-'), core.keys.all);
  }

  get active(): number {
    return this.#active;
  }

  /** Begins once Redis has said where it stands. @throws MillraceError for what waiting does not mend */
  async start(): Promise<this> {
    for (let attempt = 1; !this.#draining.signal.aborted; attempt++) {
      try {
        await this.#follows.locate();
        break;
      } catch (error) {
        if (!isRedisOutage(error)) throw error;
        this.#trouble = error.message;
        await this.#sleep(reconnectDelayMs(attempt), this.#draining.signal);
      }
    }
    this.#trouble = undefined;
    this.#running ??= this.#run();
    return this;
  }

  ready(): string | undefined {
    return this.#trouble === undefined ? undefined : `${this.#follows.title}: ${this.#trouble}`;
  }

  pause(): void {
    if (this.#paused) return;
    let resume: (() => void) | undefined;
    const promise = new Promise<void>((resolve) => (resume = resolve));
    this.#paused = { promise, resume: () => resume?.() };
  }

  resume(): void {
    this.#paused?.resume();
    this.#paused = undefined;
  }

  async stop(withinMs: number): Promise<void> {
    this.#draining.abort(new MillraceError('CLOSED', `${this.#follows.title} stops`, {}));
    this.resume();
    this.#live.close();
    if (!this.#running) return;
    const late = (): Error =>
      new MillraceError('CLOSED', `${this.#follows.title} was stopped while it was at work`, {});
    try {
      await withDeadline(this.#running, withinMs, late);
    } catch (error) {
      this.#ending.abort(error);
      // What it leaves undone, it or another process does after the last checkpoint.
      await withDeadline(this.#running, END_WITHIN_MS, late).catch(() => undefined);
    }
    this.#live.close();
  }

  async #run(): Promise<void> {
    let isUnsure = false;
    while (!this.#draining.signal.aborted) {
      try {
        await this.#turn();
        isUnsure = false;
      } catch (error) {
        // It may have been given its place in an answer that it did not get.
        isUnsure = true;
        if (!this.#draining.signal.aborted) await this.#recover(error, this.#draining.signal);
      }
    }
    if (isUnsure && this.#place) await giveUpPlace(this.#place);
  }

  async #turn(): Promise<void> {
    const { log } = this.#core;
    const { title } = this.#follows;
    const place = this.#place;
    const held = place && (await waitForPlace(place, this.#draining.signal, () => this.#isWell()));
    this.#isWell();
    const lost = held ? [held.signal] : [];
    const turn: Turn = {
      draining: AbortSignal.any([this.#draining.signal, ...lost]),
      signal: AbortSignal.any([this.#ending.signal, ...lost]),
      held,
    };
    try {
      while (!turn.draining.aborted) {
        try {
          await this.#follow(turn);
        } catch (error) {
          this.#active = 0;
          if (!turn.draining.aborted) await this.#recover(error, turn.draining);
        }
      }
      if (held?.signal.aborted) log.warn({ err: held.signal.reason }, `${title}: another process may follow now`);
    } finally {
      if (!held?.signal.aborted) await this.#follows.settle(turn).catch((error: unknown) => this.#unsettled(error));
      await held?.release();
    }
  }

  async #follow(turn: Turn): Promise<void> {
    let position = await this.#follows.locate();
    while (!turn.draining.aborted) {
      await this.#whilePaused(turn.draining);
      const refs = await this.#live.read(position, PAGE, turn.draining);
      if (turn.draining.aborted) return;
      this.#trouble = undefined;
      if (refs.length === 0) {
        this.#failures = 0;
        this.#follows.meter.lag(0);
        await this.#follows.settle(turn);
        position = await this.#follows.locate();
        continue;
      }
      this.#active = 1;
      position = await this.#follows.work(refs, turn);
      this.#active = 0;
      this.#failures = 0;
      await this.#tellLag(position, refs);
    }
  }

  async #tellLag(position: number, refs: readonly EventRef[]): Promise<void> {
    const { meter } = this.#follows;
    if (refs.length < PAGE && position >= (refs.at(-1)?.position ?? 0)) return meter.lag(0);
    const nowMs = this.#core.clock.monotonicMs();
    if (nowMs - this.#lagLookedMs < LAG_LOOK_MS) return;
    this.#lagLookedMs = nowMs;
    meter.lag(Math.max(0, (await this.#core.reader.top()) - position));
  }

  /** Waits before the next try: of Redis until it is back, of a handler longer each time. */
  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    const { log } = this.#core;
    const { title, meter } = this.#follows;
    this.#failures++;
    if (isRedisOutage(error)) {
      this.#trouble = error.message;
      if (this.#failures === 1) log.warn({ code: error.code }, `${title}: ${error.message}; trying again`);
      return this.#sleep(reconnectDelayMs(this.#failures), signal);
    }
    meter.failed();
    log.error({ err: error, failures: this.#failures }, `${title} failed and will try again`);
    await this.#sleep(backoffMs(BACKOFF, this.#failures, error as Error) || 0, signal);
  }

  /** Redis answers, so this one is ready, also while it waits for its place. */
  #isWell(): void {
    this.#trouble = undefined;
    this.#failures = 0;
  }

  #unsettled(error: unknown): void {
    this.#core.log.warn(
      { err: error },
      `${this.#follows.title}: how far it came could not be noted; some events will come again`,
    );
  }

  async #whilePaused(signal: AbortSignal): Promise<void> {
    while (this.#paused && !signal.aborted) {
      let wake: (() => void) | undefined;
      const aborted = new Promise<void>((resolve) => (wake = resolve));
      const listener = (): void => wake?.();
      signal.addEventListener('abort', listener, { once: true });
      await Promise.race([this.#paused.promise, aborted]);
      signal.removeEventListener('abort', listener);
    }
  }

  /** Ends early when the signal aborts; whoever slept looks at it next. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    await this.#core.clock.sleep(ms, { signal }).catch(() => undefined);
  }
}

/** Scripts and reads throw nothing else of it; a handler's own refused connection is not Redis'. */
function isRedisOutage(error: unknown): error is MillraceError {
  return error instanceof MillraceError && isOutage(error);
}
