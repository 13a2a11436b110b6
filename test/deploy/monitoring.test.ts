/** What Prometheus and Grafana are given: only metrics that there are, at places that there are. */
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createDashboard, prometheusRules } from '../../dashboard/index.ts';
import { consume } from '../../src/index.ts';
import { handle } from '../../src/jobs/handler.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { contractOf } from '../support/contracts.ts';
import { readExposition } from '../support/exposition.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { textOf, yamlOf } from './files.ts';

const own = ownedByTest();
const DASHBOARD = 'docs/deploy/grafana/dashboards/millrace.json';
const RULES = 'docs/deploy/prometheus/millrace.rules.yml';

/** The names of all series that a worker and a dashboard give, and the labels of each. */
async function seriesOf(): Promise<Set<string>> {
  const server = own(await startRedis());
  const platform = createPlatform({ redis: { url: server.url }, log: silentLogger });
  own({ stop: () => platform.stop() });
  await platform.start();
  const dashboard = createDashboard(platform, { metricsToken: 'of-this-test-alone' });
  own({ stop: () => dashboard.stop() });
  await dashboard.start();
  const stream = defineStream({ name: 's', schema: z.object({}) });
  const job = contractOf('some.job');
  await platform.work({
    handlers: [handle(job, () => undefined)],
    consumers: [consume(stream, { group: 'g' }, () => undefined)],
  });
  await platform.jobs.enqueueAndWait(job, {});
  const names = new Set<string>();
  for (const [name, { type }] of readExposition(await platform.metrics.render()))
    for (const suffix of type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']) names.add(name + suffix);
  return names;
}

/** The metrics that are named in a query. */
function namedIn(query: string): string[] {
  return query.match(/\b(?:millrace|process|nodejs)_\w+/g) ?? [];
}

const panel = z.object({
  title: z.string().min(1),
  type: z.enum(['timeseries', 'stat', 'row']),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
  targets: z.array(z.object({ expr: z.string(), refId: z.string() })).optional(),
});
const dashboardSchema = z.object({
  uid: z.string(),
  title: z.string(),
  templating: z.object({ list: z.array(z.object({ name: z.string(), query: z.unknown() })) }),
  panels: z.array(panel),
});

describe('Grafana', () => {
  const { panels, templating } = dashboardSchema.parse(JSON.parse(textOf(DASHBOARD)));

  test('asks for metrics that there are', async () => {
    const series = await seriesOf();
    const queries = [
      ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ...templating.list.map(({ query }) => JSON.stringify(query)),
      ...yamlOf<RulesFile>(RULES).flatMap(exprsOf),
      ...[...textOf('docs/deploy/kubernetes/hpa/worker-scale.yaml').matchAll(/metric: \{ name: (\w+) \}/g)].map(
        (match) => match[1] ?? '',
      ),
      ...[...textOf('docs/deployment.md').matchAll(/seriesQuery: '?(\w+)/g)].map((match) => match[1] ?? ''),
    ];
    const named = new Set(queries.flatMap(namedIn));
    expect(named.size).toBeGreaterThan(15);
    expect([...named].filter((name) => !series.has(name))).toEqual([]);
  });

  test('lays its panels side by side, none over another', () => {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.get(`${x} ${y}`), title).toBeUndefined();
          taken.set(`${x} ${y}`, title);
        }
      }
    }
    for (const { targets = [], title } of panels)
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
  });

  test('finds the dashboard and Prometheus where they are', () => {
    const compose = textOf('docker-compose.yml');
    const [source] = yamlOf<{ datasources: Array<{ url: string; uid: string }> }>(
      'docs/deploy/grafana/provisioning/datasources/prometheus.yml',
    );
    expect(source?.datasources[0]).toMatchObject({ url: 'http://prometheus:9090', uid: 'prometheus' });
    const uids = [...textOf(DASHBOARD).matchAll(/"type": "prometheus",\s+"uid": "(\w+)"/g)].map((match) => match[1]);
    expect(new Set(uids)).toEqual(new Set(['prometheus']));
    const [provider] = yamlOf<{ providers: Array<{ options: { path: string } }> }>(
      'docs/deploy/grafana/provisioning/dashboards/millrace.yml',
    );
    expect(compose).toContain(`./docs/deploy/grafana/dashboards:${provider?.providers[0]?.options.path}:ro`);
  });
});

interface RulesFile {
  groups: Array<{ rules: Array<{ expr: string }> }>;
}

function exprsOf({ groups }: RulesFile): string[] {
  return groups.flatMap(({ rules }) => rules.map(({ expr }) => expr));
}

describe('Prometheus', () => {
  test('has the rules by which the dashboard itself watches', () => {
    expect(yamlOf(RULES)).toEqual([parse(prometheusRules())]);
  });

  test('scrapes services and ports that docker-compose.yml has', () => {
    const [{ services } = expect.fail('no services')] = yamlOf<{
      services: Record<string, { environment?: Record<string, unknown> }>;
    }>('docker-compose.yml');
    const [config] = yamlOf<{
      rule_files: string[];
      scrape_configs: Array<{
        static_configs?: Array<{ targets: string[] }>;
        dns_sd_configs?: Array<{ names: string[]; port: number }>;
      }>;
    }>('docs/deploy/prometheus/prometheus.yml');
    expect(config?.rule_files.map((file) => `docs/deploy/prometheus/${file}`)).toEqual([RULES]);
    const targets = (config?.scrape_configs ?? []).flatMap(
      ({ static_configs: fixed = [], dns_sd_configs: found = [] }) => [
        ...fixed.flatMap((one) => one.targets),
        ...found.flatMap(({ names, port }) => names.map((name) => `${name}:${port}`)),
      ],
    );
    const port = /\bPORT=(\d+)/.exec(textOf('Dockerfile'))?.[1];
    const metricsPort = services['dashboard']?.environment?.['METRICS_PORT'];
    expect(targets).toEqual([`dashboard:${String(metricsPort)}`, `worker:${port}`, `api:${port}`]);
  });
});
