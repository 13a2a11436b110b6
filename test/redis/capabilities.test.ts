import { describe, expect, inject, test } from 'vitest';
import { FEATURES, requireFeature, type Feature } from '../../src/redis/capabilities.ts';
import { createConnections } from '../../src/redis/connect.ts';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { isAtLeast } from '../../src/redis/server-info.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { skipBecause } from '../support/skips.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
const { main, valkey, tooOld } = inject('servers');

const capabilitiesOf = (server: TestServer) => own(createConnections({ url: server.url })).capabilities();

async function hasCommand(server: TestServer, command: string): Promise<boolean> {
  const reply = await server.ask((redis) => redis.call('COMMAND', 'INFO', command) as Promise<unknown[]>);
  return reply[0] !== null;
}

/** Whether the server takes the command. */
function works(server: TestServer, command: string, ...args: string[]): Promise<boolean> {
  return server.ask((redis) =>
    redis.call(command, ...args).then(
      () => true,
      () => false,
    ),
  );
}

describe.each([
  ['the server of the suite', main],
  ['Valkey 8', valkey],
  ['Redis 7.0', tooOld],
] as Array<[string, ServerBinary | string]>)('%s', (_name, binary) => {
  test('is told what it is, and has the commands that it is said to have', async (context) => {
    if (typeof binary === 'string') skipBecause(context, binary);
    const server = own(await startRedis({ binary }));
    const { features, ...rest } = await capabilitiesOf(server);
    expect(rest).toEqual({ kind: binary.kind, version: binary.version, topology: 'standalone' });
    const byCommand: Record<string, boolean> = {};
    for (const [name, probe] of Object.entries(FEATURES)) {
      const hasIt = await hasCommand(server, probe.command);
      // An argument, or a release, may be missing where the command is there; never the other way round.
      const isMore = 'argument' in probe || 'releases' in probe;
      byCommand[name] = isMore ? hasIt && features[name as Feature] : hasIt;
    }
    expect(features).toEqual(byCommand);
  });
});

describe('by try', () => {
  test('Redis 7.0 lacks what came later', async (context) => {
    if (typeof tooOld === 'string') skipBecause(context, tooOld);
    const server = own(await startRedis({ binary: tooOld }));
    await server.ask((redis) => redis.zadd('ranks', 1, 'one'));
    const { features } = await capabilitiesOf(server);
    expect(features).toMatchObject({
      shardedPubSub: true,
      rankWithScore: false,
      hashFieldTtl: false,
      vectorSets: false,
    });
    expect(await works(server, 'ZRANK', 'ranks', 'one', 'WITHSCORE')).toBe(false);
    expect(Object.entries(features).flatMap(([name, isThere]) => (isThere ? [name] : []))).toEqual(['shardedPubSub']);
  });

  test('Valkey 8 has ZRANK WITHSCORE and SET IFEQ, and no TTL on hash fields', async (context) => {
    if (typeof valkey === 'string') skipBecause(context, valkey);
    const server = own(await startRedis({ binary: valkey }));
    await server.ask((redis) => redis.zadd('ranks', 1, 'one'));
    await server.ask((redis) => redis.set('text', 'old'));
    const { features } = await capabilitiesOf(server);
    expect(features).toMatchObject({
      rankWithScore: true,
      hashFieldTtl: false,
      vectorSets: false,
      queryEngine: false,
    });
    expect(await works(server, 'ZRANK', 'ranks', 'one', 'WITHSCORE')).toBe(true);
    expect(await works(server, 'SET', 'text', 'new', 'IFEQ', 'old')).toBe(features.setIfEqual);
    expect(features.setIfEqual).toBe(isAtLeast(valkey.version, '8.1'));
  });

  test('Redis 8 has vector sets, a TTL on hash fields and ZRANK WITHSCORE', async (context) => {
    if (main.kind === 'valkey' || !isAtLeast(main.version, '8.0'))
      skipBecause(context, `the suite runs on ${main.kind} ${main.version}`);
    const server = own(await startRedis());
    await server.ask((redis) => redis.zadd('ranks', 1, 'one'));
    const { features } = await capabilitiesOf(server);
    expect(features).toMatchObject({
      vectorSets: true,
      hashFieldTtl: true,
      hashFieldSetWithTtl: true,
      rankWithScore: true,
    });
    expect(await works(server, 'VADD', 'vectors', 'VALUES', '2', '1', '0', 'element')).toBe(true);
    expect(await works(server, 'ZRANK', 'ranks', 'one', 'WITHSCORE')).toBe(true);
    await server.ask((redis) => redis.set('text', 'old'));
    expect(await works(server, 'SET', 'text', 'new', 'IFEQ', 'old')).toBe(features.setIfEqual);
    expect(await works(server, 'VSIM', 'vectors', 'ELE', 'element', 'WITHATTRIBS')).toBe(
      features.vectorSearchAttributes,
    );
    expect(await works(server, 'XTRIM', 'stream', 'MAXLEN', '1', 'ACKED')).toBe(features.trimAcknowledged);
  });
});

