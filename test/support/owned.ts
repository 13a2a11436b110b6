/** What a test opens is closed after it, the latest first, before the leak check looks. */
import { afterEach } from 'vitest';

type Closable = { stop: () => Promise<unknown> } | { close: () => Promise<unknown> };

/**
 * A function that remembers what is passed through it, for the tests of the file (or describe block) that called it.
 *
 * @example
 * const own = ownedByTest();
 * test('...', async () => {
 *   const server = own(await startRedis());
 *   const connections = own(createConnections({ url: server.url }));
 * });
 */
export function ownedByTest(): <T extends Closable>(thing: T) => T {
  const things: Closable[] = [];
  afterEach(async () => {
    for (const thing of things.splice(0).toReversed()) await ('stop' in thing ? thing.stop() : thing.close());
  });
  return (thing) => {
    things.push(thing);
    return thing;
  };
}
