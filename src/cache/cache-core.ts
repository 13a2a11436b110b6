/**
 * What all views of one cache share: both levels, the channel on which processes tell each other what changed, the counts, and its end.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace } from '../redis/keys.ts';
import type { CacheMetricsRegistry } from './cache-metrics.ts';
import { exportCounts, type LoadTimer } from './cache-metrics.ts';
import type { Codec } from './codec.ts';
import { Counts, type CacheStats } from './counts.ts';
import { deepFreeze, FirstLevel, freezeParsed, Kept, type Isolation, type KeptFacts } from './first-level.ts';
import { parseMessage } from './messages.ts';
import { SecondLevel, type StoredValue } from './second-level.ts';
import { SharedState } from './shared-state.ts';
import type { StoreMetricsRegistry } from './stores/store-metrics.ts';

/** The connections that the cache uses. */
export type CacheConnections = Pick<Connections, 'commands' | 'subscriber' | 'blocking' | 'label'>;

/** Everything decided. */
export interface CoreOptions {
  readonly prefix: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly metrics: (CacheMetricsRegistry & StoreMetricsRegistry) | undefined;
  readonly codec: Codec;
  readonly isolation: Isolation;
  /** 0: nothing is kept in memory. */
  readonly firstLevelBytes: number;
  readonly compressOverBytes: number;
  readonly deadlineMs: number;
  readonly failures: number;
  readonly pauseMs: number;
  /** How long a value stays in memory while invalidations may be missed, or when Redis did not take it. */
  readonly outageTtlMs: number;
}

/** When a value was asked for, so that what came meanwhile can be told. */
export interface Moment {
  readonly since: number;
  readonly sentAtMs: number;
}

/** From so many namespaces on, those that hold nothing are forgotten. */
const MANY_STATES = 1_000;
/** How long stop() waits for what is under way. */
const STOP_WITHIN_MS = 5_000;

/** The shared part. */
export class CacheCore {
  readonly options: CoreOptions;
  readonly connections: CacheConnections;
  readonly counts = new Counts();
  readonly clock: Clock;
  readonly log: Logger;
  readonly second: SecondLevel;
  readonly level: FirstLevel;
  readonly loadTimer: LoadTimer;
  /** The signals of loaders that run. */
  readonly running = new Set<AbortController>();
  /** How many flights have not ended, refreshes and detached ones among them. */
  #flying = 0;
  #onLanded: (() => void) | undefined;
  /** Stores that write through or behind this cache; they end before it. */
  readonly #stores = new Set<{ stop(): Promise<void> }>();
  readonly #originId = randomUUID();
  readonly #broadcast: Broadcast;
  readonly #guard: Guard;
  readonly #states = new Map<string, SharedState>();
  readonly #removeCounts: () => void;
  #stopping: Promise<void> | undefined;
  #isStopped = false;

