/** The sides of the benches of locks: ours, redis-semaphore and redlock. Each has a connection of its own. */
import type { Redis } from 'ioredis';
import type * as LockModule from '../../src/lock/locks.ts';
import type * as ConnectModule from '../../src/redis/connect.ts';
import { clientOn } from './clients.ts';
import { importCompiled } from './compiled.ts';
import { importPeer } from './peers.ts';

/** What all sides can do. */
export interface LockSide {
  /** Waits for the lock, and gives what releases it. */
  acquire(name: string): Promise<() => Promise<unknown>>;
  close(): Promise<void>;
}

const TTL_MS = 30_000;

/** Ours, as createLocks() gives it: in order, with a fencing token, watched and extended while it is held. */
export async function oursOn(url: string): Promise<LockSide> {
  const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
  const { createLocks } = await importCompiled<typeof LockModule>('lock/locks.ts');
  const connections = createConnections({ url });
  const locks = createLocks(connections);
  return {
    async acquire(name) {
      const lock = await locks.acquire(name, { ttl: '30s', wait: '30s' });
      return () => lock.release();
    },
    async close() {
      await locks.stop();
      await connections.close();
    },
  };
}

interface RedisSemaphore {
  Mutex: new (
    client: Redis,
    key: string,
    options: { lockTimeout: number; acquireTimeout: number },
  ) => { acquire(): Promise<void>; release(): Promise<void> };
}

/** redis-semaphore with its defaults (it asks again every 10 ms), but for the times. Undefined when it is not installed. */
export async function semaphoreOn(url: string): Promise<LockSide | undefined> {
  const library = await importPeer<RedisSemaphore>('redis-semaphore');
  if (!library) return undefined;
  const client = clientOn(url);
  return {
    async acquire(name) {
      const mutex = new library.Mutex(client, name, { lockTimeout: TTL_MS, acquireTimeout: TTL_MS });
      await mutex.acquire();
      return () => mutex.release();
    },
    async close() {
      client.disconnect();
    },
  };
}

interface RedlockModule {
  default: new (clients: Redis[]) => {
    acquire(names: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }>;
  };
}

/** redlock with its defaults. Undefined when it is not installed. */
export async function redlockOn(url: string): Promise<LockSide | undefined> {
  const library = await importPeer<RedlockModule>('redlock');
  if (!library) return undefined;
  const client = clientOn(url);
  const redlock = new library.default([client]);
  return {
    async acquire(name) {
      const lock = await redlock.acquire([name], TTL_MS);
      return () => lock.release();
    },
    async close() {
      client.disconnect();
    },
  };
}
