/**
 * Histories of two clients: whatever they do at once, no read gives a value older than the last invalidation that had been completed, for that
 * client, before the read began.
 *
 * Each key has a version in a store of the test, which only grows. A client that changes it invalidates the key afterwards, one way or another; from
 * when that has resolved the client must read that version or a later one. The other one must from when it has heard of it. Loaders
 * read the store, and give what they read some time later, so that old values are on the way all the time.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cache } from '../../src/cache/cache.ts';
import type { LoadOptions } from '../../src/cache/options.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const KEYS = ['a', 'b', 'c'];
const ACTS = ['getOrSet', 'getOrSet', 'getOrSet', 'get', 'getMany', 'delete', 'tag', 'clear', 'set', 'hear'] as const;
/** Kept long; past its TTL almost at once; loaded early at each read; asked of Redis each time. */
const WAYS: ReadonlyArray<LoadOptions<number>> = [
  { ttl: '1m' },
  { ttl: 3, grace: '1m' },
  { ttl: 3, grace: '1m', swr: false },
  { ttl: '1m', beta: 1e9 },
  { ttl: '1m', firstLevel: false },
];

interface Step {
  client: 0 | 1;
  act: (typeof ACTS)[number];
  key: number;
  way: number;
  /** How long a loader holds on to what it has read. */
  holdMs: number;
  /** How long after this step the next one begins. */
  gapMs: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  client: fc.constantFrom(0 as const, 1 as const),
  act: fc.constantFrom(...ACTS),
  key: fc.nat({ max: KEYS.length - 1 }),
  way: fc.nat({ max: WAYS.length - 1 }),
  holdMs: fc.constantFrom(0, 0, 1, 5, 15),
  gapMs: fc.constantFrom(0, 0, 0, 1, 3),
});

function mustBe(value: unknown, expected: unknown): void {
  if (value !== expected) throw new Error(`expected ${String(expected)}, got ${String(value)}`);
}

class History {
  readonly faults: string[] = [];
  readonly #clients: readonly [Cache, Cache];
  readonly #versions = KEYS.map(() => 1);
  /** For each client and key: what it must read at least. */
  readonly #floors = [KEYS.map(() => 1), KEYS.map(() => 1)];
  /**
   * A set of a key meets no other change of it: of two that are under way at once nobody can tell which is the later, and the older value
   * may be set last.
   */
  readonly #setting = KEYS.map(() => Promise.resolve());
  readonly #changing = KEYS.map(() => new Set<Promise<void>>());
  #syncs = 0;

  constructor(clients: readonly [Cache, Cache]) {
    this.#clients = clients;
  }

  async run(steps: readonly Step[]): Promise<void> {
    const running: Array<Promise<void>> = [];
    for (const one of steps) {
      running.push(this.#take(one));
      await pass(one.gapMs);
    }
    await Promise.all(running);
  }

  async #take(one: Step): Promise<void> {
    const { client, act, key } = one;
    const cache = this.#clients[client];
    const name = KEYS[key] as string;
    switch (act) {
      case 'getOrSet':
        return this.#read(one, [key], async () => [await this.#load(cache, one)]);
      case 'get':
        return this.#read(one, [key], async () => [await cache.get<number>(name)]);
      case 'getMany':
        return this.#read(one, [0, 1, 2], () => cache.getMany<number>(KEYS));
      case 'delete':
        return this.#invalidate(client, [key], () => cache.delete(name));
      case 'tag':
        return this.#invalidate(client, [key], () => cache.invalidateTags(`tag ${name}`));
      case 'clear':
        return this.#invalidate(client, [0, 1, 2], () => cache.clear());
      case 'set':
        return this.#set(client, key, ([version]) => cache.set(name, version, { ttl: '1m', tags: [`tag ${name}`] }));
      case 'hear':
        return this.#hear(client);
    }
  }

  async #load(cache: Cache, { key, way, holdMs }: Step): Promise<number> {
    const name = KEYS[key] as string;
    return cache.getOrSet(
      name,
      async () => {
        const version = this.#versions[key] as number;
        await pass(holdMs);
        return version;
      },
      { ...WAYS[way], tags: [`tag ${name}`] },
    );
  }

  async #read(one: Step, keys: number[], read: () => Promise<Array<number | null | undefined>>): Promise<void> {
    const floors = keys.map((key) => this.#floors[one.client]?.[key] as number);
    const values = await read();
    for (const [index, value] of values.entries()) {
      const floor = floors[index] as number;
      if (typeof value === 'number' && value < floor)
        this.faults.push(
          `${JSON.stringify(one)} read ${value} of ${KEYS[keys[index] as number]}, invalidated up to ${floor}`,
        );
    }
  }

  #set(client: 0 | 1, key: number, set: (versions: number[]) => Promise<unknown>): Promise<void> {
    const before = Promise.all([this.#setting[key], ...(this.#changing[key] ?? [])]);
    return (this.#setting[key] = before.then(() => this.#change(client, [key], set)));
  }

  async #invalidate(client: 0 | 1, keys: number[], invalidate: () => Promise<unknown>): Promise<void> {
    const changed = Promise.all(keys.map((key) => this.#setting[key] as Promise<void>)).then(() =>
      this.#change(client, keys, invalidate),
    );
    for (const key of keys) this.#changing[key]?.add(changed);
    await changed;
    for (const key of keys) this.#changing[key]?.delete(changed);
  }

  /** The store changes first, the cache is told afterwards, as everybody does it. */
  async #change(client: 0 | 1, keys: number[], invalidate: (versions: number[]) => Promise<unknown>): Promise<void> {
    const versions = keys.map((key) => {
      const version = (this.#versions[key] as number) + 1;
      this.#versions[key] = version;
      return version;
    });
    await invalidate(versions);
    for (const [index, key] of keys.entries()) this.#raise(client, key, versions[index] as number);
  }

  #raise(client: number, key: number, version: number): void {
    const floors = this.#floors[client] as number[];
    floors[key] = Math.max(floors[key] as number, version);
  }

  /** Messages come in order: once this client has heard of a delete, it has heard of all that the other one had completed before. */
  async #hear(client: 0 | 1): Promise<void> {
    const other = client === 0 ? 1 : 0;
    const completed = [...(this.#floors[other] as number[])];
    const mark = `mark ${this.#syncs++}`;
    const [cache, sender] = [this.#clients[client], this.#clients[other]];
    await eventually(async () => {
      await cache.getOrSet(mark, () => 1, { ttl: '1m' });
      mustBe(cache.peek(mark), 1);
    });
    await sender.delete(mark);
    await eventually(() => mustBe(cache.peek(mark), undefined));
    for (const [key, version] of completed.entries()) this.#raise(client, key, version);
  }
}

test('no read is older than the last completed invalidation', async () => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  let rounds = 0;
  const enoughAt = performance.now() + 15_000;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
      // On a busy machine fewer histories have to do; one that has begun is run to its end.
      if (performance.now() > enoughAt) return;
      const name = `round ${rounds++}`;
      const history = new History([cache.namespace(name), other.namespace(name)]);
      await history.run(steps);
      expect(history.faults).toEqual([]);
    }),
    { numRuns: 60, endOnFailure: true },
  );
  expect(cache.stats().loadsAlone + other.stats().loadsAlone).toBe(0);
  expect(rounds).toBeGreaterThan(0);
}, 60_000);
