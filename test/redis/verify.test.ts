import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { expectNoSecret, failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';
import { startStranger, startWebServer } from '../support/strangers.ts';

const own = ownedByTest();
const SECRET = 'wr0ng-passw0rd';
const { tooOld } = inject('servers');

/** verify() must fail with one error, at once, and say nothing besides. */
async function failsAtOnce(options: RedisOptions, code: Parameters<typeof failureOf>[1]) {
  const lines = collectLog();
  const connections = own(createConnections(options, lines.log));
  const { value: error, ms } = await timed(failureOf(connections.verify(), code));
  expect(ms).toBeLessThan(2_000);
  expect(lines.all()).toEqual([]);
  return error;
}

describe('an address where no Redis answers', () => {
  test('nothing listens there', async () => {
    const port = await freePort();
    const error = await failsAtOnce({ url: `redis://:${SECRET}@127.0.0.1:${port}` }, 'REDIS_UNREACHABLE');
    expect(error.message).toContain(`redis://127.0.0.1:${port}/0: nothing listens there`);
    expectNoSecret(SECRET, error);
  });

  test('the host is not known', async () => {
    const error = await failsAtOnce({ url: 'redis://redis.invalid:6379' }, 'REDIS_UNREACHABLE');
    expect(error.message).toContain('the host name is not known');
  });

  test('there is no such socket', async () => {
    const error = await failsAtOnce({ url: 'unix:///nowhere/redis.sock' }, 'REDIS_UNREACHABLE');
    expect(error.message).toContain('there is no such socket');
  });

  test('a web server answers', async () => {
    const server = own(await startWebServer());
    const error = await failsAtOnce({ url: `redis://:${SECRET}@127.0.0.1:${server.port}` }, 'REDIS_NOT_REDIS');
    expect(error.message).toContain('not a Redis server');
    expect(server.visits).toBe(1);
    expectNoSecret(SECRET, error);
  });

  test.each([
    ['SSH', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['SMTP', '220 mail.example.org ESMTP\r\n'],
    ['MySQL', '\u004a\u0000\u0000\u0000\u000a8.0.36\u0000'],
  ])('a server that greets in %s', async (_name, greeting) => {
    const server = own(await startStranger(greeting));
    const error = await failsAtOnce({ url: server.url }, 'REDIS_NOT_REDIS');
    expect(error.message).toContain(`redis://127.0.0.1:${server.port}/0`);
    expect(server.visits).toBe(1);
  });

  test('something listens and never answers', async () => {
    const server = own(await startStranger());
    const connections = own(createConnections({ url: server.url, connectTimeout: 300 }));
    const { value: error, ms } = await timed(failureOf(connections.verify(), 'REDIS_TIMEOUT'));
    expect(error.message).toContain('has not answered in 300 ms');
    expect(ms).toBeGreaterThan(250);
    expect(ms).toBeLessThan(2_000);
    expect(server.visits).toBe(1);
  });

  test('the server is frozen', async () => {
    const server = own(await startRedis());
    server.freeze();
    const connections = own(createConnections({ url: server.url, connectTimeout: 300 }));
    const { value: error, ms } = await timed(failureOf(connections.verify(), 'REDIS_TIMEOUT'));
    expect(error.message).toContain('a frozen server');
    expect(ms).toBeLessThan(2_000);
  });
});

describe('a server that does not let us in', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis({ config: { requirepass: 'r1ght-passw0rd' } });
    await server.ask(async (redis) => {
      await redis.acl('SETUSER', 'blind', 'on', `>${SECRET}`, '~*', '&*', '+@all', '-info');
      await redis.acl('SETUSER', 'worker', 'on', `>${SECRET}`, '~*', '&*', '+@all', '-@admin');
    });
  });
  afterAll(() => server.stop());

  test('the password is wrong', async () => {
    const error = await failsAtOnce({ url: server.url, password: SECRET }, 'REDIS_AUTH_FAILED');
    expect(error.message).toContain('REDIS_PASSWORD');
    expectNoSecret(SECRET, error, error.cause);
  });

  test('the user in the URL is unknown', async () => {
    const url = `redis://nobody:${SECRET}@${server.address}`;
    const error = await failsAtOnce({ url }, 'REDIS_AUTH_FAILED');
    expect(error.message).toContain('REDIS_USERNAME');
    expectNoSecret(SECRET, error, error.cause);
  });

  test('the password is missing', async () => {
    const error = await failsAtOnce({ url: server.url }, 'REDIS_AUTH_FAILED');
    expect(error.message).toContain('NOAUTH');
  });

  test('the user may not run INFO', async () => {
    const error = await failsAtOnce({ url: server.url, username: 'blind', password: SECRET }, 'REDIS_FORBIDDEN');
    expect(error.message).toContain(`'info'`);
    expectNoSecret(SECRET, error, error.cause);
  });

  test('a user with enough rights is let in', async () => {
    const connections = own(createConnections({ url: server.url, username: 'worker', password: SECRET }));
    expect(await connections.verify()).toMatchObject({ mode: 'standalone', role: 'master' });
  });
});

