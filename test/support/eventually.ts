/** Waits for what must become true, instead of sleeping for luck. */
import { setTimeout as delay } from 'node:timers/promises';

/** Each look costs the processor that is waited for: the longer it has taken already, the less a pause adds. */
const [SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS] = [10, 50];

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
      const waitedMs = performance.now() - start;
      if (waitedMs > withinMs) throw error;
      await delay(Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS + waitedMs / 10));
    }
  }
}
