/** The second level of the cache for tests: with connections and a prefix of its own, and what it told. */
import type { RedisOptions } from '../../src/redis/address.ts';
import { jsonCodec, type Codec } from '../../src/cache/codec.ts';
import { parseMessage, type CacheMessage } from '../../src/cache/messages.ts';
import { SecondLevel, type Found, type Lease, type StoreOptions } from '../../src/cache/second-level.ts';
import { systemClock } from '../../src/clock.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { Guard } from '../../src/redis/guard.ts';
import { createKeySpace } from '../../src/redis/keys.ts';

/** Stored for a minute, without grace. */
export const MINUTE: StoreOptions = {
  freshMs: 60_000,
  graceMs: 0,
  deltaMs: 5,
  tags: [],
  isNegative: false,
  maxBytes: 8 * 1024 * 1024,
};

/** Stale after a moment, kept for a minute. */
export const STALE: StoreOptions = { ...MINUTE, freshMs: 1, graceMs: 60_000 };

export interface SecondLevelSetup {
  prefix: string;
  codec?: Codec;
  compressOverBytes?: number;
  deadlineMs?: number;
  origin?: string;
}

/** A second level that a test owns. */
export interface TestSecondLevel {
  readonly level: SecondLevel;
  readonly connections: Connections;
  /** Why values could not be read. */
  readonly unreadable: string[];
  /** Every message on the channel since listen(). */
  readonly messages: CacheMessage[];
  listen(): Promise<void>;
  /** The lease; fails when it is not granted. */
  readonly leaseOf: (namespace: string, key: string, tags?: readonly string[], seen?: string) => Promise<Lease>;
  close(): Promise<void>;
}

export function openSecondLevel(redis: RedisOptions, setup: SecondLevelSetup): TestSecondLevel {
  const { prefix, codec = jsonCodec, compressOverBytes = 1024, deadlineMs = 10_000, origin = 'test' } = setup;
  const connections = createConnections({ ...redis, commandTimeout: 20_000 });
  const guard = new Guard({ deadlineMs, clock: systemClock, label: connections.label });
  const unreadable: string[] = [];
  const messages: CacheMessage[] = [];
  const channel = `${prefix}:cache:changed`;
  const level = new SecondLevel({
    connections,
    keys: createKeySpace(prefix, 'cache'),
    guard,
    codec,
    channel,
    originId: origin,
    compressOverBytes,
    onUnreadable: (_namespace, _key, reason) => unreadable.push(reason),
  });
  return {
    level,
    connections,
    unreadable,
    messages,
    async listen() {
      const subscriber = connections.subscriber();
      subscriber.on('message', (from: string, text: string) => {
        const message = from === channel ? parseMessage(text) : undefined;
        if (message) messages.push(message);
      });
      await subscriber.subscribe(channel);
    },
    async leaseOf(namespace, key, tags = [], seen) {
      const outcome = await level.lease(namespace, key, tags, 3_000, { seen });
      if (outcome.status !== 'granted') throw new Error(`expected the lease of ${key}, got ${outcome.status}`);
      return outcome.lease;
    },
    async close() {
      guard.close();
      await connections.close();
    },
  };
}

/** What a read gave, in short: its value, or what it is instead. */
export function shown({ status, value }: Found): unknown {
  return status === 'missing' ? 'missing' : value?.payload;
}
