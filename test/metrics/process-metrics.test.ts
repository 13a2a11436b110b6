import { describe, expect, test } from 'vitest';
import { createProcessMetrics } from '../../src/metrics/process-metrics.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { eventually } from '../support/eventually.ts';
import { readExposition, valueIn } from '../support/exposition.ts';

const DELAY = 'nodejs_event_loop_delay_seconds';

function blockFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('the metrics of the process', () => {
  test('are memory, CPU time and start', async () => {
    const metrics = createMetrics();
    const processMetrics = createProcessMetrics(metrics);
    processMetrics.start();
    blockFor(20);
    const text = await metrics.render();
    processMetrics.stop();
    expect(valueIn(text, 'process_resident_memory_bytes')).toBeGreaterThan(10e6);
    expect(valueIn(text, 'process_cpu_seconds_total')).toBeGreaterThan(0.01);
    expect(readExposition(text).get('process_cpu_seconds_total')?.type).toBe('counter');
    const startedAt = Date.now() / 1_000 - process.uptime();
    expect(valueIn(text, 'process_start_time_seconds')).toBeCloseTo(startedAt, 0);
  });

  test('tell of a block of the event loop at the next scrape, and then no more', async () => {
    const metrics = createMetrics();
    const processMetrics = createProcessMetrics(metrics);
    processMetrics.start();
    try {
      // A block that begins before Node's timer has come once since the last scrape does not count, so it takes some.
      const longest = await eventually(async () => {
        blockFor(300);
        const text = await metrics.render();
        const max = valueIn(text, DELAY, { stat: 'max' }) ?? 0;
        expect(max).toBeGreaterThan(0.25);
        expect(valueIn(text, DELAY, { stat: 'p99' })).toBeLessThanOrEqual(max);
        return max;
      });
      await eventually(async () => {
        const max = valueIn(await metrics.render(), DELAY, { stat: 'max' });
        expect(max).toBeDefined();
        expect(max).toBeLessThan(longest);
      });
    } finally {
      processMetrics.stop();
    }
  });

  test('have no values unless started, may be started and stopped twice, and again', async () => {
    const metrics = createMetrics();
    const processMetrics = createProcessMetrics(metrics);
    const seen = async () => valueIn(await metrics.render(), 'process_resident_memory_bytes') !== undefined;
    processMetrics.stop();
    expect(await seen()).toBe(false);
    processMetrics.start();
    processMetrics.start();
    expect(await seen()).toBe(true);
    processMetrics.stop();
    processMetrics.stop();
    expect(await seen()).toBe(false);
    processMetrics.start();
    expect(await seen()).toBe(true);
    processMetrics.stop();
    expect(readExposition(await metrics.render()).get(DELAY)?.lines).toEqual([]);
  });
});
