import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.ts';
import { createMetrics, type Metrics } from '../../src/metrics/registry.ts';
import { readExposition, valueIn } from '../support/exposition.ts';

/** What creating or binding is refused with. */
function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error.message;
    throw error;
  }
  throw new Error('was not refused');
}

const help = 'A metric of the test.';

describe('values', () => {
  test('are written with HELP and TYPE once, in the order of definition', async () => {
    const metrics = createMetrics();
    const jobs = metrics.counter({ name: 'jobs_total', help: 'Jobs\nby \\queue.', labels: ['queue'] });
    jobs.labels({ queue: 'email' }).inc();
    jobs.labels({ queue: 'email' }).inc(2.5);
    jobs.labels({ queue: 'pdf' });
    metrics.gauge({ name: 'temperature', help }).labels({}).set(-0.25);
    const own = '# TYPE millrace_metric_overflow_total counter\n';
    const text = await metrics.render();
    expect(text.slice(text.indexOf(own) + own.length)).toBe(
      [
        '# HELP jobs_total Jobs\\nby \\\\queue.',
        '# TYPE jobs_total counter',
        'jobs_total{queue="email"} 3.5',
        'jobs_total{queue="pdf"} 0',
        '# HELP temperature A metric of the test.',
        '# TYPE temperature gauge',
        'temperature -0.25',
        '',
      ].join('\n'),
    );
  });

  test('of a metric without labels are there from the start', async () => {
    const metrics = createMetrics();
    metrics.counter({ name: 'jobs_total', help });
    expect(valueIn(await metrics.render(), 'jobs_total')).toBe(0);
  });

  test('that would spoil a counter or a histogram for good are ignored', async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: 'jobs_total', help }).labels({});
    const histogram = metrics.histogram({ name: 'seconds', help, buckets: [1] }).labels({});
    for (const value of [-1, NaN, Infinity, -Infinity]) counter.inc(value);
    for (const value of [NaN, Infinity, -Infinity]) histogram.observe(value);
    counter.inc(0);
    counter.inc(4);
    histogram.observe(0.5);
    const text = await metrics.render();
    expect(valueIn(text, 'jobs_total')).toBe(4);
    expect(valueIn(text, 'seconds_sum')).toBe(0.5);
    expect(valueIn(text, 'seconds_count')).toBe(1);
  });

  test('a gauge goes up and down and shows any number', async () => {
    const metrics = createMetrics();
    const gauge = metrics.gauge({ name: 'open', help }).labels({});
    gauge.inc();
    gauge.inc(3);
    gauge.dec();
    expect(valueIn(await metrics.render(), 'open')).toBe(3);
    for (const value of [Infinity, -Infinity, NaN, 1e300, 1e-7]) {
      gauge.set(value);
      expect(valueIn(await metrics.render(), 'open')).toBe(value);
    }
  });

  test('of a histogram stand in cumulative buckets, a bound belonging to its own', async () => {
    const metrics = createMetrics();
    const seconds = metrics.histogram({ name: 'seconds', help, labels: ['queue'], buckets: [0.1, 1] });
    const email = seconds.labels({ queue: 'email' });
    for (const value of [0.05, 0.1, 0.1000001, 1, 2, -1]) email.observe(value);
    const { lines, type } = readExposition(await metrics.render()).get('seconds')!;
    expect(type).toBe('histogram');
    expect(lines.map(({ name, labels, value }) => [name, labels['le'], value])).toEqual([
      ['seconds_bucket', '0.1', 3],
      ['seconds_bucket', '1', 5],
      ['seconds_bucket', '+Inf', 6],
      ['seconds_sum', undefined, expect.closeTo(2.2500001)],
      ['seconds_count', undefined, 6],
    ]);
    expect(lines.every(({ labels }) => labels['queue'] === 'email')).toBe(true);
  });

  test('default labels stand at every one', async () => {
    const metrics = createMetrics({ defaultLabels: { service: 'the "shop"' } });
    metrics.counter({ name: 'a_total', help }).labels({}).inc();
    metrics
      .histogram({ name: 'b', help, labels: ['queue'], buckets: [1] })
      .labels({ queue: 'email' })
      .observe(1);
    const lines = [...readExposition(await metrics.render()).values()].flatMap((metric) => metric.lines);
    expect(lines).toHaveLength(5);
    expect(lines.every(({ labels }) => labels['service'] === 'the "shop"')).toBe(true);
  });
});

