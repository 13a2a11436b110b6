/** What tests of stores work with: a store in memory that can fail, and the simplest cache that keeps what the stores rely on. */
import { randomUUID } from 'node:crypto';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import type { WriteBehindOptions } from '../../../src/cache/stores/options.ts';
import type {
  BehindStore,
  CacheLoadContext,
  Change,
  SaveContext,
  StoreCache,
} from '../../../src/cache/stores/store.ts';
import { createWriteBehind, type BehindParts, type WriteBehind } from '../../../src/cache/stores/write-behind.ts';
import type { ownedByTest } from '../../support/owned.ts';

/** A cache in memory: callers of a key share a load, and a delete wins over the load that is under way. */
export class MemoryCache implements StoreCache {
  readonly values = new Map<string, unknown>();
  readonly deleted: string[] = [];
  /** While it is set, delete() rejects with it. */
  broken: Error | undefined;
  readonly #loads = new Map<string, Promise<unknown>>();

  async getOrSet(key: string, load: (context: CacheLoadContext) => Promise<unknown>): Promise<unknown> {
    if (this.values.has(key)) return this.values.get(key);
    const running = this.#loads.get(key);
    if (running) return running;
    const loading = load({ signal: new AbortController().signal });
    this.#loads.set(key, loading);
    try {
      const value = await loading;
      if (this.#loads.get(key) === loading && value !== undefined && value !== null) this.values.set(key, value);
      return value;
    } finally {
      if (this.#loads.get(key) === loading) this.#loads.delete(key);
    }
  }

  async delete(...keys: string[]): Promise<void> {
    if (this.broken) throw this.broken;
    for (const key of keys) {
      this.deleted.push(key);
      this.values.delete(key);
      this.#loads.delete(key);
    }
  }
}

/** A store in memory. */
export class MemoryStore<T> {
  readonly name: string;
  readonly values = new Map<string, T>();
  readonly loaded: string[] = [];
  /** Each change that it was asked to take, in order. */
  readonly asked: Array<{ key: string; kind: 'set' | 'remove'; value: T | undefined; version: number }> = [];
  /** The sizes of the bulks. */
  readonly bulks: number[] = [];
  /** Throws for a change that is refused. */
  refuse: (key: string, attempt: number) => void = () => undefined;
  /** What a save waits for. */
  hold: (signal: AbortSignal) => Promise<unknown> = async () => undefined;

  constructor(name = 'things') {
    this.name = name;
  }

  load = async (key: string): Promise<T | undefined> => {
    this.loaded.push(key);
    return this.values.get(key);
  };

  /** One change a call. */
  single(): BehindStore<T> {
    const { name, load } = this;
    return {
      name,
      load,
      save: (key, value, context) => this.#take({ key, kind: 'set', value, attempt: 1 }, context),
      remove: (key, context) => this.#take({ key, kind: 'remove', value: undefined, attempt: 1 }, context),
    };
  }

  /** Many changes a call; all or none. */
  bulk(): BehindStore<T> {
    const { name, load } = this;
    return {
      name,
      load,
      saveMany: async (changes, { signal }) => {
        this.bulks.push(changes.length);
        await this.hold(signal);
        for (const { key, attempt } of changes) this.refuse(key, attempt);
        for (const change of changes) this.#note(change);
      },
    };
  }

  async #take(change: Omit<Change<T>, 'version'>, { signal, version }: SaveContext): Promise<void> {
    await this.hold(signal);
    this.refuse(change.key, change.attempt);
    this.#note({ ...change, version });
  }

  #note({ key, kind, value, version }: Change<T>): void {
    this.asked.push({ key, kind, value, version });
    if (kind === 'set') this.values.set(key, value as T);
    else this.values.delete(key);
  }
}

/** Short waits, so that tests are over soon. */
export const QUICK: WriteBehindOptions = {
  flushAfter: '30ms',
  retry: { delay: '20ms', max: '100ms', jitter: 0 },
  lease: '1s',
};

/** Makes stores of one prefix on one server; all end with the test. */
export function behindOf(
  own: ReturnType<typeof ownedByTest>,
  redis: RedisOptions,
): {
  prefix: string;
  connections: Connections;
  behind: <T>(
    store: BehindStore<T>,
    options?: WriteBehindOptions,
    parts?: Partial<BehindParts>,
  ) => WriteBehind<T> & { cache: MemoryCache };
} {
  const prefix = `t-${randomUUID()}`;
  const connections = own(createConnections({ commandTimeout: 2_000, ...redis }));
  return {
    prefix,
    connections,
    behind(store, options = {}, parts = {}) {
      const cache = new MemoryCache();
      const made = createWriteBehind({ connections, cache, prefix, ...parts }, store, { ...QUICK, ...options });
      return Object.assign(own(made), { cache });
    },
  };
}
