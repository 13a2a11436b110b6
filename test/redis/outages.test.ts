import { describe, expect, test } from 'vitest';
import { createBatch } from '../../src/redis/batch.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { explainRedisError } from '../../src/redis/explain.ts';
import { eventually } from '../support/eventually.ts';
import { expectNoSecret, failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();

/** The promise, with its failure in Millrace's words, as the modules throw it. */
const explained = <T>(promise: Promise<T>): Promise<T> =>
  promise.catch((error: unknown) => {
    throw explainRedisError(error, 'the test');
  });

describe('a server that is killed and comes back', () => {
  test('is used again, with one line for the loss and one for the return', async () => {
    const server = own(await startRedis());
    const lines = collectLog();
    const connections = own(createConnections({ url: server.url }, lines.log));
    const commands = connections.commands();
    await commands.ping();
    expect(connections.outage()).toBeUndefined();
    let attempts = 0;
    commands.on('reconnecting', () => attempts++);
    await server.kill();
    await eventually(() => expect(attempts).toBeGreaterThan(3));
    expect(connections.outage()).toMatchObject({ code: 'REDIS_UNREACHABLE' });
    await server.startAgain();
    await eventually(() => commands.ping());
    expect(connections.outage()).toBeUndefined();
    expect(lines.told()).toEqual([
      expect.objectContaining({ level: 40, role: 'commands', code: 'REDIS_UNREACHABLE' }),
      expect.objectContaining({
        level: 30,
        role: 'commands',
        msg: expect.stringContaining('connected to Redis again'),
      }),
    ]);
  });

  test('a command that is issued meanwhile fails within its deadline, and is not run after it', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url, commandTimeout: 300 }));
    const commands = connections.commands();
    await commands.ping();
    await server.kill();
    const { value: outcome, ms } = await timed(commands.incr('count').then(String, String));
    expect(outcome).toMatch(/Command timed out|max retries/);
    expect(ms).toBeLessThan(1_000);
    const inBatch = createBatch(commands);
    const answers = [inBatch.command('INCR', 'count'), inBatch.command('INCR', 'count')];
    await inBatch.send();
    for (const answer of answers) await expect(answer).rejects.toThrow(/Redis at/);
    await server.startAgain();
    await eventually(() => commands.ping());
    expect(await commands.incr('count')).toBe(1);
  });

  test('what BullMQ sends waits until it is back', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url, commandTimeout: 100 }));
    const queue = connections.queue();
    await queue.ping();
    await server.kill();
    let attempts = 0;
    queue.on('reconnecting', () => attempts++);
    const waiting = queue.incr('count');
    await eventually(() => expect(attempts).toBeGreaterThan(4));
    await server.startAgain();
    expect(await waiting).toBe(1);
  });

  test('the search client is used again too, with a line for each', async () => {
    const server = own(await startRedis());
    const lines = collectLog();
    const connections = own(createConnections({ url: server.url }, lines.log));
    const search = await connections.search();
    expect(await search.ping()).toBe('PONG');
    await server.kill();
    await eventually(() => expect(lines.warnings()).toHaveLength(1));
    await server.startAgain();
    expect(await eventually(() => search.ping())).toBe('PONG');
    await eventually(() =>
      expect(lines.told().map(({ level, role }) => [level, role])).toEqual([
        [40, 'search'],
        [30, 'search'],
      ]),
    );
  });

  test('a subscriber hears again what is published', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    const heard: string[] = [];
    connections.subscriber().on('message', (_channel, message: string) => heard.push(message));
    await connections.subscriber().subscribe('news');
    await server.kill();
    await server.startAgain();
    await eventually(async () => expect(await server.ask((redis) => redis.publish('news', 'hello'))).toBe(1));
    await eventually(() => expect(heard).toEqual(['hello']));
  });
});

