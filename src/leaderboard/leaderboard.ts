/** A board: scores go in, ranks come out. */
import { tryToMs, type Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { encodePayload } from '../payload.ts';
import type { BoardStore, Place } from './board-store.ts';
import type { Period } from './calendar.ts';
import {
  checkCount,
  checkKnown,
  checkList,
  checkName,
  type CalendarWindow,
  type NoWindows,
  type WindowOptions,
} from './options.ts';
import { closeSeasonScript, deleteArchiveScript, removeScript, setMetadataScript, type Objection } from './scripts.ts';
import { checkScore, checkStep } from './scores.ts';
import { PLACE_OPTIONS, Standings } from './standings.ts';
import { Windows, type Plan, type Rankings, type Where } from './windows.ts';
import { Writer, type Entry, type Submitted } from './writer.ts';

/** The names of a board's windows that begin anew with a day, week or month. */
export type CalendarNames<All extends Record<string, WindowOptions>> = {
  [Name in keyof All & string]: All[Name] extends CalendarWindow ? Name : never;
}[keyof All & string];

/** Options of a score. */
export interface SubmitOptions<Window extends string = never, Meta = never> {
  /** Names what is done, such as `purchase:17`: sent again for this member, it does not count again. Up to 256 characters. */
  operation?: string | undefined;
  /** What is told with the member from now on. Default: what was told before. */
  meta?: Meta | undefined;
  /** The calendar window whose score and rank are told. Default: the all-time board. The score counts for all of them in any case. */
  window?: Window | undefined;
}

/** One of many scores. */
export interface Submission<Meta = never> {
  readonly member: string;
  readonly score: number;
  readonly operation?: string | undefined;
  readonly meta?: Meta | undefined;
}

/** A season that was closed. */
export interface ClosedSeason {
  readonly name: string;
  readonly closedAt: Date;
  /** How many were on the board then. */
  readonly members: number;
  /** It had been closed before by this name: nothing was changed. */
  readonly isRepeat: boolean;
}

/** An archive: read as a board is. */
export type Archive<Meta = never> = Standings<object, Meta>;

/** Options of many scores. */
export interface SubmitManyOptions<Window extends string = never> {
  /** As for one score. */
  window?: Window | undefined;
  /** Ends it before the next hundred are sent. */
  signal?: AbortSignal | undefined;
}

const SUBMIT_OPTIONS = ['operation', 'meta', 'window'];
const SUBMISSION = ['member', 'score', 'operation', 'meta'];
/** A script takes no more keys than Lua can unpack. */
const PLACES_AT_ONCE = 500;
const KEYS_AT_ONCE = 1_000;
const MOST_ENTRIES = 100_000;
const MOST_PERIODS = 400;
/** How long the name of an archive that has expired is known, so that closing it again changes nothing. */
const NAME_LASTS_MS = 30 * 86_400_000;

/** A board, for one process. */
export class Leaderboard<All extends Record<string, WindowOptions> = NoWindows, Meta = never> extends Standings<
  Where<keyof All & string>,
  Meta
> {
  readonly name: string;
  readonly #store: BoardStore;
  readonly #windows: Windows;
  readonly #writer: Writer;

  /** Apps call leaderboards.board(). */
  constructor(store: BoardStore) {
    const windows = new Windows(store);
    super(store, (where) => windows.locate(where), PLACE_OPTIONS);
    this.name = store.name;
    this.#store = store;
    this.#windows = windows;
    this.#writer = new Writer(store, windows);
  }

  /**
   * Takes a score of a member, on the all-time board and in every window, by the board's policy.
   *
   * @example
   * const { rank, isBest } = await board.submit('ada', 1_500, { operation: 'game:17' });
   * @throws MillraceError SCORE_INVALID; OPTIONS_INVALID; INPUT_INVALID or PAYLOAD_TOO_LARGE for metadata; LEADERBOARD_SETTINGS_DIFFER;
   *   REDIS_*. After REDIS_TIMEOUT or REDIS_UNREACHABLE it may have counted: with an operation it is safe to submit again.
   */
  async submit(
    member: string,
    score: number,
    options: SubmitOptions<CalendarNames<All>, Meta> = {},
  ): Promise<Submitted> {
    checkName('submit: member', member);
    checkScore(this.name, member, score, this.#store.rule);
    return this.#send('submit', member, score, options, false);
  }

  /**
   * Takes many scores, in the order of the list. A hundred at a time are taken together.
   *
   * @example
   * await board.submitMany(results.map(({ player, points }) => ({ member: player, score: points, operation: `match:${match}` })));
   * @param submissions Up to 100,000.
   * @throws MillraceError as submit(); nothing is sent when one of them is not valid. SCORE_INVALID for sums that are too large, once all others are
   *   taken: its facts have their places in the list, from 0, as `refused`, and as `taken` how many were taken. REDIS_*: the first `taken` of the
   *   list are done, the hundred after them may be, the others are not. The signal's reason.
   */
  async submitMany(
    submissions: ReadonlyArray<Submission<Meta>>,
    options: SubmitManyOptions<CalendarNames<All>> = {},
  ): Promise<Submitted[]> {
    checkKnown('submitMany', options, ['window', 'signal']);
    checkList('submitMany: scores', submissions, MOST_ENTRIES);
    const entries: Entry[] = [];
    for (const [at, submission] of submissions.entries()) {
      checkKnown(`submitMany: score ${at}`, submission, SUBMISSION);
      const { member, score, operation, meta } = submission;
      checkName('submitMany: member', member);
      checkScore(this.name, member, score, this.#store.rule);
      if (operation !== undefined) checkName('submitMany: operation', operation);
      entries.push({ member, score, operation, meta: meta === undefined ? '' : await this.#encode(member, meta) });
    }
    return this.#writer.sendAll(entries, options.window, options.signal);
  }

  /**
   * Adds to the score of a member, on every board to what stands there; from 0 where nothing does. By the policy `best`, the sum counts where
   * it is better. `min` and `max` are for what is submitted, not for sums. Floats drift, as 0.1 + 0.2 does: count in whole cents.
   *
   * @example
   * await board.increment('ada', 25, { operation: 'purchase:17' });
   * @throws MillraceError as submit(); OPTIONS_INVALID on a board with rolling windows, but for the policy `sum`
   */
  async increment(
    member: string,
    by: number,
    options: SubmitOptions<CalendarNames<All>, Meta> = {},
  ): Promise<Submitted> {
    const { rule } = this.#store;
    checkName('increment: member', member);
    checkStep(this.name, member, by, rule);
    if (rule.policy !== 'sum' && rule.rollings.length > 0) {
      const message = `board ${this.name}: increment: a rolling window knows no score to add to, unless its policy is sum`;
      throw new MillraceError('OPTIONS_INVALID', message, { board: this.name });
    }
    return this.#send('increment', member, by, options, true);
  }

  /**
   * Takes a member off the all-time board and all windows that are kept, with the metadata. Archives stay as they are, and so do operations: one
   * that has counted counts no more.
   *
   * @example
   * await board.remove('ada');
   * @returns whether the member was on any
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async remove(member: string): Promise<boolean> {
    checkName('remove: member', member);
    await this.#store.met(true);
    const args = { member, timed: this.#timed };
    const count = await this.#onEach(
      (nowMs) => this.#windows.everything(nowMs),
      (keys, boards, { fromMs, untilMs }) =>
        this.#store.run((client) => removeScript(client, { keys }, { ...args, boards, fromMs, untilMs })),
    );
    await this.#unlink(this.#windows.united(this.#store.time.nowMs()));
    return count > 0;
  }

  /**
   * Sets what is told with a member, without a score, on the all-time board and in the windows that are under way.
   *
   * @example
   * await board.setMeta('ada', { name: 'Ada L.' });
   * @returns false, and does nothing, when the member is on none of them
   * @throws MillraceError INPUT_INVALID; PAYLOAD_TOO_LARGE; OPTIONS_INVALID; REDIS_*
   */
  async setMeta(member: string, meta: Meta): Promise<boolean> {
    checkName('setMeta: member', member);
    const about = await this.#encode(member, meta);
    await this.#store.met(true);
    const args = { member, about, timed: this.#timed };
    const count = await this.#onEach(
      (nowMs) => this.#windows.current(nowMs),
      (keys, boards, { fromMs, untilMs }) =>
        this.#store.run((client) => setMetadataScript(client, { keys }, { ...args, boards, fromMs, untilMs })),
    );
    return count > 0;
  }

  /**
   * The periods of a calendar window: the current one, by the server's clock, and those before it.
   *
   * @example
   * const [, yesterday] = await board.periods('daily', 2);
   * const winners = await board.top(3, { window: 'daily', at: yesterday.id });
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async periods(window: CalendarNames<All>, count: number): Promise<Period[]> {
    checkCount('periods: count', count, 1, MOST_PERIODS);
    return this.#windows.periods(window, count);
  }

  /**
   * Puts the all-time board away under a name and begins a new one, in one step: a score counts for the one or the other. Windows go on.
   * Called again with the name, it changes nothing, so that it is safe to repeat; until 30 days after the archive has expired. Metadata goes
   * with the archive: the new season has what is told from then on.
   *
   * @example
   * await board.closeSeason('2026-autumn');
   * const winners = await board.archive('2026-autumn').top(10);
   * @param options `keep`: how long the archive stays; default for ever, until deleteArchive().
   * @throws MillraceError OPTIONS_INVALID; LEADERBOARD_SETTINGS_DIFFER; REDIS_*
   */
  async closeSeason(name: string, options: { keep?: Duration | undefined } = {}): Promise<ClosedSeason> {
    checkName('closeSeason: name', name);
    checkKnown('closeSeason', options, ['keep']);
    const keepMs = options.keep === undefined ? 0 : tryToMs(options.keep);
    if (keepMs === undefined || (options.keep !== undefined && keepMs < 1)) {
      const message = `closeSeason: keep: expected a duration, got ${describeValue(options.keep)}`;
      throw new MillraceError('OPTIONS_INVALID', message, { keep: options.keep });
    }
    const { state, archives, all, settings } = this.#store;
    const keys = { state, archives, keys: [all, this.#archived(name)].flatMap(keysOf) };
    const args = { settings, name, keepMs, memoryMs: NAME_LASTS_MS };
    const reply = await this.#store.run((client) => closeSeasonScript(client, keys, args));
    if (reply[0] === 'settings') this.#store.checkSettings(reply[1]);
    const [isNew, ms, members] = reply as [number, string, string];
    return { name, closedAt: new Date(Number(ms)), members: Number(members), isRepeat: isNew === 0 };
  }

  /**
   * A season that was closed. It need not be there: then it is empty.
   *
   * @example
   * const { rank } = (await board.archive('2026-autumn').rank('ada')) ?? {};
   * @throws MillraceError OPTIONS_INVALID
   */
  archive(name: string): Archive<Meta> {
    checkName('archive: name', name);
    const place = this.#archived(name);
    const locate = async (): Promise<Place> => {
      await this.#store.met(false);
      return place;
    };
    return new Standings<object, Meta>(this.#store, locate, []);
  }

  /**
   * The seasons that were closed, the newest first, without those that have expired.
   *
   * @throws MillraceError LEADERBOARD_SETTINGS_DIFFER; REDIS_*
   */
  async archives(): Promise<ClosedSeason[]> {
    const all = await this.#store.run((client) => client.hgetall(this.#store.archives));
    await this.#store.met(true);
    const nowMs = this.#store.time.nowMs();
    const seasons = Object.entries(all).flatMap(([name, said]): ClosedSeason[] => {
      const [ms = 0, members = 0, untilMs = 0] = said.split(' ').map(Number);
      if (untilMs !== 0 && untilMs <= nowMs) return [];
      return [{ name, closedAt: new Date(ms), members, isRepeat: false }];
    });
    return seasons.toSorted((left, right) => right.closedAt.getTime() - left.closedAt.getTime());
  }

  /**
   * Deletes an archive; its name is free again.
   *
   * @returns whether it was there
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async deleteArchive(name: string): Promise<boolean> {
    checkName('deleteArchive: name', name);
    const keys = { archives: this.#store.archives, keys: keysOf(this.#archived(name)) };
    return this.#store.run((client) => deleteArchiveScript(client, keys, { name }));
  }

  /**
   * Deletes the board: all-time, windows, archives, metadata, and in which form it was stored. Operations, and windows of options that it had
   * before, expire by themselves. Nobody should submit meanwhile: what comes in between stays, or begins a new board. Processes that used it keep
   * to the form that they know.
   *
   * @throws MillraceError REDIS_*
   */
  async delete(): Promise<void> {
    const store = this.#store;
    await store.learn();
    const names = await store.run((client) => client.hkeys(store.archives));
    const nowMs = store.time.nowMs();
    const { places, buckets } = this.#windows.everything(nowMs);
    const archived = names.map((name) => this.#archived(name));
    await this.#unlink([
      ...[...places, ...archived].flatMap(keysOf),
      ...buckets.flatMap(({ ranks, metadata }) => [ranks, metadata]),
      ...this.#windows.united(nowMs),
      store.archives,
      store.state,
    ]);
    store.forget();
  }

  get #timed(): string {
    return this.#store.all.isTimed ? '1' : '0';
  }

  /** Calls a script with some of the rankings at a time. @returns of how many they have said so */
  #onEach(
    which: (nowMs: number) => Rankings,
    call: (keys: string[], boards: number, plan: Plan) => Promise<number | Objection>,
  ): Promise<number> {
    let count = 0;
    return this.#windows.held(async (plan, nowMs) => {
      const { places, buckets } = which(nowMs);
      for (let from = 0; from < Math.max(places.length, buckets.length); from += PLACES_AT_ONCE) {
        const some = places.slice(from, from + PLACES_AT_ONCE);
        const others = buckets.slice(from, from + PLACES_AT_ONCE);
        const keys = [...some.flatMap(keysOf), ...others.flatMap(({ ranks, metadata }) => [ranks, metadata])];
        const reply = await call(keys, some.length, plan);
        if (typeof reply !== 'number') return reply;
        count += reply;
      }
      return count;
    });
  }

  async #unlink(keys: readonly string[]): Promise<void> {
    for (let from = 0; from < keys.length; from += KEYS_AT_ONCE)
      await this.#store.run((client) => client.unlink(...keys.slice(from, from + KEYS_AT_ONCE)));
  }

  #archived(name: string): Place {
    return this.#store.place('archive', name);
  }

  async #send(
    call: string,
    member: string,
    score: number,
    options: SubmitOptions<CalendarNames<All>, Meta>,
    adds: boolean,
  ): Promise<Submitted> {
    checkKnown(call, options, SUBMIT_OPTIONS);
    const { operation, meta, window } = options;
    if (operation !== undefined) checkName(`${call}: operation`, operation);
    const entry = { member, score, operation, meta: meta === undefined ? '' : await this.#encode(member, meta) };
    return this.#writer.sendOne(entry, adds, window);
  }

  #encode(member: string, meta: Meta): string | Promise<string> {
    const { name, rule } = this.#store;
    const { meta: schema, maxMetaBytes: maxBytes } = rule;
    if (schema)
      return encodePayload(meta, {
        schema,
        contract: name,
        what: `the metadata of ${member} on board ${name}`,
        maxBytes,
      });
    throw new MillraceError('OPTIONS_INVALID', `board ${name}: meta: the board has no schema for it`, { board: name });
  }
}

function keysOf({ ranks, marks, scores, metadata }: Place): string[] {
  return [ranks, marks, scores, ...metadata];
}
