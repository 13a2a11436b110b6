/** The sides of the benches of the cache: ours, bentocache, and the bare client. Each has a connection of its own. */
import type { Redis } from 'ioredis';
import type * as CacheModule from '../../src/cache/create-cache.ts';
import type * as ConnectModule from '../../src/redis/connect.ts';
import { clientOn } from './clients.ts';
import { importCompiled } from './compiled.ts';
import { importPeer } from './peers.ts';

/** What is cached: 500 bytes as JSON. */
export interface Item {
  id: string;
  name: string;
  cents: number;
  labels: string[];
  text: string;
}

/** Makes the value of a key. */
export type Load = () => Promise<Item>;

/** What both sides can do. */
export interface CacheSide {
  getOrSet(key: string, load: Load): Promise<Item>;
  close(): Promise<void>;
}

/** How a side is set up. */
export interface CacheSetup {
  /** Whether values are kept in memory, too. */
  firstLevel: boolean;
  /** What each value is tagged with. */
  tags?: readonly string[];
}

const TTL = '1h';
/** A machine that stalls is not taken for an outage, in which values are loaded. */
const OUTAGE = { deadline: '5s' } as const;

/** The value of a key. */
export function itemOf(key: string): Item {
  const item = { id: key, name: 'Lamp, brass', cents: 12_900, labels: ['home', 'light', 'brass'], text: '' };
  return { ...item, text: 'x'.repeat(500 - JSON.stringify(item).length) };
}

/** Ours, as createCache() gives it: values frozen, limited in bytes, invalidated by messages, refreshed early by chance. */
export async function oursOn(url: string, { firstLevel, tags }: CacheSetup): Promise<CacheSide> {
  const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
  const { createCache } = await importCompiled<typeof CacheModule>('cache/create-cache.ts');
  const connections = createConnections({ url });
  const cache = createCache(connections, { outage: OUTAGE });
  await cache.ready();
  const close = async (): Promise<void> => {
    await cache.stop();
    await connections.close();
  };
  if (firstLevel) return { getOrSet: (key, load) => cache.getOrSet(key, load, { ttl: TTL }), close };
  if (!tags) return { getOrSet: (key, load) => cache.getOrSet(key, load, { ttl: TTL, firstLevel }), close };
  return { getOrSet: (key, load) => cache.getOrSet(key, load, { ttl: TTL, firstLevel, tags }), close };
}

interface Bentocache {
  bentostore(): BentoStore;
  BentoCache: new (options: { default: 'bench'; stores: { bench: BentoStore } }) => {
    getOrSet(options: { key: string; ttl: string; factory: Load; tags?: readonly string[] }): Promise<Item>;
    disconnectAll(): Promise<void>;
  };
}

interface BentoStore {
  useL1Layer(driver: unknown): BentoStore;
  useL2Layer(driver: unknown): BentoStore;
}

interface BentoMemory {
  memoryDriver(options: { maxItems: number }): unknown;
}

interface BentoRedis {
  redisDriver(options: { connection: Redis }): unknown;
}

/** bentocache with its defaults, without a bus, which costs it the least. Undefined when it is not installed. */
export async function bentoOn(url: string, { firstLevel, tags }: CacheSetup): Promise<CacheSide | undefined> {
  const library = await importPeer<Bentocache>('bentocache');
  const memory = await importPeer<BentoMemory>('bentocache/drivers/memory');
  const redis = await importPeer<BentoRedis>('bentocache/drivers/redis');
  if (!library || !memory || !redis) return undefined;
  const second = library.bentostore().useL2Layer(redis.redisDriver({ connection: clientOn(url) }));
  const bench = firstLevel ? second.useL1Layer(memory.memoryDriver({ maxItems: 50_000 })) : second;
  const bento = new library.BentoCache({ default: 'bench', stores: { bench } });
  return {
    getOrSet: (key, factory) => bento.getOrSet(tags ? { key, ttl: TTL, factory, tags } : { key, ttl: TTL, factory }),
    close: () => bento.disconnectAll(),
  };
}

/** GET and JSON.parse; a miss is loaded and set. */
export function rawOn(url: string): CacheSide {
  const client = clientOn(url);
  return {
    async getOrSet(key, load) {
      const text = await client.get(key);
      if (text !== null) return JSON.parse(text) as Item;
      const item = await load();
      await client.set(key, JSON.stringify(item), 'EX', 3_600);
      return item;
    },
    async close() {
      client.disconnect();
    },
  };
}
