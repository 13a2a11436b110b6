/**
 * Saves the pending changes of a store, batch by batch, while this process is the one that does so.
 *
 *   stopped --start()--> waiting for the lease --> saving --drain()--> saving what was pending then --> stopped
 *                              ^--the lease is lost, or Redis fails--'
 *
 * Promise: a change leaves Redis only after the store has taken it, or as a dead letter. A process that dies in between leaves its changes, and its
 * successor saves them again: at least once. One process saves at a time and a key has one pending change, so changes of a key
 * reach the store in order. What a take has counted is never forgotten: a change that kills its process again and again becomes a dead letter too.
 * Redis down: nothing is saved, because nothing could be noted; it goes on by itself.
 */
import { randomUUID } from 'node:crypto';
import { withDeadline, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { waitForPlace, type HeldPlace } from '../../redis/place.ts';
import type { ChangeLog, Taken, Verdict } from './change-log.ts';
import type { Invalidations } from './invalidations.ts';
import { letterError } from './letter.ts';
import { retryDelayMs, type BehindPlan } from './options.ts';
import type { Attempted, Saver } from './saver.ts';
import type { StoreMeter } from './store-metrics.ts';
import type { Waker } from './waker.ts';

/** What a flusher works with. */
export interface FlusherParts {
  changes: ChangeLog;
  saver: Pick<Saver<unknown>, 'save'>;
  waker: Waker;
  invalidations: Invalidations;
  plan: BehindPlan;
  log: Logger;
  clock: Clock;
  meter: StoreMeter;
}

/** While a batch fills, the flusher looks this often at most. */
const LOOK_MS = { least: 5, most: 100 };
/** After an error of Redis. */
const PAUSE_MS = 500;
/** What a drain begins with. */
const ASK_WITHIN_MS = 1_000;
/** A store that is down is tried this often at least. */
const LONGEST_PROBE_MS = 30_000;
const IDLE_MS = 2_000;
/** So many processes may die over a change before it is a dead letter, if that is more than its attempts: to be killed is no failure of the change. */
const MOST_KILLS = 5;
const KILLED = 'the process that saved the change ended before it was done, each time';

/** The flusher of one store in this process. */
export class Flusher {
  readonly #parts: FlusherParts;
  readonly #token = randomUUID();
  #running: Promise<void> | undefined;
  /** Aborts when a drain begins. */
  #draining = new AbortController();
  /** Aborts when a drain has taken too long. */
  #leaving = new AbortController();
  #drainTo = 0;
  /** Whether the log has the error that holds it up. */
  #isComplaining = false;
  /** Calls in a row in which nothing could be saved. */
  #failures = 0;

  constructor(parts: FlusherParts) {
    this.#parts = parts;
  }

  /** Begins. Safe to call twice. */
  start(): void {
    if (this.#running) return;
    this.#draining = new AbortController();
    this.#leaving = new AbortController();
    this.#running = this.#run();
  }

  /** Saves what is pending now, if this process is the one that saves, and ends. Breaks off after the time. */
  async drain(withinMs: number): Promise<void> {
    const running = this.#running;
    if (!running) return;
    const timer = setTimeout(
      () => this.#leaving.abort(new MillraceError('CLOSED', 'the store was stopped', {})),
      withinMs,
    );
    try {
      const asked = withDeadline(
        this.#parts.changes.hurry(),
        Math.min(withinMs, ASK_WITHIN_MS),
        () => new MillraceError('REDIS_TIMEOUT', 'no answer', {}),
      );
      this.#drainTo = await asked.catch(() => 0); // Without Redis nothing can be saved anyway.
      this.#draining.abort();
      await running;
    } finally {
      clearTimeout(timer);
      this.#parts.waker.close();
      this.#running = undefined;
    }
  }

  async #run(): Promise<void> {
    const { changes, plan, log, clock } = this.#parts;
    while (!this.#draining.signal.aborted) {
      try {
        const place = changes.place(this.#token, plan.leaseMs, clock);
        const held = await waitForPlace(place, this.#draining.signal);
        log.debug('saves for this store now');
        try {
          await this.#lead(held);
        } finally {
          await held.release();
        }
      } catch (error) {
        if (this.#draining.signal.aborted) return;
        if (!this.#isComplaining)
          log.warn({ err: error }, 'changes of a store are not saved at the moment; trying again');
        this.#isComplaining = true;
        await this.#sleep(PAUSE_MS);
      }
    }
  }

  async #lead(held: HeldPlace): Promise<void> {
    const { changes, plan } = this.#parts;
    const signal = AbortSignal.any([held.signal, this.#leaving.signal]);
    const { leaseMs, batchSize, flushAfterMs } = plan;
    let after = '0-0';
    while (!signal.aborted) {
      const isDraining = this.#draining.signal.aborted;
      const how = { leaseMs, after, batchSize, flushAfterMs, maxDelayMs: plan.retry.maxMs };
      const take = await changes.take(held.token, how);
      if (!take.isMine) return held.lose();
      this.#isComplaining = false;
      after = take.after;
      if (take.taken.length > 0) {
        const isGoing = await this.#save(held, take.taken, signal);
        if (isDraining && (!isGoing || take.taken.every(({ version }) => version > this.#drainTo))) return;
        if (!isGoing) await this.#sleep(this.#probeInMs());
      } else if (take.next !== 'more') {
        if (isDraining) return;
        await this.#wait(take.next, after, take.waitMs);
      }
    }
  }

  /** Gives whether anything could be saved. */
  async #save(held: HeldPlace, taken: readonly Taken[], signal: AbortSignal): Promise<boolean> {
    const { changes, saver, invalidations, plan } = this.#parts;
    // Their writers may have died before they told the cache, whose old value would then outlive the change.
    await invalidations.drop(taken.flatMap(({ key, isUntold }) => (isUntold ? [key] : [])));
    const mostTaken = Math.max(plan.attempts, MOST_KILLS);
    const fit = taken.filter(({ attempt }) => attempt <= mostTaken);
    const attempted = await saver.save(fit, signal, this.#failures > 0);
    held.signal.throwIfAborted();
    const verdicts = [
      ...taken.filter(({ attempt }) => attempt > mostTaken).map((change) => this.#deadOf(change, KILLED)),
      ...attempted.map((one) => this.#verdictOf(one)),
    ];
    const { isMine, became } = await changes.settle(
      held.token,
      { leaseMs: plan.leaseMs, maxDead: plan.maxDeadLetters },
      verdicts,
    );
    if (!isMine) {
      held.lose();
      return true;
    }
    const keys = new Map(taken.map(({ id, key }) => [id, key]));
    const died = verdicts.flatMap(({ id }, at) => (became[at] === 'dead' ? [keys.get(id) ?? ''] : []));
    this.#report(attempted, became, died);
    // From now on readers should see what the store has.
    await invalidations.drop(died);
    return this.#failures === 0;
  }

  #verdictOf(one: Attempted): Verdict {
    const { taken, outcome } = one;
    if (outcome !== 'failed') return { id: taken.id, outcome, delayMs: 0, error: '' };
    if (taken.attempt >= this.#parts.plan.attempts) return this.#deadOf(taken, one.error);
    return { id: taken.id, outcome: 'retry', delayMs: retryDelayMs(this.#parts.plan.retry, taken.attempt), error: '' };
  }

  #deadOf({ id }: Taken, error: unknown): Verdict {
    // The delay counts when there is no room for another dead letter.
    return { id, outcome: 'dead', delayMs: this.#parts.plan.retry.maxMs, error: letterError(error) };
  }

  #report(attempted: readonly Attempted[], became: readonly string[], died: readonly string[]): void {
    const { log, meter } = this.#parts;
    const failed = attempted.flatMap((one) => (one.outcome === 'failed' ? [one] : []));
    const saved = attempted.filter(({ outcome }) => outcome === 'saved').length;
    meter.count('saved', saved);
    meter.count('failed', failed.length);
    meter.count('dead', died.length);
    const [first] = failed;
    if (first && this.#failures === 0) {
      const facts = {
        err: first.error,
        key: first.taken.key,
        attempt: first.taken.attempt,
        failed: failed.length,
        saved,
      };
      log.warn(facts, 'changes of a store could not be saved; they will be tried again');
    }
    if (died.length > 0)
      log.error(
        { keys: died.slice(0, 20), count: died.length, err: first?.error },
        'changes of a store are dead letters now',
      );
    if (became.includes('full'))
      log.error('there is no room for more dead letters of a store; the changes stay pending. Redrive or discard some');
    if (saved > 0) {
      if (this.#failures > 1) log.info({ saved }, 'changes of a store are saved again');
      this.#failures = 0;
    } else if (failed.length > 0) {
      this.#failures++;
    }
  }

  async #wait(next: 'filling' | 'idle', after: string, waitMs: number | undefined): Promise<void> {
    const { waker, plan } = this.#parts;
    if (next === 'idle') return waker.wait(after, Math.min(waitMs ?? IDLE_MS, IDLE_MS), this.#draining.signal);
    const lookMs = Math.min(Math.max(plan.flushAfterMs / 10, LOOK_MS.least), LOOK_MS.most);
    return this.#sleep(Math.min(waitMs ?? lookMs, lookMs));
  }

  #probeInMs(): number {
    const { delayMs, maxMs, jitter } = this.#parts.plan.retry;
    return retryDelayMs(
      { delayMs, maxMs: Math.min(maxMs, Math.max(LONGEST_PROBE_MS, delayMs)), jitter },
      this.#failures,
    );
  }

  /** Ends early when a drain begins. */
  async #sleep(ms: number): Promise<void> {
    await this.#parts.clock.sleep(ms, { signal: this.#draining.signal }).catch(() => undefined); // Whoever slept looks at the signal next.
  }
}
