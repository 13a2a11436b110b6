/**
 * The figures of the charts: a queue's history, or that of all, over a range of time.
 *
 * A process reads the same figures once for all who look within a few seconds, so that Redis is not asked by each tab. Those of thousands of
 * queues take long to read: they are read a quarter of the time at most.
 */
import type { HistoryPoint, Platform } from 'millrace';

/** How far back a chart looks, and the step of its points. */
export const RANGES = {
  '1h': { text: '1 hour', ms: 3_600_000, step: 'minute' },
  '6h': { text: '6 hours', ms: 21_600_000, step: 'minute' },
  '24h': { text: '24 hours', ms: 86_400_000, step: 'minute' },
  '7d': { text: '7 days', ms: 604_800_000, step: 'hour' },
  '30d': { text: '30 days', ms: 2_592_000_000, step: 'hour' },
} as const;

export type Range = keyof typeof RANGES;

/** The range of that name; the shortest for any other. */
export function rangeOf(text: string): Range {
  return Object.hasOwn(RANGES, text) ? (text as Range) : '1h';
}

/** What is kept in memory, and for how long. */
const FRESH_MS = 10_000;
const REST_SHARE = 3;
const MOST_KEPT = 50;

interface Kept {
  /** Without end while they are read. */
  freshUntilMs: number;
  readonly points: Promise<HistoryPoint[]>;
}

/** Reads histories, and keeps those that were read just now. */
export class Charts {
  readonly #platform: Platform;
  readonly #nowMs: () => number;
  readonly #kept = new Map<string, Kept>();

  constructor(platform: Platform, nowMs: () => number) {
    this.#platform = platform;
    this.#nowMs = nowMs;
  }

  /** The points of a range up to now, by its own step. @throws what Redis met */
  points(
    queue: string | undefined,
    range: Range,
    step: 'minute' | 'hour' = RANGES[range].step,
  ): Promise<HistoryPoint[]> {
    const key = JSON.stringify([range, step, queue]);
    const startedMs = this.#nowMs();
    const known = this.#kept.get(key);
    if (known && startedMs < known.freshUntilMs) return known.points;
    const points = this.#read(queue, range, step);
    const kept: Kept = { freshUntilMs: Number.POSITIVE_INFINITY, points };
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    points.then(
      () => (kept.freshUntilMs = this.#nowMs() + Math.max(FRESH_MS, REST_SHARE * (this.#nowMs() - startedMs))),
      () => this.#kept.delete(key), // The next one asks again.
    );
    if (this.#kept.size > MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value ?? '');
    return points;
  }

  /** Likewise for a table, in which nobody reads more than some hundred rows. */
  rows(queue: string | undefined, range: Range): Promise<HistoryPoint[]> {
    return this.points(queue, range, range === '24h' ? 'hour' : undefined);
  }

  async #read(queue: string | undefined, range: Range, step: 'minute' | 'hour'): Promise<HistoryPoint[]> {
    const [seconds] = await this.#platform.redis.commands().time();
    const to = Number(seconds) * 1_000 + 1;
    return this.#platform.history.series({ queue, from: to - RANGES[range].ms, to, step });
  }
}

/** What the browser draws: a column for each line, null where nothing is known. */
export interface ChartColumns {
  at: number[];
  completed: number[];
  failed: number[];
  wait50: Array<number | null>;
  wait95: Array<number | null>;
  wait99: Array<number | null>;
  run50: Array<number | null>;
  run95: Array<number | null>;
  run99: Array<number | null>;
  depth: Array<number | null>;
  oldest: Array<number | null>;
}

/** Points as columns. Throughput is a minute's, whatever the step. */
export function columnsOf(points: readonly HistoryPoint[], range: Range): ChartColumns {
  const perMinute = RANGES[range].step === 'hour' ? 60 : 1;
  const column = <Value>(read: (point: HistoryPoint) => Value): Value[] => points.map(read);
  return {
    at: column(({ at }) => at / 1_000),
    completed: column(({ completed }) => completed / perMinute),
    failed: column(({ failed }) => failed / perMinute),
    wait50: column(({ waitMs }) => waitMs?.p50 ?? null),
    wait95: column(({ waitMs }) => waitMs?.p95 ?? null),
    wait99: column(({ waitMs }) => waitMs?.p99 ?? null),
    run50: column(({ runMs }) => runMs?.p50 ?? null),
    run95: column(({ runMs }) => runMs?.p95 ?? null),
    run99: column(({ runMs }) => runMs?.p99 ?? null),
    depth: column(({ depth }) => depth ?? null),
    oldest: column(({ oldestAgeMs }) => oldestAgeMs ?? null),
  };
}
