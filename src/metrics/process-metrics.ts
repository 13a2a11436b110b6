/**
 * What any process should show: memory, CPU time, its start, and how long its event loop keeps others waiting.
 *
 * Nothing is measured but between start() and stop(), and nothing keeps the process alive. The event loop's delay is that
 * since the last scrape, so two scrapers of one process each see a part of it.
 */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock, type Clock } from '../clock.ts';
import type { Metrics } from './registry.ts';

/** The metrics of this process. */
export interface ProcessMetrics {
  /** Begins to measure; safe to call again, also after stop(). */
  start(): void;
  /** Stops to measure; the metrics then have no values. */
  stop(): void;
}

const RESOLUTION_MS = 20;
const NS_PER_SECOND = 1e9;
const US_PER_SECOND = 1e6;

/**
 * Declares `process_resident_memory_bytes`, `process_cpu_seconds_total`, `process_start_time_seconds` and
 * `nodejs_event_loop_delay_seconds{stat="p50|p99|max"}`; once a registry.
 *
 * @example
 * const processMetrics = createProcessMetrics(metrics);
 * processMetrics.start();
 * // ... and when the process ends
 * processMetrics.stop();
 */
export function createProcessMetrics(metrics: Metrics, clock: Clock = systemClock): ProcessMetrics {
  let delays: IntervalHistogram | undefined;
  const startedAtSeconds = clock.wallMs() / 1_000 - process.uptime();
  const whileMeasuring = (read: () => number) => () => (delays ? [{ labels: {}, value: read() }] : []);

  metrics.gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory of this process that is in RAM.',
    collect: whileMeasuring(() => process.memoryUsage.rss()),
  });
  metrics.counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time that this process has used, its own and that of the system for it.',
    collect: whileMeasuring(() => {
      const { user, system } = process.cpuUsage();
      return (user + system) / US_PER_SECOND;
    }),
  });
  metrics.gauge({
    name: 'process_start_time_seconds',
    help: 'When this process started, in seconds since 1970.',
    collect: whileMeasuring(() => startedAtSeconds),
  });
  metrics.gauge({
    name: 'nodejs_event_loop_delay_seconds',
    help: 'How much later than asked for a timer of this process came, since the last scrape.',
    labels: ['stat'],
    async collect() {
      // A scrape that waited behind a block runs before the timer that will tell of the block; two turns later it has told.
      await nextTurn();
      await nextTurn();
      return delays ? readDelays(delays) : [];
    },
  });

  return {
    start() {
      if (delays) return;
      delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
      delays.enable();
    },
    stop() {
      delays?.disable();
      delays = undefined;
    },
  };
}

/** The delays so far; those after it are counted anew, but for the one that is just passing. */
function readDelays(delays: IntervalHistogram): Array<{ labels: { stat: string }; value: number }> {
  // Of an empty histogram the percentiles say nothing.
  if (delays.max === 0) return [];
  const values = { p50: delays.percentile(50), p99: delays.percentile(99), max: delays.max };
  delays.reset();
  return Object.entries(values).map(([stat, ns]) => ({ labels: { stat }, value: delaySeconds(ns) }));
}

/** Node records how far apart its timer's calls were, so the time asked for is a part of each value. */
function delaySeconds(ns: number): number {
  return Math.max(0, ns / NS_PER_SECOND - RESOLUTION_MS / 1_000);
}
