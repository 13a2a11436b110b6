/** docker-compose.yml and what it mounts: held by what can be known without an engine. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { toMs, type Duration } from '../../src/durations.ts';
import { readEnv } from '../../src/env.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort } from '../support/servers.ts';
import { DRAIN_MS, mustRun, ROOT, textOf, VARIABLES, yamlOf } from './files.ts';

const run = promisify(execFile);
const own = ownedByTest();

const words = z.array(z.string());
const condition = z.enum(['service_healthy', 'service_started', 'service_completed_successfully']);
/** What of the Compose specification is used: what is misspelt is unknown here. */
const serviceSchema = z.strictObject({
  build: z.literal('.').optional(),
  image: z.string().regex(/^[\w./-]+:[\w.-]+$/),
  command: words.optional(),
  restart: z.literal('unless-stopped').optional(),
  read_only: z.literal(true).optional(),
  tmpfs: words.optional(),
  cap_drop: words.optional(),
  security_opt: words.optional(),
  stop_grace_period: z.string().optional(),
  env_file: z.array(z.strictObject({ path: z.string(), required: z.boolean() })).optional(),
  environment: z.record(z.string(), z.coerce.string()).optional(),
  ports: words.optional(),
  volumes: words.optional(),
  profiles: z.array(z.enum(['monitoring', 'sentinel', 'cluster'])).optional(),
  scale: z.int().optional(),
  healthcheck: z.strictObject({ test: words, interval: z.string(), timeout: z.string() }).optional(),
  depends_on: z
    .union([words, z.record(z.string(), z.strictObject({ condition, required: z.boolean().optional() }))])
    .optional(),
});
const fileSchema = z.strictObject({
  name: z.literal('millrace'),
  'x-platform': z.unknown(),
  'x-environment': z.unknown(),
  services: z.record(z.string(), serviceSchema),
  volumes: z.record(z.string(), z.null()),
});

const { services, volumes } = fileSchema.parse(yamlOf('docker-compose.yml')[0]);
const platform = Object.entries(services).filter(([, { build }]) => build !== undefined);
const names = platform.map(([name]) => name);

/** What Compose makes of `${NAME-default}` and `${NAME:-default}`. */
function interpolate(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)(:?)-([^}]*)\}/g, (_all, name: string, colon: string, otherwise: string) => {
    const value = env[name];
    return value === undefined || (colon === ':' && value === '') ? otherwise : value;
  });
}

