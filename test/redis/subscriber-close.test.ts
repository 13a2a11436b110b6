/** A process may stop right after a reconnect, while its subscriptions are on their way: that must not be an unhandled rejection. */
import { expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();

test('closing while subscriptions have no answer yet rejects nothing that nobody waits for', async () => {
  const server = own(await startRedis());
  const connections = createConnections({ url: server.url });
  const subscriber = connections.subscriber();
  await subscriber.subscribe('news');
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', onUnhandled);
  try {
    server.freeze();
    void subscriber.subscribe('more');
    void subscriber.psubscribe('more.*');
    await connections.close();
    await eventually(() => expect(subscriber.status).toBe('end'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', onUnhandled);
    server.thaw();
  }
});

test('whoever waits for a subscription is told that it failed', async () => {
  const server = own(await startRedis());
  const connections = createConnections({ url: server.url });
  const subscriber = connections.subscriber();
  await subscriber.subscribe('news');
  server.freeze();
  try {
    const more = subscriber.subscribe('more');
    await Promise.all([expect(more).rejects.toThrow('Connection is closed'), connections.close()]);
  } finally {
    server.thaw();
  }
});
