/**
 * One look at a platform: queues, workers, streams, schedules, and what of late was run.
 *
 * What it costs grows with queues, streams and schedules, never with who watches. What changes slowly, or costs more, is looked at only every
 * few rounds, and of the first so many only: those that are shown, and those that an alert is about. What could not be seen is named, so
 * that nobody takes it for gone.
 */
import type { HistoryPoint, Platform, QueueSnapshot, ScheduleInfo, StreamInfo, WorkerInfo } from 'millrace';
import {
  MOST_GROUPS,
  MOST_QUEUES,
  MOST_STREAMS,
  MOST_WORKERS,
  type QueueFigures,
  type Snapshot,
  type StreamFigures,
  type WorkerFigures,
} from './snapshot.ts';

/** What was found, and what alerts need of it beside. */
export interface Look {
  /** By the server's clock, in ms. */
  readonly at: number;
  readonly found: Pick<Snapshot, 'counts' | 'totals' | 'queues' | 'workers' | 'workerStates' | 'streams'>;
  readonly queues: readonly QueueSnapshot[];
  readonly workers: readonly WorkerInfo[];
  readonly streams: readonly StreamInfo[];
  readonly schedules: readonly ScheduleInfo[];
  /** What was counted by the minute, by queue, up to now; of a queue that is missing it was not looked at. */
  readonly recent: ReadonlyMap<string, readonly HistoryPoint[]>;
  /** What is there and could not be looked at, or is beyond what is looked at. */
  readonly unseen: { readonly queues: ReadonlySet<string>; readonly streams: ReadonlySet<string> };
}

/** What alerts are about, so that it is looked at first. */
export interface Watched {
  /** How much of what was run they need. */
  readonly recentMs: number;
  /** Whether they need what was run of a queue. */
  readonly rates: (queue: string) => boolean;
  readonly stream: (stream: string) => boolean;
}

/** What is looked at every so often only. */
interface Slow {
  at: number;
  streams: StreamInfo[];
  unseenStreams: Set<string>;
  schedules: ScheduleInfo[];
  recent: Map<string, HistoryPoint[]>;
}

const SLOW_EVERY_MS = 15_000;
const RATE_MS = 300_000;
const MINUTE_MS = 60_000;
/** Queues or streams that are asked for at once. */
const AT_ONCE = 20;
/** What is looked at for alerts at most, beside what is shown. */
const MOST_RATED = 1_000;
const MOST_INSPECTED = 500;

/** Looks at a platform, again and again. */
export class Observer {
  readonly #platform: Platform;
  readonly #watched: Watched;
  readonly #recentMs: number;
  readonly #slowEveryMs: number;
  #slow: Slow | undefined;

  constructor(platform: Platform, { watched, everyMs }: { watched: Watched; everyMs: number }) {
    this.#platform = platform;
    this.#watched = watched;
    this.#recentMs = Math.max(RATE_MS, watched.recentMs);
    this.#slowEveryMs = Math.min(SLOW_EVERY_MS, everyMs * 3);
  }