function envFile(file: string): Record<string, string> {
  const lines = textOf(file)
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

describe('the services of the platform', () => {
  test('are worker, dashboard and API; each runs a command that the image has', () => {
    expect(names).toEqual(['worker', 'dashboard', 'api']);
    for (const [, { command = [] }] of platform) mustRun(command);
  });

  test('get variables that the platform reads, and nothing else', () => {
    for (const [, { environment = {} }] of platform)
      expect(Object.keys(environment).filter((name) => !VARIABLES.has(name))).toEqual([]);
  });

  test.each(['', 'docs/deploy/compose/sentinel.env', 'docs/deploy/compose/cluster.env'])(
    'find Redis with the settings of %j',
    (file) => {
      const { COMPOSE_PROFILES: profile, ...given } = file === '' ? {} : envFile(file);
      for (const [, { environment = {} }] of platform) {
        const env = Object.fromEntries(
          Object.entries(environment).map(([name, value]) => [name, interpolate(value, given)]),
        );
        const { redis } = readEnv({ ...env, HOST: '0.0.0.0' }).platform;
        const [address = ''] = [redis?.url, ...(redis?.sentinels ?? []), ...(redis?.cluster ?? [])].flatMap(
          (one) => one ?? [],
        );
        const host = /^(?:redis:\/\/)?([\w-]+):\d+$/.exec(address)?.[1] ?? '';
        expect(services[host]?.profiles).toEqual(profile === undefined ? undefined : [profile]);
      }
    },
  );

  test('cannot write but to /tmp, and have no rights beyond those of a user', () => {
    for (const [, service] of platform)
      expect(service).toMatchObject({
        read_only: true,
        tmpfs: ['/tmp'],
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
      });
  });

  test('are given longer to stop than a drain takes', () => {
    for (const [, { stop_grace_period: grace = '' }] of platform)
      expect(toMs(grace as Duration)).toBeGreaterThan(DRAIN_MS + 5_000);
  });

  test('worker can be scaled: no port, name or volume of its own is published', () => {
    expect(services['worker']).not.toHaveProperty('ports');
    expect(services['worker']).not.toHaveProperty('volumes');
  });

  test('are published for this machine alone, at the port on which they listen', () => {
    const port = /\bPORT=(\d+)/.exec(textOf('Dockerfile'))?.[1];
    const published = Object.values(services).flatMap(({ ports = [] }) => ports);
    expect(published.filter((one) => !one.startsWith('127.0.0.1:'))).toEqual([]);
    expect(new Set(published.map((one) => one.split(':')[1])).size).toBe(published.length);
    for (const [, { ports = [] }] of platform) for (const one of ports) expect(one.split(':')[2]).toBe(port);
  });

  test('whatever is mounted or waited for is there', () => {
    for (const { volumes: mounts = [], depends_on: needs = {} } of Object.values(services)) {
      for (const [source = ''] of mounts.map((mount) => mount.split(':')))
        expect(source.startsWith('./') ? existsSync(join(ROOT, source)) : source in volumes, source).toBe(true);
      const needed = Array.isArray(needs) ? needs : Object.keys(needs);
      expect(needed.filter((name) => !(name in services))).toEqual([]);
    }
    for (const [, { depends_on: needs = {} }] of platform)
      for (const [name, need] of Object.entries(needs))
        // A service of a profile that is off must not be in the way.
        expect(typeof need === 'object' && need.required === false, name).toBe(services[name]?.profiles !== undefined);
  });
});

/** Starts the server that the tests run on, with the words of a service. */
async function startServer(args: readonly string[]): Promise<Redis> {
  const [program, ...before] = inject('servers').main.command;
  const folder = mkdtempSync(join(tmpdir(), 'millrace-compose-'));
  const port = await freePort();
  const place = ['--port', String(port), '--dir', folder, '--bind', '127.0.0.1'];
  const server = spawn(program, [...before, ...args, ...place], { cwd: folder, stdio: 'ignore' });
  const ended = new Promise((resolve) => server.once('close', resolve));
  own({
    async stop() {
      server.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  });
  const redis = new Redis({ port, retryStrategy: () => 20, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  own({ stop: async () => redis.disconnect() });
  await eventually(async () => expect(await redis.ping()).toBe('PONG')); // LOADING, for a moment.
  return redis;
}

describe('the servers', () => {
  test.each(['redis', 'redis-replica', 'redis-node'])(
    '%s takes its words, keeps what it is told and evicts nothing',
    async (name) => {
      const { command = [], image } = services[name]!;
      expect([image, command[0]]).toEqual(['redis:8', 'redis-server']);
      const redis = await startServer(command.slice(1));
      expect(await redis.config('GET', 'appendonly', 'maxmemory-policy')).toEqual(
        expect.arrayContaining(['appendonly', 'yes', 'maxmemory-policy', 'noeviction']),
      );
    },
  );

  test('sentinel writes a file that a Sentinel takes', async () => {
    const master = await startServer([]);
    const folder = mkdtempSync(join(tmpdir(), 'millrace-compose-'));
    own({ stop: () => rm(folder, { recursive: true, force: true }) });
    const [shell = '', flag = '', script = ''] = services['sentinel']?.command ?? [];
    const file = join(folder, 'sentinel.conf');
    const port = String(master.options.port);
    const [write = '', start] = script
      .replaceAll('/tmp/sentinel.conf', file)
      .replace('monitor mymaster redis 6379', `monitor mymaster 127.0.0.1 ${port}`)
      .replaceAll('$$', '$')
      .split(/\n(?=exec)/);
    expect(start?.trim()).toBe(`exec redis-server ${file} --sentinel`);
    await run(shell, [flag, write]);
    const sentinel = await startServer([file, '--sentinel']);
    const address = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'mymaster');
    expect(address).toEqual(['127.0.0.1', port]);
  });
});
