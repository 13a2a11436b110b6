/** The search client comes back too when a server stops in the handshake, and keeps a connection on which nothing is asked. */
import { describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { startForFile } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const SHORT = { connectTimeout: 250, commandTimeout: 250 };

test.each([0, 20])('a server that stops after %i bytes of its answers is an error, and asked again', async (bytes) => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const connections = own(createConnections({ url: proxy.url, ...SHORT }));
  proxy.fallSilentAfter(bytes);
  await failureOf(connections.search(), 'REDIS_UNREACHABLE');
  proxy.restore();
  expect(await eventually(async () => (await connections.search()).ping())).toBe('PONG');
});

test.each([0, 20])('a server that stops after %i bytes when the client comes back is given up', async (bytes) => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const connections = own(createConnections({ url: proxy.url, ...SHORT }));
  const search = await eventually(() => connections.search());
  proxy.fallSilentAfter(bytes);
  proxy.cut();
  const before = proxy.accepted;
  await eventually(() => expect(proxy.accepted).toBeGreaterThan(before + 2), 10_000);
  proxy.restore();
  expect(await eventually(() => search.ping())).toBe('PONG');
});

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);

  /** The connections of the search client, by the numbers that the servers gave them. */
  async function connected(): Promise<string[]> {
    const lists = topologyOf().servers.map((server) =>
      server.ask((redis) => redis.call('CLIENT', 'LIST') as Promise<string>),
    );
    const lines = (await Promise.all(lists)).join('').split('\n');
    return lines.filter((line) => line.includes(':search:')).map((line) => line.split(' ', 2).join(' '));
  }

  test('a connection on which nothing is asked stays', async () => {
    const deadlines = { connectTimeout: 2_000, commandTimeout: 2_000 };
    const search = await own(createConnections({ ...topologyOf().redis, ...deadlines })).search();
    await search.ping();
    const before = await connected();
    expect(before).not.toHaveLength(0);
    await new Promise((resolve) => setTimeout(resolve, 5_000)); // Two deadlines and more.
    expect(await connected()).toEqual(expect.arrayContaining(before));
  });
});