  /** @throws what Redis met */
  async look(): Promise<Look> {
    const { redis, jobs, history, fleet } = this.#platform;
    const asked = [redis.commands().time(), jobs.queues(), history.sample(), fleet.workers()] as const;
    const [time, names, samples, workers] = await Promise.all(asked);
    const at = Number(time[0]) * 1_000 + Math.floor(Number(time[1]) / 1_000);
    const queues = samples.toSorted(byTrouble);
    const seen = new Set(queues.map(({ queue }) => queue));
    if (!this.#slow || at - this.#slow.at >= this.#slowEveryMs || at < this.#slow.at)
      this.#slow = await this.#lookSlowly(at, queues);
    const { streams, unseenStreams, schedules, recent } = this.#slow;
    const shown = queues.slice(0, MOST_QUEUES);
    const figures = shown.map((queue) => figuresOf(queue, rateOf(recent.get(queue.queue), at)));
    return {
      at,
      queues,
      workers,
      streams,
      schedules,
      recent,
      unseen: { queues: new Set(names.filter((name) => !seen.has(name))), streams: unseenStreams },
      found: {
        counts: { queues: queues.length, workers: workers.length, streams: streams.length + unseenStreams.size },
        totals: totalsOf(queues, recent, at),
        queues: figures,
        workers: workers.toSorted(silentFirst).slice(0, MOST_WORKERS).map(workerOf),
        workerStates: statesOf(workers),
        streams: streams.slice(0, MOST_STREAMS).map(streamOf),
      },
    };
  }

  async #lookSlowly(at: number, queues: readonly QueueSnapshot[]): Promise<Slow> {
    const { streams, schedules, history } = this.#platform;
    const { rates, stream } = this.#watched;
    const known = (await streams.known()).filter((name) => !name.startsWith('events:'));
    const inspected = firstOf(known, MOST_STREAMS, stream, MOST_INSPECTED);
    const looks = await inTurns(inspected, (name) => streams.inspect(name));
    // Undefined is the answer for one that is gone; only what was not answered is unseen.
    const rest = known.filter((name) => !looks.has(name));
    const rated = firstOf(
      queues.map(({ queue }) => queue),
      MOST_QUEUES,
      rates,
      MOST_RATED,
    );
    const recent = await inTurns(rated, async (queue) => {
      const points = await history.series({ queue, from: at - this.#recentMs, to: at + 1, step: 'minute' });
      return points.filter(({ completed, failed, dead }) => completed + failed + dead > 0);
    });
    const found = [...looks.values()].filter((one) => one !== undefined);
    return { at, streams: found, unseenStreams: new Set(rest), schedules: await schedules.list(), recent };
  }
}

/** The first ones, and behind them the first ones that are watched. */
function firstOf(
  names: readonly string[],
  most: number,
  isWatched: (name: string) => boolean,
  mostWatched: number,
): string[] {
  return [...names.slice(0, most), ...names.slice(most).filter(isWatched).slice(0, mostWatched)];
}

/** What was found, by name; without what could not be asked. */
async function inTurns<Found>(
  names: readonly string[],
  ask: (name: string) => Promise<Found>,
): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  for (let first = 0; first < names.length; first += AT_ONCE) {
    const turn = names.slice(first, first + AT_ONCE);
    for (const [place, look] of (await Promise.allSettled(turn.map(ask))).entries())
      if (look.status === 'fulfilled') found.set(turn[place] ?? '', look.value);
  }
  return found;
}

/** Those that somebody should look at come first, so that they are in a list that is cut. */
function byTrouble(one: QueueSnapshot, other: QueueSnapshot): number {
  return weightOf(other) - weightOf(one) || one.queue.localeCompare(other.queue);
}

function weightOf({ counts, oldestAgeMs = 0 }: QueueSnapshot): number {
  const { dead, active, waiting, prioritized, ...others } = counts;
  const isInUse = Object.values(others).some((count) => count > 0);
  return (
    (dead > 0 ? 8 : 0) +
    (oldestAgeMs > MINUTE_MS ? 4 : 0) +
    (active + waiting + prioritized > 0 ? 2 : 0) +
    (isInUse ? 1 : 0)
  );
}

function silentFirst(one: WorkerInfo, other: WorkerInfo): number {
  return Number(other.state === 'silent') - Number(one.state === 'silent') || one.startedAt - other.startedAt;
}

type Rate = Pick<QueueFigures, 'perMinute' | 'failedShare'>;

function figuresOf({ queue, counts, oldestAgeMs, isPaused }: QueueSnapshot, rate: Rate): QueueFigures {
  const { waiting, prioritized, active, delayed, completed, failed, dead } = counts;
  const numbers = { waiting: waiting + prioritized, active, delayed, completed, failed, dead };
  return { name: queue, ...numbers, isPaused, ...(oldestAgeMs !== undefined && { oldestAgeMs }), ...rate };
}

/** What of late was run, a minute, and which part of it failed. */
export function rateOf(points: readonly HistoryPoint[] | undefined, at: number): Rate {
  if (!points) return {};
  const { completed, failed } = ended(points, at - RATE_MS);
  const all = completed + failed;
  return { perMinute: all / (RATE_MS / MINUTE_MS), ...(all > 0 && { failedShare: failed / all }) };
}

/** Attempts that ended since then, and dead letters that were made. */
export function ended(
  points: readonly HistoryPoint[],
  since: number,
): { completed: number; failed: number; dead: number } {
  let completed = 0;
  let failed = 0;
  let dead = 0;
  for (const point of points) {
    if (point.at + MINUTE_MS <= since) continue;
    completed += point.completed;
    failed += point.failed;
    dead += point.dead;
  }
  return { completed, failed, dead };
}

function totalsOf(queues: readonly QueueSnapshot[], recent: Slow['recent'], at: number): Snapshot['totals'] {
  const sum = (state: keyof QueueSnapshot['counts']): number =>
    queues.reduce((total, { counts }) => total + counts[state], 0);
  const oldest = Math.max(...queues.map(({ oldestAgeMs = -1 }) => oldestAgeMs));
  return {
    waiting: sum('waiting') + sum('prioritized'),
    active: sum('active'),
    delayed: sum('delayed'),
    completed: sum('completed'),
    failed: sum('failed'),
    dead: sum('dead'),
    ...(oldest >= 0 && { oldestAgeMs: oldest }),
    ...rateOf([...recent.values()].flat(), at),
  };
}

function workerOf({
  id,
  host,
  pid,
  state,
  queues,
  consumers,
  eventLoopLagMs,
  rssBytes,
  seenAt,
}: WorkerInfo): WorkerFigures {
  const { active, concurrency } = slotsOf([...queues, ...consumers]);
  return { id, host, pid, state, active, concurrency, lagMs: eventLoopLagMs, rssBytes, seenAt };
}

function slotsOf(places: ReadonlyArray<{ active: number; concurrency: number }>): {
  active: number;
  concurrency: number;
} {
  return {
    active: places.reduce((sum, { active }) => sum + active, 0),
    concurrency: places.reduce((sum, { concurrency }) => sum + concurrency, 0),
  };
}

function statesOf(workers: readonly WorkerInfo[]): Snapshot['workerStates'] {
  const states = { running: 0, draining: 0, silent: 0, active: 0 };
  for (const worker of workers) {
    states[worker.state] += 1;
    if (worker.state !== 'silent') states.active += slotsOf([...worker.queues, ...worker.consumers]).active;
  }
  return states;
}

function streamOf({ name, length, groups }: StreamInfo): StreamFigures {
  const shown = groups.slice(0, MOST_GROUPS);
  return {
    name,
    length,
    groups: shown.map(({ name: group, lag, pending, deadLetters }) => ({
      name: group,
      lag,
      pending,
      dead: deadLetters,
    })),
  };
}