describe('a server that will not do', () => {
  test('it is too old', async (context) => {
    if (typeof tooOld === 'string') skipBecause(context, tooOld);
    const server = own(await startRedis({ binary: tooOld }));
    const error = await failsAtOnce({ url: server.url }, 'REDIS_TOO_OLD');
    expect(error.message).toContain(`Redis ${tooOld.version} is too old; Redis 7.2, Valkey 8.0 or newer is needed`);
    expect(error.facts).toMatchObject({ version: tooOld.version, oldest: '7.2' });
    const connections = own(createConnections({ url: server.url }));
    expect((await connections.verify({ oldest: '7.0' })).version).toBe(tooOld.version);
  });

  test('it is a replica', async () => {
    const server = own(await startRedis());
    await server.ask((redis) => redis.replicaof('127.0.0.1', 1));
    const error = await failsAtOnce({ url: server.url }, 'REDIS_WRITES_REFUSED');
    expect(error.message).toContain('replica');
  });

  test('it has no such database', async () => {
    const server = own(await startRedis());
    const error = await failsAtOnce({ url: `${server.url}/99` }, 'REDIS_FAILED');
    expect(error.message).toContain('DB index is out of range');
    expect(await createConnections({ url: `${server.url}/15` }).verify()).toMatchObject({ role: 'master' });
  });

  test('it is a Sentinel', async () => {
    const sentinel = own(await startRedis({ isSentinel: true }));
    const error = await failsAtOnce({ url: sentinel.url }, 'REDIS_WRONG_TOPOLOGY');
    expect(error.message).toContain('this is a Sentinel; set REDIS_SENTINELS and REDIS_MASTER_NAME');
  });

  test('it is a node of a Cluster', async () => {
    const node = own(await startRedis({ config: { 'cluster-enabled': 'yes', 'cluster-port': await freePort() } }));
    const error = await failsAtOnce({ url: node.url }, 'REDIS_WRONG_TOPOLOGY');
    expect(error.message).toContain('this is a Cluster node; list the nodes in REDIS_CLUSTER_NODES');
  });

  test('it is a single server where a Cluster is expected', async () => {
    const server = own(await startRedis());
    const error = await failsAtOnce({ cluster: [server.address] }, 'REDIS_WRONG_TOPOLOGY');
    expect(error.message).toContain('set REDIS_URL instead of REDIS_CLUSTER_NODES');
  });

  test('it is a single server where Sentinels are expected', async () => {
    const server = own(await startRedis());
    const options = { sentinels: [server.address], masterName: 'mymaster' };
    const error = await failsAtOnce(options, 'REDIS_WRONG_TOPOLOGY');
    expect(error.message).toContain('not a Sentinel; list Sentinels (port 26379 as a rule) in REDIS_SENTINELS');
  });
});

test('a server that may evict jobs works, with one warning', async () => {
  const server = own(await startRedis({ config: { 'maxmemory-policy': 'allkeys-lru' } }));
  const lines = collectLog();
  await createConnections({ url: server.url }, lines.log).verify();
  expect(lines.all()).toHaveLength(1);
  expect(lines.all()[0]).toMatchObject({ level: 40, policy: 'allkeys-lru' });
  expect(lines.all()[0]?.msg).toContain('set it to noeviction');
});
