/**
 * The history of the platform in the form that Bull Board's charts take.
 *
 * Failed are attempts that failed, whatever became of the job; of dead letters, those that were made. Latencies of a day, or of a whole range, are those of its worst hour: those of the
 * day are never higher.
 */
import type { MetricsHistoryProvider, QueueMetrics } from '@bull-board/api/typings/app';
import { systemClock, toMs, type HistoryPoint, type Percentiles, type Platform } from 'millrace';
import { readName, type BoardQueue } from './names.ts';
import type { Memo } from '../memo.ts';

const HOUR_MS = toMs('1h');
const DAY_MS = toMs('1d');
/** How long hours are kept, see the history module. */
const KEPT_MS = toMs('35d');
/** Charts of days do not change in seconds. */
const GOOD_FOR_MS = 30_000;

const OF_JOBS = {
  completed: ({ completed }: HistoryPoint) => completed,
  failed: ({ failed }: HistoryPoint) => failed,
  queueage: ({ oldestAgeMs }: HistoryPoint) => oldestAgeMs ?? 0,
} as const;
const OF_LETTERS: typeof OF_JOBS = { completed: () => 0, failed: ({ dead }) => dead, queueage: () => 0 };

/** What Bull Board asks for its charts of days. */
export function historyProvider({ history }: Platform, memo: Memo): MetricsHistoryProvider {
  const hours = (queue: string | undefined, from: number, to: number): Promise<HistoryPoint[]> => {
    const until = Math.min(
      Math.ceil((to + 1) / HOUR_MS) * HOUR_MS,
      Math.ceil(systemClock.wallMs() / HOUR_MS) * HOUR_MS,
    );
    const since = Math.max(Math.floor(from / HOUR_MS) * HOUR_MS, until - KEPT_MS);
    if (since >= until) return Promise.resolve([]);
    const one = queue === undefined ? {} : { queue: readName(queue).queue };
    const ask = () => history.series({ ...one, from: since, to: until, step: 'hour' });
    return memo.get(`history ${queue ?? '*'} ${since} ${until}`, ask, GOOD_FOR_MS);
  };
  return {
    async getHistory({ queue, metric, from, to, granularity }) {
      const points = await hours(queue, from, to);
      const valueOf = (isOfLetters(queue) ? OF_LETTERS : OF_JOBS)[metric];
      const values = points.map((point) => ({ ts: point.at, value: valueOf(point) }));
      if (granularity === 'hour') return values;
      return groups(values, ({ ts }) => dayOf(ts)).map(([ts, ofDay]) => {
        const all = ofDay.map(({ value }) => value);
        return { ts, value: metric === 'queueage' ? Math.max(...all) : all.reduce((sum, value) => sum + value, 0) };
      });
    },
    async getLatency({ queue, metric, from, to, granularity, percentiles }) {
      if (isOfLetters(queue)) return [];
      const points = await hours(queue, from, to);
      const start = { hour: (at: number) => at, day: dayOf, range: () => from }[granularity];
      const measured = points.flatMap(({ at, runMs, waitMs }) => {
        const times = metric === 'runtime' ? runMs : waitMs;
        return times ? [{ at, times }] : [];
      });
      return groups(measured, ({ at }) => start(at)).map(([ts, some]) => ({
        ts,
        count: some.reduce((sum, { times }) => sum + times.count, 0),
        values: worstOf(
          some.map(({ times }) => times),
          percentiles,
        ),
      }));
    },
  };
}

function isOfLetters(name: string | undefined): boolean {
  return name !== undefined && readName(name).isDead;
}

/** The last hour, by the minute, as BullMQ's own metrics have it: the newest first. */
export async function lastHour(
  { history }: Platform,
  { queue, isDead }: BoardQueue,
  type: 'completed' | 'failed',
): Promise<QueueMetrics> {
  const to = systemClock.wallMs();
  const points = await history.series({ queue, from: to - HOUR_MS, to, step: 'minute' });
  const data = points.map((isDead ? OF_LETTERS : OF_JOBS)[type]).toReversed();
  const count = data.reduce((sum, value) => sum + value, 0);
  return { meta: { count, prevTS: points.at(-1)?.at ?? to, prevCount: count }, data, count: data.length };
}

/** Of percentiles that are not kept, the next higher one that is. */
function worstOf(times: readonly Percentiles[], wanted: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    wanted.map((percentile) => {
      const kept = percentile <= 50 ? 'p50' : percentile <= 95 ? 'p95' : 'p99';
      return [String(percentile), Math.max(...times.map((one) => one[kept]))];
    }),
  );
}

function groups<T>(items: readonly T[], keyOf: (item: T) => number): Array<[key: number, items: T[]]> {
  const by = new Map<number, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = by.get(key);
    if (group) group.push(item);
    else by.set(key, [item]);
  }
  return [...by];
}

function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS) * DAY_MS;
}
