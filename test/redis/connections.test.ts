import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostname } from 'node:os';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { numberIn } from '../../src/redis/server-info.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** Opens one client of each role, and uses it. */
async function useAll(connections: Connections): Promise<void> {
  await connections.queue().ping();
  await connections.commands().ping();
  await connections.subscriber().subscribe('news');
  await connections.blocking('orders').ping();
  await (await connections.search()).ping();
}

/** Who is still connected once closing has had its time. */
const whoIsLeft = (): Promise<string[]> =>
  eventually(async () => {
    const names = (await clientsOf(server)).map(({ name }) => name);
    if (names.length > 0) throw new Error(`still connected: ${names.join()}`);
    return names;
  });

describe('opening', () => {
  test('nothing is opened before its first use', async () => {
    const connections = own(createConnections({ url: server.url }));
    const clients = [connections.queue(), connections.commands(), connections.subscriber(), connections.blocking('a')];
    expect(await clientsOf(server)).toEqual([]);
    await connections.commands().ping();
    expect(await clientsOf(server)).toHaveLength(1);
    expect(clients.map(({ status }) => status)).toEqual(['wait', 'ready', 'wait', 'wait']);
  });

  test('each connection is named after its role, with the protocol that the role needs', async () => {
    const connections = own(createConnections({ url: server.url, name: 'shop' }));
    await useAll(connections);
    const owner = `${hostname()}:${process.pid}`;
    expect(await clientsOf(server)).toMatchObject([
      { name: `shop:queue:${owner}`, protocol: '3' },
      { name: `shop:commands:${owner}`, protocol: '3' },
      { name: `shop:subscriber:${owner}`, protocol: '2' },
      { name: `shop:blocking:orders:${owner}`, protocol: '3' },
      { name: `shop:search:${owner}`, protocol: '3' },
    ]);
  });

  test('a purpose that CLIENT SETNAME would refuse is spelt differently, not dropped', async () => {
    const connections = own(createConnections({ url: server.url }));
    await connections.blocking('new orders\n{eu}').ping();
    expect((await clientsOf(server))[0]?.name).toMatch(/^millrace:blocking:new-orders--eu-:/);
  });

  test('a role has one client, and each blocking loop its own', async () => {
    const connections = own(createConnections({ url: server.url }));
    expect(connections.queue()).toBe(connections.queue());
    expect(connections.commands()).toBe(connections.commands());
    expect(connections.subscriber()).toBe(connections.subscriber());
    expect(connections.blocking('a')).not.toBe(connections.blocking('a'));
    const searches = await Promise.all([connections.search(), connections.search()]);
    expect(searches[0]).toBe(searches[1]);
    expect((await clientsOf(server)).map(({ name }) => name.split(':')[1])).toEqual(['search']);
  });

  test('the user, password and database of the URL hold for every role', async () => {
    await server.ask((redis) => redis.acl('SETUSER', 'worker', 'on', '>pa:ss@wörd', '~*', '&*', '+@all'));
    const password = encodeURIComponent('pa:ss@wörd');
    const connections = own(createConnections({ url: `redis://worker:${password}@${server.address}/7` }));
    expect((await connections.verify()).role).toBe('master');
    await useAll(connections);
    expect((await clientsOf(server)).map(({ user, database }) => `${user} ${database}`)).toEqual(
      Array.from({ length: 5 }, () => 'worker 7'),
    );
  });

  test('a Unix socket works for every role', async () => {
    const connections = own(createConnections({ url: `unix://${server.socketPath}`, database: 2 }));
    expect(connections.label).toBe(`unix://${server.socketPath}`);
    await connections.verify();
    await useAll(connections);
    expect((await clientsOf(server)).map(({ database }) => database)).toEqual(['2', '2', '2', '2', '2']);
  });

  test('a search client that cannot connect says why, and the next call tries again', async () => {
    const other = own(await startRedis());
    const connections = own(createConnections({ url: other.url }));
    await other.kill();
    const error = await failureOf(connections.search(), 'REDIS_UNREACHABLE');
    expect(error.message).toContain('nothing listens there');
    await other.startAgain();
    expect(await (await connections.search()).ping()).toBe('PONG');
  });
});

