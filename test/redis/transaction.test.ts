import { describe, expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { startForFile } from '../contract/topologies.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();

describe.each(['standalone', 'sentinel', 'cluster'] as const)('a transaction client on %s', (topology) => {
  const running = startForFile(topology);

  test('is on the server that takes the writes of the key, and watches', async () => {
    const connections = own(createConnections(running().redis));
    for (const key of ['{a}:1', '{b}:1', '{c}:1', '{d}:1']) {
      const client = await connections.transaction(key);
      await client.watch(key);
      expect(await client.multi().set(key, 'one').exec()).toEqual([[null, 'OK']]);
      await client.watch(key);
      await connections.commands().set(key, 'two');
      expect(await client.multi().set(key, 'three').exec()).toBeNull();
      expect(await connections.commands().get(key)).toBe('two');
      expect((await running().masterOf(key)).port).toBe(client.stream.remotePort);
      client.disconnect();
    }
  });
});

describe('a transaction client', () => {
  test('whose connection is lost never comes back', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    const client = await connections.transaction('key');
    await client.watch('key');
    const names = (await clientsOf(server)).map(({ name }) => name);
    expect(names).toEqual([expect.stringMatching(/^millrace:transaction:/)]);
    await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    await eventually(() => expect(client.status).toBe('end'));
    await expect(client.multi().set('key', 'unguarded').exec()).rejects.toThrow(/closed/i);
    await expect(client.get('key')).rejects.toThrow(/closed/i);
    expect(await server.ask((redis) => redis.get('key'))).toBeNull();
    const next = await connections.transaction('key');
    expect(await next.ping()).toBe('PONG');
  });

  test('that cannot connect fails, and tries no more', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    await server.kill();
    const client = await connections.transaction('key');
    await expect(client.ping()).rejects.toThrow(/closed/i);
    await server.startAgain();
    await expect(client.ping()).rejects.toThrow(/closed/i);
  });

  test('has the deadline of commands', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url, commandTimeout: 200 }));
    const client = await connections.transaction('key');
    await client.ping();
    server.freeze();
    await expect(client.watch('key')).rejects.toThrow(/closed/i);
    server.thaw();
    await eventually(() => expect(client.status).toBe('end'));
  });

  test('is closed with the connections, which then give no more', async () => {
    const server = own(await startRedis());
    const connections = createConnections({ url: server.url });
    const client = await connections.transaction('key');
    await client.ping();
    await connections.close();
    expect(client.status).toBe('end');
    await failureOf(connections.transaction('key'), 'CLOSED');
  });
});
