/**
 * Which boards a score counts for now, and which one a reading means.
 *
 * Both are reckoned from a guess of the server's time. A submit takes with it from when until when its periods are right, and the script holds
 * it to that; so the plan of a submit lasts until the first of its periods ends.
 */
import { describeValue, MillraceError } from '../errors.ts';
import { periodById, periodOf, periodsBefore, type Every, type Period } from './calendar.ts';
import type { BoardStore, Place } from './board-store.ts';
import type { CalendarRule, RollingRule } from './options.ts';
import { uniteScript, type Objection } from './scripts.ts';

/** What a reading means; the all-time board without a window. */
export interface Where<Window extends string = string> {
  /** A window of the board. Default: the all-time board. */
  window?: Window | undefined;
  /**
   * Of a window, which period: one in which the instant lies, or, of a calendar window, one by its id, such as `2026-11-20`, `2026-W47` or
   * `2026-11`. Default: now, by the server's clock.
   */
  at?: Date | string | undefined;
}

/** Where the scores of a submit go. */
export interface Plan {
  /**
   * Of each board ranks, marks, scores and metadata as far as it has them; then ranks of buckets; then those that a new score ends; then
   * metadata of buckets.
   */
  readonly keys: readonly string[];
  /** When each board and bucket expires; 0 for never. */
  readonly expiries: readonly string[];
  readonly boards: number;
  readonly buckets: number;
  readonly ended: number;
  readonly fromMs: number;
  /** 0 where there are no windows. */
  readonly untilMs: number;
}

/** A bucket of a rolling window. */
interface Bucket {
  readonly ranks: string;
  readonly metadata: string;
}

/** Rankings in which somebody may be. */
export interface Rankings {
  readonly places: readonly Place[];
  readonly buckets: readonly Bucket[];
}

const DAY_MS = 86_400_000;
/** The longest that periods usually are; some hours more where clocks are set back. */
const LENGTH_MS = { day: DAY_MS, week: 7 * DAY_MS, month: 31 * DAY_MS } as const satisfies Record<Every, number>;
const SPARE_MS = 2 * 3_600_000;
/** The shortest. */
const LEAST_MS = {
  day: DAY_MS - SPARE_MS,
  week: 7 * DAY_MS - SPARE_MS,
  month: 28 * DAY_MS - SPARE_MS,
} as const satisfies Record<Every, number>;
/**
 * How long a window that was put together stays beyond its refresh, for the reading that follows, besides the time that both calls may take: what
 * has expired would be read as a board without members.
 */
const UNITED_SPARE_MS = 10_000;
/** The years of the calendar, but for the days at their ends that some zone counts to another year. */
const FIRST_MS = Date.UTC(1000, 0, 2);
const LAST_MS = Date.UTC(9999, 11, 30);
const MOST_TRIES = 5;

/** The windows of one board. */
export class Windows {
  readonly #store: BoardStore;
  readonly #calendars: ReadonlyMap<string, CalendarRule>;
  readonly #rollings: ReadonlyMap<string, RollingRule>;
  #plan: Plan | undefined;

  constructor(store: BoardStore) {
    const { calendars, rollings } = store.rule;
    this.#store = store;
    this.#calendars = new Map(calendars.map((window) => [window.name, window]));
    this.#rollings = new Map(rollings.map((window) => [window.name, window]));
  }