describe('an answer that is lost', () => {
  test('with its connection: the command fails at once and has run once', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const connections = own(createConnections({ url: proxy.url }));
    const commands = connections.commands();
    await commands.ping();
    proxy.loseAnswers();
    const counted = timed(failureOf(explained(commands.incr('count')), 'REDIS_UNREACHABLE'));
    await eventually(async () => expect(await server.ask((redis) => redis.get('count'))).toBe('1'));
    proxy.restore();
    proxy.cut();
    expect((await counted).ms).toBeLessThan(2_000);
    await commands.ping();
    expect(await server.ask((redis) => redis.get('count'))).toBe('1');
  });

  test('on a connection that stays: the command fails at its deadline and has run once', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const connections = own(createConnections({ url: proxy.url, commandTimeout: 300 }));
    const commands = connections.commands();
    await commands.ping();
    proxy.loseAnswers();
    const { value: error, ms } = await timed(failureOf(explained(commands.incr('count')), 'REDIS_TIMEOUT'));
    expect(error.message).toContain('whether the command ran is not known');
    expect(ms).toBeLessThan(1_000);
    proxy.restore();
    proxy.cut();
    await eventually(() => commands.ping());
    expect(await server.ask((redis) => redis.get('count'))).toBe('1');
  });

  test('of a batch: each of its promises fails, and each command has run once', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const connections = own(createConnections({ url: proxy.url }));
    await connections.commands().ping();
    proxy.loseAnswers();
    const batch = createBatch(connections.commands());
    const answers = ['a', 'b', 'c'].map((key) => batch.command('INCR', key));
    const sent = batch.send();
    await eventually(async () => expect(await server.ask((redis) => redis.get('c'))).toBe('1'));
    proxy.restore();
    proxy.cut();
    await sent;
    for (const answer of answers) await failureOf(answer, 'REDIS_UNREACHABLE');
    await connections.commands().ping();
    expect(await server.ask((redis) => redis.mget('a', 'b', 'c'))).toEqual(['1', '1', '1']);
  });

  test('of a blocking read: the read fails at once, so that its loop can go on', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const connections = own(createConnections({ url: proxy.url }));
    const loop = connections.blocking('loop');
    await loop.ping();
    const read = loop.blpop('list', 0).then(String, String);
    proxy.cut();
    expect(await read).toContain('Connection is closed');
    await server.ask((redis) => redis.rpush('list', 'item'));
    expect(await loop.blpop('list', 0)).toEqual(['list', 'item']);
  });

  test('of a command of BullMQ: it is sent again', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const connections = own(createConnections({ url: proxy.url }));
    await connections.queue().ping();
    proxy.loseAnswers();
    const counted = connections.queue().incr('count');
    await eventually(async () => expect(await server.ask((redis) => redis.get('count'))).toBe('1'));
    proxy.restore();
    proxy.cut();
    expect(await counted).toBe(2);
  });
});

test('a password that is refused appears in no error and no log line, whoever meets it', async () => {
  const secret = 'wr0ng-passw0rd';
  const server = own(await startRedis({ config: { requirepass: 'r1ght-passw0rd' } }));
  const lines = collectLog();
  const connections = own(createConnections({ url: server.url, password: secret, commandTimeout: 500 }, lines.log));
  const raw = await connections
    .commands()
    .ping()
    .then(String, (error: unknown) => error);
  const bySearch = await failureOf(connections.search(), 'REDIS_AUTH_FAILED');
  expect(connections.outage()).toMatchObject({ code: 'REDIS_AUTH_FAILED' });
  expect(lines.warnings().map(({ role, code }) => [role, code])).toContainEqual(['commands', 'REDIS_AUTH_FAILED']);
  expectNoSecret(secret, raw, bySearch, bySearch.cause, connections.outage(), lines.all());
});

describe('a server that becomes a replica', () => {
  test('refuses writes at once, with the reason, until it is a master again', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    const commands = connections.commands();
    await commands.set('key', 'value');
    await server.ask((redis) => redis.replicaof('127.0.0.1', 1));
    const { value: error, ms } = await timed(failureOf(explained(commands.set('key', 'new')), 'REDIS_WRITES_REFUSED'));
    expect(error.message).toContain('the server is a replica');
    expect(ms).toBeLessThan(1_000);
    await server.ask((redis) => redis.replicaof('NO', 'ONE'));
    expect(await commands.set('key', 'newer')).toBe('OK');
  });

  test('is left for the server that its name leads to now', async () => {
    const [before, after] = [own(await startRedis()), own(await startRedis())];
    const front = own(await startProxy(before.port));
    const connections = own(createConnections({ url: front.url }));
    await connections.commands().set('key', 'value');
    await before.ask((redis) => redis.replicaof('127.0.0.1', after.port));
    front.leadTo(after.port);
    await failureOf(explained(connections.commands().set('key', 'refused')), 'REDIS_WRITES_REFUSED');
    await connections.commands().set('key', 'written');
    expect(await after.ask((redis) => redis.get('key'))).toBe('written');
  });
});