describe('commands in flight', () => {
  test.each(['commands', 'queue'] as const)('of the role %s travel together, and each has its answer', async (role) => {
    const connections = own(createConnections({ url: server.url }));
    const client = connections[role]();
    await client.ping();
    await server.ask((redis) => redis.config('RESETSTAT'));
    const echo = async (text: string): Promise<string> => client.echo(text);
    const words = Array.from({ length: 1_000 }, (_, index) => `word ${index}`);
    expect(await Promise.all(words.map(echo))).toEqual(words);
    // The server counts how often it reads from a socket.
    expect(numberIn(await server.info(), 'total_reads_processed')).toBeLessThan(100);
  });

  test('have been sent when the connection is ended in the same tick', async () => {
    const client = createConnections({ url: server.url }).commands();
    await client.ping();
    const answers = Promise.allSettled(['a', 'b', 'c'].map((key) => client.set(`farewell:${key}`, '1')));
    client.disconnect();
    await answers;
    await eventually(async () =>
      expect(await server.ask((redis) => redis.exists('farewell:a', 'farewell:b', 'farewell:c'))).toBe(3),
    );
  });
});

describe('closing', () => {
  test('ends what was opened, the latest first', async () => {
    const connections = createConnections({ url: server.url });
    await useAll(connections);
    const ended: string[] = [];
    connections.queue().once('end', () => ended.push('queue'));
    connections.commands().once('end', () => ended.push('commands'));
    connections.subscriber().once('end', () => ended.push('subscriber'));
    (await connections.search()).on('end', () => ended.push('search'));
    await connections.close();
    expect(ended).toEqual(['search', 'subscriber', 'commands', 'queue']);
    expect(await whoIsLeft()).toEqual([]);
  });

  test('waits for the answers to what is under way', async () => {
    const connections = createConnections({ url: server.url });
    const answers = Promise.all(Array.from({ length: 100 }, () => connections.commands().incr('under-way')));
    await connections.commands().ping();
    await connections.close();
    expect(await answers).toHaveLength(100);
  });

  test('does not wait for a blocking read', async () => {
    const connections = createConnections({ url: server.url });
    const read = connections.blocking('loop').blpop('nothing', 0);
    const outcome = read.then(String, String);
    await eventually(async () => expect(await clientsOf(server)).toHaveLength(1));
    expect((await timed(connections.close())).ms).toBeLessThan(900);
    expect(await outcome).toContain('Connection is closed');
  });

  test('is safe before anything was opened, and twice', async () => {
    const unused = createConnections({ url: server.url });
    unused.commands();
    await unused.close();
    const connections = createConnections({ url: server.url });
    await useAll(connections);
    await Promise.all([connections.close(), connections.close()]);
    await connections.close();
    expect(await whoIsLeft()).toEqual([]);
  });

  test('leaves an error that says so to whoever still asks', async () => {
    const connections = createConnections({ url: server.url });
    const commands = connections.commands();
    await connections.close();
    expect(() => connections.queue()).toThrow('the connections to Redis have been closed');
    expect(() => connections.commands()).toThrow('have been closed');
    expect(() => connections.subscriber()).toThrow('have been closed');
    expect(() => connections.blocking('loop')).toThrow('have been closed');
    await failureOf(connections.search(), 'CLOSED');
    await failureOf(connections.capabilities(), 'CLOSED');
    await expect(commands.ping()).rejects.toThrow('Connection is closed');
  });

  test('skips a client that its owner has closed before', async () => {
    const connections = createConnections({ url: server.url });
    const loop = connections.blocking('loop');
    await loop.ping();
    loop.disconnect();
    await connections.close();
    expect(await whoIsLeft()).toEqual([]);
  });

  test('takes no longer than two seconds when the server is frozen', async () => {
    const frozen = own(await startRedis());
    const connections = createConnections({ url: frozen.url });
    await useAll(connections);
    frozen.freeze();
    const unanswered = connections.commands().ping().then(String, String);
    expect((await timed(connections.close())).ms).toBeLessThan(2_000);
    expect(await unanswered).toContain('Connection is closed');
  });

  test('ends the attempts to connect again', async () => {
    const lines = collectLog();
    const lost = own(await startRedis());
    const connections = createConnections({ url: lost.url }, lines.log);
    await useAll(connections);
    await lost.kill();
    await eventually(() => expect(connections.queue().status).toBe('reconnecting'));
    const waiting = connections.queue().ping().then(String, String);
    expect((await timed(connections.close())).ms).toBeLessThan(1_000);
    expect(await waiting).toContain('Connection is closed');
    expect(lines.told().filter(({ msg }) => msg.includes('again'))).toEqual([]);
  });

  test('while the search client connects ends that attempt', async () => {
    const frozen = own(await startRedis());
    frozen.freeze();
    const connections = createConnections({ url: frozen.url });
    const connecting = failureOf(connections.search(), 'CLOSED');
    expect((await timed(Promise.all([connections.close(), connecting]))).ms).toBeLessThan(2_000);
  });
});
