/** Waits for what must become true, instead of sleeping for luck. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * The first value that `look` gives without throwing; its last error once `withinMs` have passed.
 *
 * @example
 * await eventually(async () => expect(await redis.get('key')).toBe('value'));
 */
export async function eventually<T>(look: () => T | Promise<T>, withinMs = 30_000): Promise<T> {
  const start = performance.now();
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() - start > withinMs) throw error;
      await delay(10);
    }
  }
}
