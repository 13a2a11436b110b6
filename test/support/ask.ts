/** One question to a server that a test did not start itself. */
import { Redis } from 'ioredis';

/** Connects, asks, and hangs up. Rejects when nobody answers. */
export async function ask<T>(
  where: { port: number } | { path: string },
  question: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis({ ...where, lazyConnect: true, enableReadyCheck: false, retryStrategy: () => null });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