  constructor(connections: CacheConnections, options: CoreOptions) {
    const { prefix, log, clock } = options;
    this.options = options;
    this.connections = connections;
    this.clock = clock;
    this.log = log;
    this.level = new FirstLevel({ maxBytes: Math.max(1, options.firstLevelBytes), isolation: options.isolation });
    this.#guard = new Guard({
      deadlineMs: options.deadlineMs,
      failures: options.failures,
      pauseMs: options.pauseMs,
      clock,
      label: connections.label,
      onOpen: (failure) => log.warn({ code: failure.code }, `the cache goes on without Redis: ${failure.message}`),
      onClose: () => log.info('the cache has Redis again'),
    });
    const channel = `${prefix}:cache:changed`;
    this.second = new SecondLevel({
      connections,
      keys: createKeySpace(prefix, 'cache'),
      guard: this.#guard,
      codec: options.codec,
      channel,
      originId: this.#originId,
      compressOverBytes: options.compressOverBytes,
      clock,
      onUnreadable: (namespace, key, reason) => {
        this.counts.unreadable++;
        log.debug({ namespace, key, reason }, 'a kept value cannot be read, so it is loaded again');
      },
    });
    this.#broadcast = new Broadcast(channel, connections, log, {
      onMessage: (text) => this.#hear(text),
      onLive: () => this.#flush(),
      onLost: () => this.#flush(),
    });
    const exported = exportCounts(options.metrics, () => this.stats());
    this.loadTimer = exported.loadTimer;
    this.#removeCounts = exported.remove;
  }

  get isLive(): boolean {
    return this.#broadcast.isLive;
  }

  /** Resolves once invalidations by other processes are heard. */
  listen(): Promise<void> {
    return this.#broadcast.open();
  }

  /** The state of a namespace, for a call that goes beyond memory. */
  stateOf(name: string): SharedState {
    if (this.#isStopped) throw new MillraceError('CLOSED', 'the cache has been stopped', {});
    void this.#broadcast.open();
    let state = this.#states.get(name);
    if (!state) {
      if (this.#states.size >= MANY_STATES) this.#forgetIdle();
      state = new SharedState(name, this.level);
      this.#states.set(name, state);
    }
    return state;
  }

  /** The state of a namespace for a view that has not been used yet; it asks again by stateOf() as soon as it goes beyond memory. */
  viewOf(name: string): SharedState {
    return this.#states.get(name) ?? new SharedState(name, this.level);
  }

  now(state: SharedState): Moment {
    return { since: state.recent.now, sentAtMs: this.clock.monotonicMs() };
  }

  /**
   * The value, on the shelf if it may stand there: not when an invalidation came since the moment, and only for a short time where an
   * invalidation might not be heard of.
   */
  keep(
    state: SharedState,
    facts: KeptFacts,
    since: number,
    { mayShelve, isStored }: { mayShelve: boolean; isStored: boolean },
  ): Kept {
    if (
      mayShelve &&
      !this.#isStopped &&
      this.#states.get(state.name) === state && // Messages do not reach one that was forgotten.
      this.options.firstLevelBytes > 0 &&
      !state.recent.concerned(since, facts.key, facts.tags)
    ) {
      const nowMs = this.clock.monotonicMs();
      const endMs = this.isLive && isStored ? Number.POSITIVE_INFINITY : nowMs + this.options.outageTtlMs;
      const freshUntilMs = Math.min(facts.freshUntilMs, endMs);
      const staleUntilMs = Math.min(facts.staleUntilMs, endMs);
      if (Math.max(freshUntilMs, staleUntilMs) > nowMs)
        return state.shelf.set({ ...facts, freshUntilMs, staleUntilMs });
    }
    return new Kept(facts, this.options.isolation);
  }

  /** The value of the key is gone, and with it what reads that are under way will bring. */
  dropOlder(state: SharedState, key: string): void {
    state.recent.noteKey(key);
    state.shelf.delete(key);
  }

  /** As callers are given it: with `frozen`, none of them can change what the others see. */
  protect(value: unknown): unknown {
    return this.options.isolation === 'frozen' ? deepFreeze(value) : value;
  }

  /** The same for what was read from Redis, and nobody has seen yet. */
  protectStored({ payload, isJson }: StoredValue): unknown {
    if (this.options.isolation !== 'frozen') return payload;
    return isJson ? freezeParsed(payload) : deepFreeze(payload);
  }

  began(): void {
    this.#flying++;
  }

  ended(): void {
    if (--this.#flying === 0) this.#onLanded?.();
  }

  /** Redis could not be asked; whoever can goes on without. */
  missed(error: unknown): void {
    this.counts.secondLevelFailures++;
    this.log.debug({ err: error }, 'the cache could not ask Redis');
  }

  /** Stops it when the cache stops. */
  own<Store extends { stop(): Promise<void> }>(store: Store): Store {
    this.#stores.add(store);
    return store;
  }

  stats(): CacheStats {
    const { level } = this;
    const counts: Readonly<Counts> = this.counts;
    return {
      ...counts,
      firstLevel: { entries: level.size, bytes: level.bytes, evictions: level.evictions },
      isOutage: this.#guard.isOpen,
      isLive: this.isLive,
    };
  }

  /** Ends loads and waits; what is under way is given a moment to hand its leases back. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#stores.size > 0) await Promise.allSettled(Array.from(this.#stores, (store) => store.stop()));
    this.#isStopped = true;
    const closed = new MillraceError('CLOSED', 'the cache has been stopped', {});
    for (const controller of this.running) controller.abort(closed);
    for (const state of this.#states.values()) state.flush();
    const ended = new AbortController();
    const late = this.clock.sleep(STOP_WITHIN_MS, { signal: ended.signal }).catch(() => undefined);
    await Promise.race([this.#landed(), late]);
    ended.abort();
    this.#broadcast.close();
    this.#guard.close();
    for (const state of this.#states.values()) state.flush();
    this.#states.clear();
    this.#removeCounts();
  }

  /** Resolves once no flight is under way. */
  #landed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onLanded = resolve;
      if (this.#flying === 0) resolve();
    });
  }

  #hear(text: string): void {
    const message = parseMessage(text);
    if (!message) return;
    const state = this.#states.get(message.namespace);
    if (!state) return;
    // What this process did itself has had its effect; only those who wait may not know.
    if (message.kind === 'failed' || message.origin === this.#originId) return state.wake(message.name);
    this.counts.heard++;
    if (message.kind === 'key') state.dropKey(message.name);
    else if (message.kind === 'tag') state.dropTag(message.name);
    else state.dropAll();
  }

  /** Invalidations may have been missed: nothing that is in memory can be relied on. */
  #flush(): void {
    this.counts.flushes++;
    for (const state of this.#states.values()) state.flush();
  }

  #forgetIdle(): void {
    for (const [name, state] of this.#states) if (state.isIdle) this.#states.delete(name);
  }
}
