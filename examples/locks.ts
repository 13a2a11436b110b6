/**
 * Two workers and one ledger: one at a time, in order, and an entry by a holder that has lost its lock is refused.
 *
 *   node --conditions=millrace-source --import tsx examples/locks.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
try {
  const { locks } = platform;
  const fence = locks.fence('examples.ledger');
  let balance = 0;

  // Read, think, write: without the lock, most of these would be lost.
  const deposit = (amount: number): Promise<void> =>
    locks.using('examples.ledger', { ttl: '5s' }, async (lock) => {
      const before = balance;
      await new Promise((resolve) => setTimeout(resolve, 2));
      lock.assertHeld();
      const { accepted } = await fence.check(lock.token);
      if (accepted) balance = before + amount;
    });
  await Promise.all(Array.from({ length: 20 }, () => deposit(5)));
  console.log('balance', balance);

  // An operator puts a holder out; the next one is granted the lock, and the first is told.
  const stuck = await locks.acquire('examples.ledger');
  const next = locks.acquire('examples.ledger');
  while ((await locks.inspect('examples.ledger')).waiting === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await locks.forceRelease('examples.ledger');
  const lock = await next;
  await fence.check(lock.token);
  console.log('older holder accepted', (await fence.check(stuck.token)).accepted);
  console.log('releases', await stuck.release(), await lock.release());

  // Three at a time, whoever asks.
  const seats = locks.semaphore('examples.seats', { permits: 3 });
  let seated = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 9 }, () =>
      seats.using(async () => {
        most = Math.max(most, ++seated);
        await new Promise((resolve) => setTimeout(resolve, 5));
        seated--;
      }),
    ),
  );
  console.log('most at once', most);
} finally {
  await platform.stop();
}