  /** The place of a calendar window among the boards of a plan, counted as Lua counts; 1 is the all-time board. */
  boardOf(window: string | undefined): number {
    if (window === undefined) return 1;
    this.#calendar(window);
    return [...this.#calendars.keys()].indexOf(window) + 2;
  }

  /** Where scores of that moment go. */
  plan(nowMs: number): Plan {
    const last = this.#plan;
    if (last && (last.untilMs === 0 || (nowMs >= last.fromMs && nowMs < last.untilMs))) return last;
    return (this.#plan = this.#makePlan(nowMs));
  }

  /**
   * Calls with what is reckoned from the server's time; again, with what it says, where its clock is in another period: twice is rare, as where
   * a period ends meanwhile.
   *
   * @throws MillraceError LEADERBOARD_SETTINGS_DIFFER; REDIS_FAILED when its clock is in another one again and again
   */
  async held<Reply>(call: (plan: Plan, nowMs: number) => Promise<Reply | Objection>): Promise<Reply> {
    const { name, time, parts } = this.#store;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const nowMs = time.nowMs();
      const reply = await call(this.plan(nowMs), nowMs);
      if (!isObjection(reply)) return reply;
      if (reply[0] === 'settings') this.#store.checkSettings(reply[1]);
      else {
        time.learn(reply[1]);
        parts.meter.clock();
      }
    }
    const message = `board ${name}: the server's clock was in another period ${MOST_TRIES} times in a row; nothing was changed`;
    throw new MillraceError('REDIS_FAILED', message, { board: name });
  }

  /** The board that is meant. @throws MillraceError OPTIONS_INVALID for what is no window or no period of it */
  async locate({ window, at }: Where): Promise<Place> {
    if (window === undefined && at !== undefined) throw invalid('at: goes with a window', { at });
    await this.#store.met(window !== undefined && at === undefined);
    if (window === undefined) return this.#store.all;
    const rolling = this.#rollings.get(window);
    if (rolling && at !== undefined && this.#store.rule.policy === 'last')
      throw invalid('at: by the policy last, a rolling window does not know what it was', { window, at });
    if (rolling) return this.#united(rolling, Math.floor(this.#instant(at) / rolling.bucketMs));
    const calendar = this.#calendar(window);
    return this.#placeOf(calendar, typeof at === 'string' ? periodNamed(calendar, at) : this.#periodAt(calendar, at));
  }

  /** That many periods of a calendar window, the newest first. */
  async periods(window: string, count: number): Promise<Period[]> {
    const { every, timeZone } = this.#calendar(window);
    await this.#store.met(true);
    return periodsBefore(every, timeZone, this.#store.time.nowMs(), count);
  }

  /** The all-time board, and the rankings of windows that are under way. */
  current(nowMs: number): Rankings {
    const places = [...this.#calendars.values()].map((window) =>
      this.#placeOf(window, periodOf(window.every, window.timeZone, nowMs)),
    );
    const buckets = [...this.#rollings.values()].flatMap((window) =>
      this.#buckets(window, Math.floor(nowMs / window.bucketMs), window.count),
    );
    return { places: [this.#store.all, ...places], buckets };
  }

  /**
   * The all-time board, and every ranking of windows that may be there still; from the next period on, because a server whose clock was ahead may
   * have been the master.
   */
  everything(nowMs: number): Rankings {
    const places = [...this.#calendars.values()].flatMap((window) => {
      const { every, timeZone, keep } = window;
      const count = Math.ceil((keep * LENGTH_MS[every] + SPARE_MS) / LEAST_MS[every]) + 2;
      const { endMs } = periodOf(every, timeZone, nowMs);
      return periodsBefore(every, timeZone, endMs, count).map((period) => this.#placeOf(window, period));
    });
    const buckets = [...this.#rollings.values()].flatMap((window) => {
      const { bucketMs, count, keepMs } = window;
      const past = count + Math.ceil((keepMs + SPARE_MS) / bucketMs);
      return this.#buckets(window, Math.floor(nowMs / bucketMs) + 1, past + 1);
    });
    return { places: [this.#store.all, ...places], buckets };
  }

  /** The rolling windows that somebody may have put together. */
  united(nowMs: number): string[] {
    return [...this.#rollings.values()].flatMap((window) => {
      const { bucketMs, count, keepMs } = window;
      const newest = Math.floor(nowMs / bucketMs) + count;
      const past = count + Math.ceil((keepMs + SPARE_MS) / bucketMs);
      return Array.from({ length: count + past + 1 }, (_, age) => this.#unitedKeys(window, newest - age)).flatMap(
        ({ ranks, scores }) => [ranks, scores],
      );
    });
  }

  #makePlan(nowMs: number): Plan {
    const { rule, all } = this.#store;
    const places = [all];
    const expiries = [0];
    const spans: Array<{ startMs: number; endMs: number }> = [];
    for (const window of this.#calendars.values()) {
      const period = periodOf(window.every, window.timeZone, nowMs);
      places.push(this.#placeOf(window, period));
      expiries.push(period.endMs + window.keep * LENGTH_MS[window.every] + SPARE_MS);
      spans.push(period);
    }
    const buckets: Bucket[] = [];
    const ended: Bucket[] = [];
    for (const window of this.#rollings.values()) {
      const newest = Math.floor(nowMs / window.bucketMs);
      const [next, current, ...others] = this.#buckets(window, newest + 1, window.count + 1) as [Bucket, Bucket];
      const endMs = (newest + 1) * window.bucketMs;
      buckets.push(current);
      // Of a member's last scores, only the newest may be in the window; not one of the next bucket either, of a clock that was ahead.
      if (rule.policy === 'last') ended.push(next, ...others);
      expiries.push(endMs + window.count * window.bucketMs + window.keepMs + SPARE_MS);
      spans.push({ startMs: newest * window.bucketMs, endMs });
    }
    const hasMarks = rule.ties !== 'member';
    const hasScores = rule.rank === 'dense';
    const tells = rule.meta !== undefined;
    const keysOf = ({ ranks, marks, scores, metadata }: Place): string[] => [
      ranks,
      ...(hasMarks ? [marks] : []),
      ...(hasScores ? [scores] : []),
      ...(tells ? metadata : []),
    ];
    const ranksOf = ({ ranks }: Bucket): string => ranks;
    return {
      keys: [
        ...places.flatMap(keysOf),
        ...buckets.map(ranksOf),
        ...ended.map(ranksOf),
        ...(tells ? buckets.map(({ metadata }) => metadata) : []),
      ],
      expiries: expiries.map(String),
      boards: places.length,
      buckets: buckets.length,
      ended: ended.length,
      fromMs: Math.max(0, ...spans.map(({ startMs }) => startMs)),
      untilMs: spans.length === 0 ? 0 : Math.min(...spans.map(({ endMs }) => endMs)),
    };
  }

  /**
   * The definition is part of the key: a window that was given another zone begins anew. In small letters, because Intl takes a name in any, and
   * what it makes of an alias depends on the Node that runs.
   */
  #placeOf({ name, every, timeZone }: CalendarRule, { id }: Period): Place {
    return this.#store.place(name, `${every}@${timeZone.toLowerCase()}`, id);
  }

  #buckets({ name, bucketMs }: RollingRule, newest: number, count: number): Bucket[] {
    const { name: board, parts } = this.#store;
    const keyOf = (number: number, kind: string): string =>
      parts.keys(board, name, `rolling-${bucketMs}`, `${number}`, kind);
    return Array.from({ length: count }, (_, age) => ({
      ranks: keyOf(newest - age, 'ranks'),
      metadata: keyOf(newest - age, 'metadata'),
    }));
  }

  #unitedKeys({ name, bucketMs, count }: RollingRule, newest: number): Place {
    return this.#store.place(name, `rolling-${bucketMs}x${count}`, `${newest}`);
  }

  #united(window: RollingRule, newest: number): Place {
    const place = this.#unitedKeys(window, newest);
    const { rule, parts } = this.#store;
    const buckets = this.#buckets(window, newest, window.count);
    const prepare = async (): Promise<void> => {
      const keys = { ranks: place.ranks, scores: place.scores, buckets: buckets.map(({ ranks }) => ranks) };
      const args = {
        aggregate: rule.policy === 'sum' ? 'SUM' : 'MIN',
        ranking: rule.rank,
        refreshMs: window.refreshMs,
        spareMs: UNITED_SPARE_MS + 2 * parts.deadlineMs,
      };
      const isMade = await this.#store.run((client) => uniteScript(client, keys, args));
      parts.meter.union(isMade ? 'made' : 'fresh');
    };
    return { ...place, metadata: buckets.map(({ metadata }) => metadata), isTimed: false, prepare };
  }

  #calendar(window: string): CalendarRule {
    const found = this.#calendars.get(window);
    if (found) return found;
    const known = [...this.#calendars.keys()].join(', ') || 'none';
    const what = this.#rollings.has(window) ? 'a calendar window' : 'a window of the board';
    throw invalid(`window: expected ${what} (${known}), got ${describeValue(window)}`, { window });
  }

  #periodAt({ every, timeZone }: CalendarRule, at: Date | undefined): Period {
    return periodOf(every, timeZone, this.#instant(at));
  }

  #instant(at: Date | string | undefined): number {
    if (at === undefined) return this.#store.time.nowMs();
    const ms = at instanceof Date ? at.getTime() : Number.NaN;
    if (ms >= FIRST_MS && ms < LAST_MS) return ms;
    throw invalid(`at: expected a Date in the years 1000 to 9999, got ${describeValue(at)}`, { at });
  }
}

function periodNamed({ name, every, timeZone }: CalendarRule, id: string): Period {
  const period = periodById(every, timeZone, id);
  if (period) return period;
  throw invalid(`at: expected a ${every} in ${timeZone} for the window ${name}, got ${describeValue(id)}`, { at: id });
}

function isObjection(reply: unknown): reply is Objection {
  return Array.isArray(reply) && (reply[0] === 'clock' || reply[0] === 'settings');
}

function invalid(message: string, facts: Record<string, unknown>): MillraceError {
  return new MillraceError('OPTIONS_INVALID', message, facts);
}
