/**
 * From a miss to a value: what Redis has, else a lease and the loader, and what all callers of the key are given meanwhile.
 *
 * Promise: in this process one flight a key, among all processes one lease a key, so a key that nobody has is loaded once however many ask.
 * What is loaded while the key, one of its tags or its namespace is invalidated goes to those who asked before, and is not kept.
 * Redis down: each process loads by itself, still once a key, and keeps the value in memory for a moment.
 */
import { isMillraceError, MillraceError } from '../errors.ts';
import { formatMs } from '../durations.ts';
import type { Ask } from './ask.ts';
import type { CacheCore, Moment } from './cache-core.ts';
import { drawRandom, isDueEarly } from './early-refresh.ts';
import type { Kept } from './first-level.ts';
import { Flight } from './flight.ts';
import { admit, fit, keepFound } from './admit.ts';
import { LoadAndStore } from './load-and-store.ts';
import { Read } from './read.ts';
import type { Found, LeaseOutcome } from './second-level.ts';

/** A process that is killed while it loads holds others up no longer than that; one that lives renews its lease. */
const LONGEST_LEASE_MS = 3_000;
/** How often who waits looks by himself while messages are missed. */
const DEAF_LOOK_MS = 100;
/** Those who wait for a lease to end do not all look at the same moment. */
const LOOK_JITTER_MS = 50;

/** What a flight has found in Redis before it looks for a lease. */
interface Before {
  /** The value that the flight is to replace although it is fresh. */
  seen?: string | undefined;
  /** Whether the flight is in the background: nobody needs what it gives. */
  isRefresh: boolean;
}

/** The first stretch of a flight. One that ends here, with a value, has cost no promise but the one that its callers wait for. */
class FlightRead extends Read {
  readonly #loads: Loads;
  readonly #ask: Ask;
  readonly #flight: Flight;
  readonly #since: number;

  constructor(loads: Loads, ask: Ask, flight: Flight) {
    super({ namespace: ask.state.name, key: ask.key, hash: ask.hash, mayHaveTags: ask.call.tags.length > 0 });
    this.#loads = loads;
    this.#ask = ask;
    this.#flight = flight;
    this.#since = ask.state.recent.now;
  }

  protected onFound(found: Found, sentAtMs: number): void {
    this.#loads.onFound(this.#ask, this.#flight, found, { since: this.#since, sentAtMs });
  }

  protected onFailure(error: unknown): void {
    this.#loads.onFailure(this.#ask, this.#flight, error);
  }
}

/** The flights of a cache. */
export class Loads {
  readonly #core: CacheCore;
  readonly #loadAndStore: LoadAndStore;

  constructor(core: CacheCore) {
    this.#core = core;
    this.#loadAndStore = new LoadAndStore(core);
  }

  /** A flight for callers to wait for. `inHand` is what they would be given if nothing newer comes. */
  begin(ask: Ask, inHand: Kept | undefined): Flight {
    const flight = this.#launch(ask, inHand);
    if (inHand) {
      this.#goOn(ask, flight, this.#lookForLease(ask, flight, { isRefresh: false }));
      return flight;
    }
    const read = new FlightRead(this, ask, flight);
    try {
      this.#core.second.join(read);
    } catch (error) {
      read.fail(error);
    }
    return flight;
  }

  /** Loads in the background, unless somebody is on the way already. */
  refresh(ask: Ask, inHand: Kept, reason: 'early' | 'stale', seen?: string): void {
    if (ask.state.flights.get(ask.key, ask.hash)) return;
    if (reason === 'early') this.#core.counts.earlyRefreshes++;
    else this.#core.counts.staleRefreshes++;
    const flight = this.#launch(ask, inHand);
    flight.mayFail();
    this.#goOn(ask, flight, this.#lookForLease(ask, flight, { isRefresh: true, seen }));
  }

  /** For the flight's read: what Redis has. */
  onFound(ask: Ask, flight: Flight, found: Found, moment: Moment): void {
    const { value } = found;
    try {
      if (!value) {
        this.#core.counts.misses++;
        this.#goOn(ask, flight, this.#lookForLease(ask, flight, { isRefresh: false }));
      } else if (ask.call.schema && !value.isNegative) {
        this.#goOn(ask, flight, this.#giveChecked(ask, flight, found, moment));
      } else {
        const given = this.#give(ask, flight, found, { value: this.#core.protectStored(value), moment });
        if (given instanceof Promise) this.#goOn(ask, flight, given);
        else this.#land(ask, flight, given);
      }
    } catch (error) {
      this.#crash(ask, flight, error);
    }
  }

  /** For the flight's read: Redis cannot be asked. */
  onFailure(ask: Ask, flight: Flight, error: unknown): void {
    this.#core.missed(error);
    this.#goOn(ask, flight, this.#loadAndStore.alone(ask, flight));
  }

