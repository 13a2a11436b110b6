/** What a test opens is closed after it, the latest first, before the leak check looks. */
import { afterAll, afterEach } from 'vitest';

export type Own = <T extends Closable>(thing: T) => T;

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
export function ownedByTest(): Own {
  return owned(afterEach);
}

/** The same for what the tests of a file share, made in a hook before the first of them. */
export function ownedByFile(): Own {
  return owned(afterAll);
}

function owned(after: (close: () => Promise<void>) => void): Own {
  const things: Closable[] = [];
  after(async () => {
    for (const thing of things.splice(0).toReversed()) await ('stop' in thing ? thing.stop() : thing.close());
  });
  return (thing) => {
    things.push(thing);
    return thing;
  };
}
