/** Processes that ask at once, and processes that die while they load. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { ownedCaches, pass } from '../support/caches.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { gate } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { isLong } from './scene.ts';

const own = ownedByTest();
const cacheOf = ownedCaches();
const CALLERS = 1_000;
const ROUNDS = isLong ? 20 : 1;

interface Asked {
  loads: number;
  values: string[];
}

async function start(server: TestServer, prefix: string, ...rest: string[]): Promise<Child> {
  const child = own(startChild('cache-process', [server.url, prefix, ...rest]));
  await child.says('ready');
  return child;
}

async function answer(child: Child): Promise<Asked> {
  return JSON.parse(await child.says('asked signalled')) as Asked;
}

test(`a cold key, asked for by ${CALLERS} callers in each of two processes at once, is loaded once`, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const server = own(await startRedis());
    const prefix = `t-${randomUUID()}`;
    const processes = await Promise.all([1, 2].map(() => start(server, prefix, String(CALLERS), '50')));
    for (const child of processes) child.signal('SIGUSR2');
    const answers = await Promise.all(processes.map(answer));
    expect(answers.reduce((sum, { loads }) => sum + loads, 0)).toBe(1);
    expect(new Set(answers.flatMap(({ values }) => values)).size).toBe(1);
  }
});

test('a process that is killed while it loads holds the others up no longer than its lease', async () => {
  const server = own(await startRedis());
  const prefix = `t-${randomUUID()}`;
  const [victim, heir] = await Promise.all([start(server, prefix, '1', '0', 'die'), start(server, prefix, '100', '0')]);
  victim.signal('SIGUSR2');
  expect(await victim.ended).toBe('SIGKILL');
  heir.signal('SIGUSR2');
  const { value, ms } = await timed(answer(heir));
  expect(value.loads).toBe(1);
  expect(ms).toBeLessThan(6_000); // The lease is 3 s.
});

/** Longer than a lease of the cache. */
const PAST_LEASE_MS = 4_000;

test('a process that is paused past its lease while it loads does not overwrite what was loaded meanwhile', async () => {
  const server = own(await startRedis());
  const prefix = `t-${randomUUID()}`;
  const paused = await start(server, prefix, '1', '500');
  const { cache } = await cacheOf({ redis: { url: server.url }, prefix });
  paused.signal('SIGUSR2');
  await paused.says('loading');
  paused.signal('SIGSTOP');
  expect(await cache.getOrSet('signalled', () => 'newer', { ttl: '1m', hard: '20s' })).toBe('newer');
  paused.signal('SIGCONT');
  expect((await answer(paused)).values).toEqual([`signalled of ${paused.pid}`]); // Its own caller asked before.
  expect(await cache.get('signalled')).toBe('newer');
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  expect(await other.get('signalled')).toBe('newer');
});

test('a server that is frozen past a lease costs callers their deadline, and not the value', async () => {
  const server = own(await startRedis());
  const { cache, prefix } = await cacheOf({ redis: { url: server.url }, outage: { deadline: '250ms' } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix, outage: { deadline: '250ms' } });
  const value = gate<string>();
  const loading = cache.getOrSet('key', () => value.opened, { ttl: '1m' });
  await eventually(() => expect(cache.stats().loads).toBe(1));
  const waiting = other.getOrSet('key', () => 'alone', { ttl: '1m' });
  await eventually(() => expect(other.stats().waits).toBe(1));
  server.freeze();
  await pass(PAST_LEASE_MS);
  value.open('loaded');
  expect(await loading).toBe('loaded');
  expect(await waiting).toBe('alone');
  server.thaw();
  await eventually(() => cache.delete('key'));
  expect(await eventually(() => cache.getOrSet('key', () => 'after', { ttl: '1m' }))).toBe('after');
  await eventually(async () => expect(await other.getOrSet('key', () => 'after', { ttl: '1m' })).toBe('after'));
});
