/** A lock that is granted only once replicas have it. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

const own = ownedByTest();
const locksOf = ownedLocks();

test('replicas that have the lock let it pass; too few give it back, and say so', async () => {
  const master = own(await startRedis());
  const replica = own(await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } }));
  await eventually(async () => {
    expect((await replica.info()).fields.get('master_link_status')).toBe('up');
  });
  const { locks } = locksOf({ url: master.url });
  const lock = await locks.acquire('replicated', { waitReplicas: { count: 1, within: '5s' } });
  expect(await replica.ask((redis) => redis.get('millrace:lock:{replicated}'))).toContain(`|${lock.token}`);
  expect(lock.held).toBe(true);
  expect(await lock.release()).toBe('released');

  const error = await failureOf(
    locks.acquire('replicated', { waitReplicas: { count: 2, within: 100 } }),
    'LOCK_REPLICAS_MISSING',
  );
  expect(error.facts).toMatchObject({ wanted: 2, acknowledged: 1 });
  expect((await locks.inspect('replicated')).holder).toBeUndefined();

  replica.freeze();
  try {
    const { ms } = await timed(
      failureOf(
        locks.using('frozen', { waitReplicas: { count: 1, within: 100 } }, () => 0),
        'LOCK_REPLICAS_MISSING',
      ),
    );
    expect(ms).toBeLessThan(1_000);
  } finally {
    replica.thaw();
  }
  expect((await locks.inspect('frozen')).holder).toBeUndefined();
});
