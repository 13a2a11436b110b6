/** What is counted, and how a registry shows it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics/registry.ts';
import { ownedCaches } from '../support/caches.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

test('reads, loads and the rest are shown; several caches of a registry are added up, and a stopped one is not forgotten', async () => {
  const metrics = createMetrics();
  const { cache, prefix } = await cacheOf({ redis: { url: server.url }, metrics });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, metrics, prefix });
  await cache.getOrSet('key', () => 1, { ttl: '1m' });
  await cache.getOrSet('key', () => 1, { ttl: '1m' });
  await other.getOrSet('key', () => 1, { ttl: '1m' });
  await cache.getOrSet('none', () => null, { ttl: '1m' });
  await expect(cache.getOrSet('fails', () => Promise.reject(new TypeError('down')), { ttl: '1m' })).rejects.toThrow(
    'down',
  );
  const lines = [
    'millrace_cache_reads_total{from="first-level"} 1',
    'millrace_cache_reads_total{from="second-level"} 1',
    'millrace_cache_reads_total{from="miss"} 3',
    'millrace_cache_loads_total{outcome="kept"} 1',
    'millrace_cache_loads_total{outcome="nothing"} 1',
    'millrace_cache_loads_total{outcome="failed"} 1',
    'millrace_cache_load_seconds_count 2',
    'millrace_cache_outage 0',
  ];
  const before = await metrics.render();
  for (const line of lines) expect(before).toContain(`${line}\n`);
  await other.stop();
  const after = await metrics.render();
  for (const line of [...lines, 'millrace_cache_first_level_entries 1']) expect(after).toContain(`${line}\n`);
});