  #launch(ask: Ask, inHand: Kept | undefined): Flight {
    const flight = new Flight(ask.key, ask.hash, ask.call.tags);
    if (inHand) flight.inHand = inHand;
    ask.state.flights.add(flight);
    this.#core.began();
    return flight;
  }

  #goOn(ask: Ask, flight: Flight, fly: Promise<unknown>): void {
    fly.then(
      (value) => this.#land(ask, flight, value),
      (error: unknown) => this.#crash(ask, flight, error),
    );
  }

  #land(ask: Ask, flight: Flight, value: unknown): void {
    ask.state.leave(flight);
    flight.land(value);
    this.#core.ended();
  }

  #crash(ask: Ask, flight: Flight, error: unknown): void {
    ask.state.leave(flight);
    flight.crash(error);
    this.#core.ended();
  }

  async #giveChecked(ask: Ask, flight: Flight, found: Found, moment: Moment): Promise<unknown> {
    const checked = await fit(this.#core, ask.call.schema, found);
    if (!checked) return this.#lookForLease(ask, flight, { isRefresh: false, seen: found.id });
    return this.#give(ask, flight, found, { value: this.#core.protect(checked.value), moment });
  }

  /** What the flight gives for what was found, whose value is protected. A promise only where that is to be replaced before. */
  #give(ask: Ask, flight: Flight, found: Found, { value, moment }: { value: unknown; moment: Moment }): unknown {
    const core = this.#core;
    const { plan } = ask.call;
    const isStale = found.status === 'stale';
    const isDue = isStale || isDueEarly(found.freshMs, found.deltaMs, plan.beta, drawRandom());
    if (!isDue && !plan.firstLevel) {
      core.counts.secondLevelHits++;
      return value; // Nothing else is needed.
    }
    const kept = keepFound(core, ask, found, { value, moment });
    if (isStale && !plan.swr) {
      flight.inHand = kept;
      return this.#lookForLease(ask, flight, { isRefresh: false });
    }
    if (isStale) core.counts.staleHits++;
    else core.counts.secondLevelHits++;
    if (isDue) {
      // The flight of this read makes room for the one that loads; one that is detached has read what is invalid by now.
      ask.state.leave(flight);
      if (!flight.isDetached) this.refresh(ask, kept, isStale ? 'stale' : 'early', found.id);
    }
    return kept.value;
  }

  async #lookForLease(ask: Ask, flight: Flight, before: Before): Promise<unknown> {
    const { state, key, call } = ask;
    const core = this.#core;
    const leaseMs = Math.min(call.plan.hardMs, LONGEST_LEASE_MS);
    const deadlineMs = core.clock.monotonicMs() + call.plan.hardMs;
    let { seen } = before;
    state.look(flight);
    try {
      for (;;) {
        flight.phase = 'leasing';
        const moment = core.now(state);
        const { wakeups } = flight;
        let outcome: LeaseOutcome;
        try {
          outcome = await core.second.lease(state.name, key, call.tags, leaseMs, { seen });
        } catch (error) {
          if (isMillraceError(error, 'KEY_INVALID')) throw error; // One of the tags.
          core.missed(error);
          return isFresh(flight, core) ? give(flight) : await this.#loadAndStore.alone(ask, flight);
        }
        if (outcome.status === 'granted') {
          const { found } = outcome;
          // A value that did not fit its schema is there, but is no value for anybody.
          if (found && found.id !== seen) flight.inHand = (await admit(core, ask, found, moment)) ?? flight.inHand;
          return await this.#loadAndStore.leased(ask, flight, outcome.lease, leaseMs, found !== undefined);
        }
        if (outcome.status === 'found') {
          const kept = await admit(core, ask, outcome.found, moment);
          if (kept) return kept.give();
          seen = outcome.found.id;
          continue;
        }
        if (outcome.found && outcome.found.id !== seen)
          flight.inHand = (await admit(core, ask, outcome.found, moment)) ?? flight.inHand;
        if (flight.inHand && (before.isRefresh || call.plan.swr || outcome.isBackingOff))
          return restOn(flight.inHand, core.clock.monotonicMs() + outcome.waitMs);
        await this.#wait(ask, flight, { wakeups, deadlineMs, waitMs: outcome.waitMs });
        if (core.clock.monotonicMs() >= deadlineMs) return timedOut(ask, flight);
        core.stateOf(state.name); // Throws once the cache has been stopped.
      }
    } finally {
      state.lookNoMore(flight);
    }
  }

  async #wait(
    ask: Ask,
    flight: Flight,
    { wakeups, deadlineMs, waitMs }: { wakeups: number; deadlineMs: number; waitMs: number },
  ): Promise<void> {
    const { clock, counts, isLive } = this.#core;
    counts.waits++;
    const leftMs = Math.max(0, deadlineMs - clock.monotonicMs());
    const lookMs = isLive ? waitMs + 1 + Math.random() * LOOK_JITTER_MS : Math.min(waitMs + 1, DEAF_LOOK_MS);
    flight.phase = 'waiting';
    await flight.wait(Math.min(leftMs, lookMs), wakeups, clock);
  }
}

function isFresh(flight: Flight, { clock }: CacheCore): boolean {
  return flight.inHand !== undefined && clock.monotonicMs() < flight.inHand.freshUntilMs;
}

function give(flight: Flight): Promise<unknown> | undefined {
  return flight.inHand?.give();
}

/** The value is served until then without asking again. */
function restOn(kept: Kept, untilMs: number): Promise<unknown> {
  kept.quietUntilMs = Math.min(untilMs, kept.staleUntilMs);
  return kept.give();
}

function timedOut({ key, call: { plan } }: Ask, { inHand }: Flight): Promise<unknown> {
  if (inHand && plan.servesStaleOnError) return inHand.give();
  throw new MillraceError(
    'CACHE_LOAD_TIMEOUT',
    `the load of ${key} by another process was waited for longer than ${formatMs(plan.hardMs)}`,
    { key, hardMs: plan.hardMs },
  );
}
