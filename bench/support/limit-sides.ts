/** The sides of the benches of rate limits: ours and rate-limiter-flexible. Each has a connection of its own. */
import type { Redis } from 'ioredis';
import type * as LimitModule from '../../src/rate-limit/limits.ts';
import type * as ConnectModule from '../../src/redis/connect.ts';
import { clientOn } from './clients.ts';
import { importCompiled } from './compiled.ts';
import { importPeer } from './peers.ts';

/** So much in so many seconds. */
export interface Rule {
  limit: number;
  seconds: number;
}

/** What both sides can do. */
export interface LimitSide {
  /** Whether the call is allowed. A side that has several rules asks them all. */
  consume(key: string): Promise<boolean>;
  close(): Promise<void>;
}

/** A machine that stalls is not taken for an outage, in which decisions cost nothing. */
const DEADLINE = '5s';

/** Ours, as createLimits() gives it: GCRA, on the server's clock, several rules in one script, refusals remembered until they end. */
export async function oursOn(url: string, name: string, rules: readonly Rule[]): Promise<LimitSide> {
  const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
  const { createLimits } = await importCompiled<typeof LimitModule>('rate-limit/limits.ts');
  const connections = createConnections({ url });
  const limits = createLimits(connections, { deadline: DEADLINE });
  const policies = rules.map(({ limit, seconds }, index) => ({ name: `${index}`, limit, per: `${seconds}s` as const }));
  const limiter = limits.limiter(name, { policies });
  return {
    async consume(key) {
      const { allowed, source } = await limiter.consume(key);
      if (source === 'outage') throw new Error('Redis was not asked');
      return allowed;
    },
    async close() {
      await limits.stop();
      await connections.close();
    },
  };
}

interface Flexible {
  RateLimiterRedis: new (options: {
    storeClient: Redis;
    keyPrefix: string;
    points: number;
    duration: number;
    inMemoryBlockOnConsumed: number;
  }) => FlexibleLimiter;
  RateLimiterUnion: new (...limiters: FlexibleLimiter[]) => FlexibleLimiter;
}

interface FlexibleLimiter {
  consume(key: string): Promise<unknown>;
}

/**
 * rate-limiter-flexible: RateLimiterRedis, a fixed window, that remembers in memory which keys are over the limit; a RateLimiterUnion
 * where there are several rules. Undefined when it is not installed.
 */
export async function flexibleOn(url: string, name: string, rules: readonly Rule[]): Promise<LimitSide | undefined> {
  const library = await importPeer<Flexible>('rate-limiter-flexible');
  if (!library) return undefined;
  const client = clientOn(url);
  const limiters = rules.map(({ limit, seconds }, index) => {
    const keyPrefix = index === 0 ? name : `${name}-${index}`;
    const rule = { points: limit, duration: seconds, inMemoryBlockOnConsumed: limit + 1 };
    return new library.RateLimiterRedis({ storeClient: client, keyPrefix, ...rule });
  });
  const [first] = limiters;
  const limiter = limiters.length === 1 && first ? first : new library.RateLimiterUnion(...limiters);
  return {
    async consume(key) {
      try {
        await limiter.consume(key);
        return true;
      } catch (refusal) {
        if (refusal instanceof Error) throw refusal; // A refusal is not an Error.
        return false;
      }
    },
    async close() {
      client.disconnect();
    },
  };
}
