import { describe, expect, test } from 'vitest';
import { createLogger } from '../../src/log.ts';
import { createMetrics, type Sample } from '../../src/metrics/registry.ts';
import { readExposition, valueIn } from '../support/exposition.ts';

const help = 'A metric of the test.';
const never = (): Promise<never> => new Promise(() => undefined);

function failuresIn(text: string, collector: string): number | undefined {
  return valueIn(text, 'millrace_scrape_failures_total', { collector });
}

describe('a collector', () => {
  test('gives all values of its metric anew at each scrape', async () => {
    const metrics = createMetrics();
    let queues = ['email', 'pdf'];
    metrics.gauge({
      name: 'depth',
      help,
      labels: ['queue'],
      collect: async () => queues.map((queue, index) => ({ labels: { queue }, value: index + 1 })),
    });
    metrics.counter({ name: 'cpu_seconds_total', help, collect: () => [{ labels: {}, value: 1.5 }] });
    const first = await metrics.render();
    expect(valueIn(first, 'depth', { queue: 'pdf' })).toBe(2);
    expect(valueIn(first, 'cpu_seconds_total')).toBe(1.5);
    expect(readExposition(first).get('cpu_seconds_total')?.type).toBe('counter');
    queues = ['sms'];
    expect(readExposition(await metrics.render()).get('depth')?.lines).toEqual([
      { name: 'depth', labels: { queue: 'sms' }, value: 1 },
    ]);
  });

  test('runs side by side with the others', async () => {
    const metrics = createMetrics();
    let isMet!: () => void;
    const both = new Promise<void>((resolve) => (isMet = resolve));
    let running = 0;
    const collect = async () => {
      if (++running === 2) isMet();
      await both;
      return [{ labels: {}, value: 1 }];
    };
    metrics.gauge({ name: 'a', help, collect });
    metrics.gauge({ name: 'b', help, collect });
    const text = await metrics.render();
    expect([valueIn(text, 'a'), valueIn(text, 'b')]).toEqual([1, 1]);
  });

  test('runs once for all who ask at the same time, and again for whoever asks later', async () => {
    const metrics = createMetrics();
    let runs = 0;
    metrics.gauge({ name: 'runs', help, collect: async () => [{ labels: {}, value: ++runs }] });
    const texts = await Promise.all([metrics.render(), metrics.render()]);
    expect(texts.map((text) => valueIn(text, 'runs'))).toEqual([1, 1]);
    expect(valueIn(await metrics.render(), 'runs')).toBe(2);
  });

  test.each<[string, () => ReadonlyArray<Sample<'queue'>> | Promise<ReadonlyArray<Sample<'queue'>>>]>([
    ['hangs', never],
    ['rejects', () => Promise.reject(new Error('no Redis'))],
    [
      'throws',
      () => {
        throw new Error('no Redis');
      },
    ],
    ['gives nothing', () => undefined as never],
    ['gives other labels', () => [{ labels: { name: 'email' } as never, value: 1 }]],
    ['gives no number', () => [{ labels: { queue: 'email' }, value: 'many' as never }]],
  ])('that %s is missing from the scrape, is counted, and spoils nothing else', async (_how, fail) => {
    const metrics = createMetrics({ collectWithin: 20 });
    let isWell = true;
    metrics.gauge({
      name: 'depth',
      help,
      labels: ['queue'],
      collect: () => (isWell ? [{ labels: { queue: 'email' }, value: 7 }] : fail()),
    });
    metrics.gauge({ name: 'other', help, collect: () => [{ labels: {}, value: 1 }] });

    expect(valueIn(await metrics.render(), 'depth', { queue: 'email' })).toBe(7);
    isWell = false;
    const spoilt = await metrics.render();
    expect(readExposition(spoilt).get('depth')?.lines).toEqual([]);
    expect(valueIn(spoilt, 'other')).toBe(1);
    expect(failuresIn(spoilt, 'depth')).toBe(1);
    expect(failuresIn(await metrics.render(), 'depth')).toBe(2);

    isWell = true;
    const mended = await metrics.render();
    expect(valueIn(mended, 'depth', { queue: 'email' })).toBe(7);
    expect(failuresIn(mended, 'depth')).toBe(2);
    expect(failuresIn(mended, 'other')).toBeUndefined();
  });

  test('is waited for as long as is said, and what it finds too late is dropped', async () => {
    const metrics = createMetrics({ collectWithin: '20ms' });
    let answer!: (samples: Array<Sample<never>>) => void;
    let isFirst = true;
    metrics.gauge({
      name: 'late',
      help,
      collect: () => {
        if (!isFirst) return [{ labels: {}, value: 2 }];
        isFirst = false;
        return new Promise<Array<Sample<never>>>((resolve) => (answer = resolve));
      },
    });
    expect(valueIn(await metrics.render(), 'late')).toBeUndefined();
    expect(valueIn(await metrics.render(), 'late')).toBe(2);
    answer([{ labels: {}, value: 1 }]);
    expect(valueIn(await metrics.render(), 'late')).toBe(2);
  });

  test('that begins to fail is logged once, and once when it works again', async () => {
    const lines: string[] = [];
    const log = createLogger({ format: 'json', destination: { write: (line) => void lines.push(line) } });
    const metrics = createMetrics({ log });
    let isWell = false;
    metrics.gauge({
      name: 'depth',
      help,
      collect: () => (isWell ? [] : Promise.reject(new Error('no Redis'))),
    });
    await metrics.render();
    await metrics.render();
    isWell = true;
    await metrics.render();
    await metrics.render();
    const logged = lines.map((line) => JSON.parse(line) as { level: number; msg: string; err?: { message: string } });
    expect(logged.map(({ level, err }) => [level, err?.message])).toEqual([
      [40, 'no Redis'],
      [30, undefined],
    ]);
  });

  test('nothing can be bound where values are collected', () => {
    const metric = createMetrics().gauge({ name: 'depth', help, collect: () => [] });
    expect(() => metric.labels({})).toThrow('collected at scrape time');
  });

  test('the same labels twice are one value, the last; beyond the limit the rest is left out and counted', async () => {
    const metrics = createMetrics();
    metrics.gauge({
      name: 'depth',
      help,
      labels: ['queue'],
      maxChildren: 2,
      collect: () => ['a', 'b', 'a', 'c', 'd'].map((queue, value) => ({ labels: { queue }, value })),
    });
    const text = await metrics.render();
    expect(
      readExposition(text)
        .get('depth')
        ?.lines.map(({ labels, value }) => [labels['queue'], value]),
    ).toEqual([
      ['a', 2],
      ['b', 1],
    ]);
    expect(valueIn(text, 'millrace_metric_overflow_total', { metric: 'depth' })).toBe(2);
  });
});