describe('definitions', () => {
  test('the same one gives the same metric, and the same labels the same child', () => {
    const metrics = createMetrics();
    const define = () => metrics.histogram({ name: 'seconds', help, labels: ['a', 'b'], buckets: [1, 2] });
    expect(define()).toBe(define());
    expect(define().labels({ a: '1', b: '2' })).toBe(define().labels({ b: '2', a: '1' }));
    expect(define().labels({ a: '1', b: '2' })).not.toBe(define().labels({ a: '2', b: '1' }));
  });

  test.each<[string, (metrics: Metrics) => unknown]>([
    ['type', (metrics) => metrics.gauge({ name: 'seconds', help, labels: ['a', 'b'] })],
    ['help', (metrics) => metrics.histogram({ name: 'seconds', help: 'Other.', labels: ['a', 'b'], buckets: [1] })],
    ['labels', (metrics) => metrics.histogram({ name: 'seconds', help, labels: ['b', 'a'], buckets: [1] })],
    ['buckets', (metrics) => metrics.histogram({ name: 'seconds', help, labels: ['a', 'b'], buckets: [2] })],
  ])('another %s under the same name is refused', (_what, define) => {
    const metrics = createMetrics();
    metrics.histogram({ name: 'seconds', help, labels: ['a', 'b'], buckets: [1] });
    expect(refusal(() => define(metrics))).toBe('metric seconds: it is there already, with another definition');
  });

  test('another collector under the same name is refused', () => {
    const metrics = createMetrics();
    metrics.gauge({ name: 'depth', help, collect: () => [] });
    expect(refusal(() => metrics.gauge({ name: 'depth', help, collect: () => [] }))).toContain('another definition');
    expect(refusal(() => metrics.gauge({ name: 'depth', help }))).toContain('another definition');
  });

  test('lines that would be taken for those of another metric are refused', () => {
    const metrics = createMetrics();
    metrics.histogram({ name: 'seconds', help, buckets: [1] });
    metrics.counter({ name: 'jobs_count', help });
    expect(refusal(() => metrics.counter({ name: 'seconds_sum', help }))).toContain('taken for those of seconds');
    expect(refusal(() => metrics.histogram({ name: 'jobs', help, buckets: [1] }))).toContain('those of jobs_count');
  });

  test.each<[string, (metrics: Metrics) => unknown, string]>([
    ['a name with a dash', (m) => m.counter({ name: 'jobs-total', help }), 'counter: name: expected letters'],
    ['a name that begins with a digit', (m) => m.counter({ name: '2jobs', help }), 'name: expected letters'],
    ['no help', (m) => m.counter({ name: 'jobs', help: '' }), 'metric jobs: help: expected at least 1 character'],
    ['a label with a dash', (m) => m.counter({ name: 'jobs', help, labels: ['a-b'] }), 'labels[0]: expected letters'],
    ['a label of Prometheus', (m) => m.gauge({ name: 'jobs', help, labels: ['__name__'] }), 'labels[0]: expected'],
    ['a label twice', (m) => m.gauge({ name: 'jobs', help, labels: ['a', 'a'] }), 'each label once'],
    ['the label le', (m) => m.gauge({ name: 'jobs', help, labels: ['le'] }), 'labels other than le'],
    ['no buckets', (m) => m.histogram({ name: 'jobs', help, buckets: [] }), 'buckets: expected at least 1 item'],
    ['equal buckets', (m) => m.histogram({ name: 'jobs', help, buckets: [1, 1] }), 'expected ascending bounds'],
    ['an infinite bucket', (m) => m.histogram({ name: 'jobs', help, buckets: [1, Infinity] }), 'buckets[1]'],
    [
      'an option that is not there',
      (m) => m.counter({ name: 'jobs', help, label: [] } as never),
      'did you mean labels?',
    ],
    ['nothing', (m) => m.counter(undefined as never), 'counter: expected object, got undefined'],
  ])('%s is refused', (_what, define, reason) => {
    expect(refusal(() => define(createMetrics()))).toContain(reason);
  });

  test('labels that are not those of the definition are refused', () => {
    const jobs = createMetrics().counter({ name: 'jobs', help, labels: ['queue'] });
    expect(refusal(() => jobs.labels({} as never))).toBe('metric jobs: label queue: expected string, got undefined');
    expect(refusal(() => jobs.labels({ queue: 7 } as never))).toContain('got 7');
    expect(refusal(() => jobs.labels({ queue: 'a', state: 'b' } as never))).toContain('no label state, only queue');
  });

  test('a label that is among the default labels is refused', () => {
    const metrics = createMetrics({ defaultLabels: { service: 'shop' } });
    expect(refusal(() => metrics.counter({ name: 'jobs', help, labels: ['service'] }))).toContain('label service');
    expect(refusal(() => createMetrics({ defaultLabels: { le: '1' } }))).toContain('label le');
  });
});

async function overflowOf(metrics: Metrics, metric: string): Promise<number | undefined> {
  return valueIn(await metrics.render(), 'millrace_metric_overflow_total', { metric });
}

describe('the limit of label combinations', () => {
  test('those beyond it share one with the values other, and are counted', async () => {
    const metrics = createMetrics({ maxChildren: 3 });
    const jobs = metrics.counter({ name: 'jobs_total', help, labels: ['queue', 'id'] });
    for (let id = 0; id < 10; id++) jobs.labels({ queue: 'email', id: String(id) }).inc();
    jobs.labels({ queue: 'email', id: '0' }).inc();
    const lines = readExposition(await metrics.render()).get('jobs_total')!.lines;
    expect(lines.map(({ labels, value }) => [labels['queue'], labels['id'], value])).toEqual([
      ['email', '0', 2],
      ['email', '1', 1],
      ['email', '2', 1],
      ['other', 'other', 7],
    ]);
    expect(await overflowOf(metrics, 'jobs_total')).toBe(7);
  });

  test('is 2,000 unless said otherwise, for all or for one', async () => {
    const metrics = createMetrics();
    const many = metrics.counter({ name: 'many', help, labels: ['id'] });
    const few = metrics.counter({ name: 'few', help, labels: ['id'], maxChildren: 1 });
    for (let id = 0; id < 2_001; id++) many.labels({ id: String(id) });
    for (let id = 0; id < 2; id++) few.labels({ id: String(id) });
    expect(await overflowOf(metrics, 'many')).toBe(1);
    expect(await overflowOf(metrics, 'few')).toBe(1);
  });

  test('holds for the counters of the registry itself without an end in itself', async () => {
    const metrics = createMetrics({ maxChildren: 1 });
    for (const name of ['a', 'b', 'c']) {
      const metric = metrics.counter({ name, help, labels: ['id'] });
      for (const id of ['1', '2']) metric.labels({ id });
    }
    for (const name of ['a', 'b', 'c']) expect(await overflowOf(metrics, name)).toBe(1);
  });
});
