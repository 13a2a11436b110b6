import * as fc from 'fast-check';
import { describe, expect, inject, test } from 'vitest';
import { isAtLeast, numberIn, parseInfo, serverName } from '../../src/redis/server-info.ts';
import { startRedis } from '../support/servers.ts';

const reply = (...lines: string[]): string => lines.join('\r\n');

describe('INFO', () => {
  test('of a Redis is read into fields', () => {
    const info = parseInfo(
      reply(
        '# Server',
        'redis_version:8.0.2',
        'redis_mode:standalone',
        'run_id:abc',
        'process_id:4711',
        '',
        '# Replication',
        'role:master',
        'executable:/opt/a:b',
        'empty:',
      ),
    );
    expect(info).toMatchObject({
      kind: 'redis',
      version: '8.0.2',
      runId: 'abc',
      processId: 4711,
      mode: 'standalone',
      role: 'master',
    });
    expect([info.fields.get('executable'), info.fields.get('empty'), info.fields.get('# Server')]).toEqual([
      '/opt/a:b',
      '',
      undefined,
    ]);
    expect(serverName(info)).toBe('Redis 8.0.2');
  });

  test("of a Valkey has Valkey's own version", () => {
    const info = parseInfo(reply('redis_version:7.2.4', 'valkey_version:8.1.1', 'server_mode:cluster', 'role:slave'));
    expect(info).toMatchObject({ kind: 'valkey', version: '8.1.1', mode: 'cluster', role: 'slave' });
    expect(serverName(info)).toBe('Valkey 8.1.1');
  });

  test('that says nothing is a server of no version', () => {
    expect(parseInfo('')).toMatchObject({
      kind: 'redis',
      version: '0.0.0',
      runId: '',
      processId: 0,
      mode: 'standalone',
      role: 'master',
    });
  });

  test('of the server that the suite runs on is read', async () => {
    const { main } = inject('servers');
    const server = await startRedis();
    const info = await server.info();
    expect([info.kind, info.version, info.processId]).toEqual([main.kind, main.version, server.pid]);
    expect(numberIn(info, 'tcp_port')).toBe(server.port);
    await server.restart();
    expect((await server.info()).runId).not.toBe(info.runId);
    await server.stop();
  });

  test('a field that is no number, or not there, counts as 0', () => {
    const info = parseInfo(reply('used_memory:1024', 'ratio:1.5', 'maxmemory_policy:noeviction', 'empty:'));
    expect(['used_memory', 'ratio', 'maxmemory_policy', 'empty', 'none'].map((name) => numberIn(info, name))).toEqual([
      1024, 1.5, 0, 0, 0,
    ]);
  });
});

describe('a version', () => {
  test.each([
    ['8.0.2', '8.0', true],
    ['8.0.2', '8.0.2', true],
    ['8.0.2', '8.0.3', false],
    ['8.10', '8.9', true],
    ['8.9', '8.10', false],
    ['10.0', '9.9', true],
    ['7.2', '7.2.0', true],
    ['8', '8.0.0', true],
    ['7.0.15', '7.2', false],
    ['8.1-rc1', '8.0', true],
    ['8.0.0-rc1', '8.0', true],
    ['8.0-rc1', '8.1', false],
    ['255.255.255', '8.10', true],
    ['', '7.2', false],
  ])('%j is at least %j: %s', (version, minimum, expected) => {
    expect(isAtLeast(version, minimum)).toBe(expected);
  });

  const part = fc.nat({ max: 20 });
  const version = fc.tuple(part, part, part);

  test('is compared part by part as numbers', () => {
    fc.assert(
      fc.property(version, version, (left, right) => {
        const rank = ([major, minor, patch]: typeof left): number => major * 10_000 + minor * 100 + patch;
        expect(isAtLeast(left.join('.'), right.join('.'))).toBe(rank(left) >= rank(right));
      }),
    );
  });
});
