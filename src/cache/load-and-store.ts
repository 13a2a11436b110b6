/**
 * Runs the loader and keeps what it gives: with a lease, or alone when Redis cannot be asked.
 */
import { MillraceError, isMillraceError } from '../errors.ts';
import { inputFaults } from '../schema.ts';
import { check } from './admit.ts';
import type { Ask } from './ask.ts';
import type { CacheCore, Moment } from './cache-core.ts';
import type { Flight } from './flight.ts';
import { pack, type Packed } from './packed.ts';
import { runLoader, type Loaded } from './run-loader.ts';
import type { Lease } from './second-level.ts';

/** A value as callers see it, and as it is stored. */
interface Shown {
  readonly value: unknown;
  readonly packed: Packed;
}

/** A lease is renewed so often within its length. */
const RENEWALS = 3;
/** A loader's "nothing" that is not to be kept takes the place of an older value for so long. */
const SHORTEST_MS = 1;

/** The last stretch of a flight. */
export class LoadAndStore {
  readonly #core: CacheCore;
  /** The namespaces for which a value that was too large has been told of. */
  readonly #told = new Set<string>();

  constructor(core: CacheCore) {
    this.#core = core;
  }

  /** Loads with the right to. `hasOlder`: there is a value in Redis that this load is to replace. */
  async leased(ask: Ask, flight: Flight, lease: Lease, leaseMs: number, hasOlder: boolean): Promise<unknown> {
    flight.phase = 'loading';
    flight.lease = lease;
    const renewing = setInterval(() => void this.#renew(lease, renewing), Math.max(1, leaseMs / RENEWALS));
    try {
      const loaded = await this.#run(ask, flight);
      return await this.#store(ask, flight, lease, loaded, hasOlder);
    } catch (error) {
      return await this.#failed(ask, flight, error, lease);
    } finally {
      clearInterval(renewing);
      flight.lease = undefined;
      ask.state.wake(ask.key); // Another flight of this process may wait for the end of this one.
    }
  }

  /** Loads because Redis cannot be asked who else does. */
  async alone(ask: Ask, flight: Flight): Promise<unknown> {
    flight.phase = 'loading';
    const core = this.#core;
    core.counts.loadsAlone++;
    const { since } = core.now(ask.state);
    try {
      const loaded = await this.#run(ask, flight);
      const ttlMs = ttlOf(ask, loaded);
      if (ttlMs === undefined) return loaded.value;
      const shown = await this.#show(ask, loaded.value);
      this.#keep(ask, flight, shown, {
        since,
        sentAtMs: core.clock.monotonicMs(),
        ttlMs,
        loaded,
        id: '',
        isStored: false,
      });
      return shown.value;
    } catch (error) {
      return await this.#failed(ask, flight, error, undefined);
    }
  }

  async #run(ask: Ask, flight: Flight): Promise<Loaded> {
    const { counts, clock, running, loadTimer } = this.#core;
    this.#core.stateOf(ask.state.name); // Throws once the cache has been stopped.
    counts.loads++;
    const loaded = await runLoader({
      key: ask.key,
      loader: ask.loader,
      stale: flight.inHand?.value,
      hardMs: ask.call.plan.hardMs,
      clock,
      running,
      readTtl: ask.readTtl,
      onTags: async (names) => {
        for (const name of names) flight.tags.add(name);
        await flight.lease?.capture(names).catch((error: unknown) => this.#core.missed(error));
      },
    });
    loadTimer.observe(loaded.deltaMs / 1_000);
    return loaded;
  }

  async #store(ask: Ask, flight: Flight, lease: Lease, loaded: Loaded, hasOlder: boolean): Promise<unknown> {
    const core = this.#core;
    const { plan } = ask.call;
    const ttlMs = ttlOf(ask, loaded);
    if (ttlMs === undefined) {
      await this.#dropOlder(lease, hasOlder);
      this.#core.dropOlder(ask.state, ask.key);
      return loaded.value;
    }
    const isNothing = loaded.value === null || loaded.value === undefined;
    const shown = await this.#show(ask, loaded.value);
    if (shown.packed.sizeBytes > plan.maxBytes) {
      this.#tellTooLarge(ask, shown.packed.sizeBytes);
      await lease.fail(hasOlder ? plan.backoffMs : 0).catch((error: unknown) => core.missed(error));
      return shown.value;
    }
    const moment = core.now(ask.state);
    const kept = { ...moment, ttlMs, loaded, id: lease.token };
    try {
      const status = await lease.store(shown.packed, {
        freshMs: ttlMs,
        graceMs: isNothing ? 0 : plan.graceMs,
        deltaMs: loaded.deltaMs,
        tags: [...flight.tags],
        isNegative: isNothing,
        maxBytes: plan.maxBytes,
      });
      if (status === 'superseded') core.counts.superseded++;
      if (status !== 'stored') return shown.value;
      core.counts.loadsKept++;
      this.#keep(ask, flight, shown, { ...kept, isStored: true });
    } catch (error) {
      if (isMillraceError(error, 'KEY_INVALID')) throw error; // A tag that the loader named.
      core.missed(error);
      // Redis would have refused what was invalidated since the load began.
      if (!flight.isDetached) this.#keep(ask, flight, shown, { ...kept, isStored: false });
    }
    return shown.value;
  }

  /**
   * The loader gave nothing, and nothing is not to be kept: an older value must not be served any more. It goes the way of every store, so that
   * it is not dropped where a newer one has come meanwhile.
   */
  async #dropOlder(lease: Lease, hasOlder: boolean): Promise<void> {
    const core = this.#core;
    core.counts.nothing++;
    try {
      if (!hasOlder) return await lease.fail(0);
      const how = { freshMs: SHORTEST_MS, graceMs: 0, deltaMs: 0, tags: [], isNegative: true, maxBytes: 0 };
      await lease.store(null, how);
    } catch (error) {
      core.missed(error);
    }
  }

  /** As the next reader will see it, so that a value which does not survive the way is noticed by the first one. */
  async #show(ask: Ask, loaded: unknown): Promise<Shown> {
    const { codec, isolation } = this.#core.options;
    const packed = pack(loaded, codec);
    const isNothing = loaded === null || loaded === undefined;
    let value = isolation === 'shared' && !isNothing ? loaded : packed.unpack();
    if (ask.call.schema && !isNothing) {
      const result = await check(ask.call.schema, value);
      if ('issues' in result) {
        const cause = inputFaults(`the value of ${ask.key}`, result.issues);
        throw new MillraceError('CACHE_VALUE_INVALID', `the loader: ${cause.message}`, {
          key: ask.key,
          ...cause.facts,
          cause,
        });
      }
      ({ value } = result);
    }
    return { value: this.#core.protect(value), packed };
  }

  #keep(
    ask: Ask,
    flight: Flight,
    { value, packed }: Shown,
    how: Moment & { ttlMs: number; loaded: Loaded; id: string; isStored: boolean },
  ): void {
    const { plan } = ask.call;
    const freshUntilMs = how.sentAtMs + how.ttlMs;
    const facts = {
      key: ask.key,
      value,
      sizeBytes: packed.sizeBytes,
      tags: [...flight.tags],
      freshUntilMs,
      staleUntilMs: freshUntilMs + plan.graceMs,
      deltaMs: how.loaded.deltaMs,
      beta: plan.beta,
      id: how.id,
      isChecked: ask.call.schema !== undefined || packed.kind === 'nothing',
    };
    const { recent } = ask.state;
    const isConcerned = recent.concerned(how.since, ask.key, facts.tags);
    recent.noteKey(ask.key); // What reads that are under way will bring is older.
    this.#core.keep(ask.state, facts, isConcerned ? how.since : recent.now, {
      mayShelve: plan.firstLevel,
      isStored: how.isStored,
    });
  }

  /** A load failed: the value in hand, if it may be served, else the error. */
  async #failed(ask: Ask, { inHand }: Flight, error: unknown, lease: Lease | undefined): Promise<unknown> {
    const core = this.#core;
    const { plan } = ask.call;
    core.counts.loadFailures++;
    if (isMillraceError(error, 'CACHE_LOAD_TIMEOUT')) core.counts.loadTimeouts++;
    const nowMs = core.clock.monotonicMs();
    const isServed = inHand !== undefined && nowMs < inHand.staleUntilMs && plan.servesStaleOnError;
    await lease?.fail(isServed ? plan.backoffMs : 0).catch((failure: unknown) => core.missed(failure));
    if (!isServed) throw error;
    core.log.warn({ key: ask.key, namespace: ask.state.name, err: error }, 'a load failed; the older value is served');
    inHand.quietUntilMs = Math.min(nowMs + plan.backoffMs, inHand.staleUntilMs);
    return inHand.give();
  }

  async #renew(lease: Lease, renewing: NodeJS.Timeout): Promise<void> {
    try {
      if (!(await lease.renew())) clearInterval(renewing); // Invalidated meanwhile: what is loaded will not be stored.
    } catch (error) {
      this.#core.missed(error);
    }
  }

  #tellTooLarge({ state, key, call }: Ask, sizeBytes: number): void {
    this.#core.counts.tooLarge++;
    if (this.#told.has(state.name)) return;
    if (this.#told.size < 1_000) this.#told.add(state.name);
    const { maxBytes } = call.plan;
    this.#core.log.warn(
      { key, namespace: state.name, sizeBytes, maxBytes },
      'a value is too large to be kept; others of this namespace are not told of',
    );
  }
}

/** How long the value is fresh, shortened by the jitter; undefined when it is "nothing" that is not kept. */
function ttlOf({ call: { plan } }: Ask, { value, ttlMs }: Loaded): number | undefined {
  const isNothing = value === null || value === undefined;
  const fullMs = isNothing ? plan.negativeTtlMs : (ttlMs ?? plan.ttlMs);
  return fullMs === undefined ? undefined : jittered(fullMs, plan.jitter);
}

/** Shortened at random, so that a TTL is never longer than was asked for. */
export function jittered(ttlMs: number, jitter: number): number {
  return Math.max(1, Math.round(ttlMs * (1 - jitter * Math.random())));
}