describe('asking', () => {
  test('is done once, and once more after the connection was lost', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    const asked = () => commandCount([server], 'command|info');
    await Promise.all([connections.capabilities(), connections.capabilities()]);
    await connections.capabilities();
    expect(await asked()).toBe(1);
    await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    await eventually(async () => {
      await connections.capabilities();
      expect(await asked()).toBe(2);
    });
    await connections.capabilities();
    expect(await asked()).toBe(2);
  });

  test('sees that the server was replaced by one that can do less', async (context) => {
    if (typeof tooOld === 'string') skipBecause(context, tooOld);
    const [server, older] = [own(await startRedis()), own(await startRedis({ binary: tooOld }))];
    const front = own(await startProxy(server.port));
    const connections = own(createConnections({ url: front.url }));
    expect((await connections.capabilities()).version).toBe(main.version);
    front.leadTo(older.port);
    front.cut();
    await eventually(async () => expect((await connections.capabilities()).version).toBe(tooOld.version));
  });

  test('fails with the cause while the server is down, and is tried again by the next call', async () => {
    const server = own(await startRedis());
    await server.kill();
    const connections = own(createConnections({ url: server.url, commandTimeout: 300 }));
    await expect(connections.capabilities()).rejects.toMatchObject({ name: 'MillraceError' });
    await server.startAgain();
    expect((await eventually(() => connections.capabilities())).version).toBe(main.version);
  });

  test('without the right to COMMAND DOCS is forbidden, by name', async () => {
    const server = own(await startRedis());
    await server.ask((redis) => redis.acl('SETUSER', 'narrow', 'on', '>narrow', '~*', '+@all', '-command|docs'));
    const connections = own(createConnections({ url: server.url, username: 'narrow', password: 'narrow' }));
    const error = await failureOf(connections.capabilities(), 'REDIS_FORBIDDEN');
    expect(error.message).toContain(`'command|docs'`);
  });
});

test('a feature that is missing is an error that names it, the server and who has it', async () => {
  const features = Object.fromEntries(Object.keys(FEATURES).map((name) => [name, name === 'digest'])) as Record<
    Feature,
    boolean
  >;
  const capabilities = { kind: 'valkey', version: '8.1.3', topology: 'standalone', features } as const;
  expect(() => requireFeature(capabilities, 'digest')).not.toThrow();
  const asking = Promise.resolve().then(() => requireFeature(capabilities, 'vectorSets'));
  const error = await failureOf(asking, 'CAPABILITY_MISSING');
  expect(error.message).toBe('Valkey 8.1.3 does not have vector sets (VADD, VSIM); that takes Redis 8.0');
  expect(error.facts).toEqual({ feature: 'vectorSets', server: 'Valkey 8.1.3', since: 'Redis 8.0' });
});
