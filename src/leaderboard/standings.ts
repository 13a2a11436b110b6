/**
 * Reading a board, whether it is the all-time one, a window, or an archive.
 *
 * Promise: what one call tells is of one moment. Ranks are those of the board's `rank`; the order is that of its `ties`.
 * Redis down: calls reject within the deadline.
 */
import { describeValue, MillraceError } from '../errors.ts';
import { MARK_LENGTH, type BoardStore, type Place } from './board-store.ts';
import { exportFrom, type Exported, type ExportOptions } from './export.ts';
import { checkCount, checkKnown, checkList, checkName } from './options.ts';
import { readMembersScript, readScript, type MembersReply, type Run } from './scripts.ts';
import { fromStored, toRange } from './scores.ts';

/** Where a member is on a board. */
export interface Standing<Meta = never> {
  readonly member: string;
  readonly score: number;
  /** From 1. */
  readonly rank: number;
  /** What was told with the member last; undefined for nothing. As it was given: it is not parsed again. */
  readonly meta?: Meta | undefined;
}

/** A page of a board. */
export interface BoardPage<Meta = never> {
  readonly entries: ReadonlyArray<Standing<Meta>>;
  /** Members of the board. */
  readonly total: number;
  /** Pages of this size. */
  readonly pages: number;
}

/** A member among those before and after. */
export interface Neighbours<Meta = never> {
  readonly entries: ReadonlyArray<Standing<Meta>>;
  /** Where the member is in `entries`. */
  readonly index: number;
}

/** Which entries of a range to give. */
export interface RangeOptions {
  /** How many at most. Default 100; up to 1,000. */
  limit?: number | undefined;
  /** How many to leave out. Default 0. */
  offset?: number | undefined;
}

/** Members whose score is in a range. */
export interface ScoreRange<Meta = never> {
  readonly entries: ReadonlyArray<Standing<Meta>>;
  /** How many there are in the range. */
  readonly total: number;
}

/** The most entries that one call gives. */
const MOST = 1_000;
/** How a reading of a board says what it means; one of an archive says nothing. */
export const PLACE_OPTIONS: readonly string[] = ['window', 'at'];

/** The readings of a board. `Where` says which of its rankings is meant. */
export class Standings<Where extends object, Meta> {
  readonly #store: BoardStore;
  readonly #locate: (where: Where) => Place | Promise<Place>;
  readonly #known: readonly string[];

  /** @param known the options that say what is meant */
  constructor(store: BoardStore, locate: (where: Where) => Place | Promise<Place>, known: readonly string[]) {
    this.#store = store;
    this.#locate = locate;
    this.#known = known;
  }

  /**
   * The best, from the first on.
   *
   * @example
   * const entries = await board.top(100, { window: 'daily' }); // [{ member: 'ada', score: 1500, rank: 1 }, ...]
   * @param count Up to 1,000.
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async top(
    count: number,
    options: Where & { offset?: number | undefined } = {} as Where,
  ): Promise<Array<Standing<Meta>>> {
    this.#checkKnown('top', options, ['offset']);
    checkCount('top: count', count, 1, MOST);
    const { offset = 0, ...where } = options as Where & { offset?: number };
    checkCount('top: offset', offset, 0, Number.MAX_SAFE_INTEGER - MOST);
    const place = await this.#open(where as unknown as Where);
    return this.#entriesOf(place, await this.#readPlaces(place, offset, count));
  }

  /**
   * A page, from 1 on.
   *
   * @example
   * const { entries, pages } = await board.page(3, { size: 25 });
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async page(number: number, options: Where & { size?: number | undefined } = {} as Where): Promise<BoardPage<Meta>> {
    this.#checkKnown('page', options, ['size']);
    const { size = 25, ...where } = options as Where & { size?: number };
    checkCount('page: size', size, 1, MOST);
    checkCount('page: number', number, 1, Number.MAX_SAFE_INTEGER / MOST);
    const place = await this.#open(where as unknown as Where);
    const run = await this.#readPlaces(place, (number - 1) * size, size);
    return { entries: this.#entriesOf(place, run), total: run.total, pages: Math.ceil(run.total / size) };
  }

  /**
   * A member, and so many before and after. Where the board ends on one side, there are more on the other.
   *
   * @example
   * const { entries, index } = (await board.around('ada', 5)) ?? { entries: [], index: 0 }; // up to 11
   * @returns undefined when the member is not on the board
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async around(member: string, each = 5, where: Where = {} as Where): Promise<Neighbours<Meta> | undefined> {
    checkName('around: member', member);
    checkCount('around: each', each, 0, MOST / 2);
    this.#checkKnown('around', where);
    const place = await this.#open(where);
    const run = await this.#read(place, { how: 'member', first: member, last: each, slice: [] });
    if (!run) return undefined;
    return { entries: this.#entriesOf(place, run), index: run.own - run.start };
  }

  /**
   * Where a member is.
   *
   * @example
   * const { rank = 0, score = 0 } = (await board.rank('ada')) ?? {};
   * @returns undefined when the member is not on the board
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async rank(member: string, where: Where = {} as Where): Promise<Standing<Meta> | undefined> {
    const [found] = await this.#members('rank', [member], where);
    return found?.standing;
  }

  /**
   * Where some members are, such as somebody's friends: the best first, without those that are not on the board. Ranks are those among all.
   *
   * @example
   * const friends = await board.of(['bob', 'cleo', 'ada'], { window: 'weekly' });
   * @param members Up to 1,000.
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async of(members: readonly string[], where: Where = {} as Where): Promise<Array<Standing<Meta>>> {
    checkList('of: members', members, MOST);
    const found = await this.#members('of', [...new Set(members)], where);
    return found.toSorted((left, right) => left.place - right.place).map(({ standing }) => standing);
  }

  /**
   * How many of the others, in percent, have a worse score: 100 for the first, and for who is alone; 0 for the last.
   *
   * @example
   * const percent = await board.percentile('ada'); // 87.5
   * @returns undefined when the member is not on the board
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async percentile(member: string, where: Where = {} as Where): Promise<number | undefined> {
    const [found] = await this.#members('percentile', [member], where);
    if (!found) return undefined;
    return found.total === 1 ? 100 : (100 * found.worse) / (found.total - 1);
  }

  /**
   * Those whose score is from `min` to `max`, the best first.
   *
   * @example
   * const { entries, total } = await board.range(1_000, Infinity, { limit: 50 });
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async range(min: number, max: number, options: Where & RangeOptions = {} as Where): Promise<ScoreRange<Meta>> {
    this.#checkKnown('range', options, ['limit', 'offset']);
    const { limit = 100, offset = 0, ...where } = options;
    checkCount('range: limit', limit, 1, MOST);
    checkCount('range: offset', offset, 0, Number.MAX_SAFE_INTEGER);
    if (!isBound(min) || !isBound(max) || min > max) {
      const came = `${describeValue(min)} and ${describeValue(max)}`;
      throw new MillraceError('OPTIONS_INVALID', `range: expected the least and the most, got ${came}`, { min, max });
    }
    const place = await this.#open(where as unknown as Where);
    const run = await this.#read(place, {
      how: 'scores',
      ...toRange(min, max, this.#store.rule),
      slice: [offset, limit],
    });
    return run ? { entries: this.#entriesOf(place, run), total: run.total } : { entries: [], total: 0 };
  }

  /**
   * How many members the board has.
   *
   * @throws MillraceError OPTIONS_INVALID; REDIS_*
   */
  async size(where: Where = {} as Where): Promise<number> {
    this.#checkKnown('size', where);
    const place = await this.#open(where);
    return this.#store.run((client) => client.zcard(place.ranks));
  }

  /**
   * All entries, the best first, in batches: so many at a time are in memory here.
   *
   * Promise: while others write, a member who is there all the time and whose score does not change comes exactly once. One whose score
   * changes meanwhile may come twice, or not at all.
   *
   * @example
   * for await (const { member, score } of board.export({ window: 'daily', at: '2026-11-20' })) file.write(`${member},${score}\n`);
   * @throws MillraceError OPTIONS_INVALID; REDIS_*; the signal's reason
   */
  export(options: Where & ExportOptions = {} as Where): AsyncGenerator<Exported<Meta>, void> {
    this.#checkKnown('export', options, ['batch', 'signal']);
    const { batch = MOST, signal, ...where } = options;
    checkCount('export: batch', batch, 1, MOST);
    const locate = async (): Promise<Place> => this.#locate(where as unknown as Where);
    return exportFrom<Meta>(this.#store, locate, { batch, signal });
  }

  get #tells(): boolean {
    return this.#store.rule.meta !== undefined;
  }

  #checkKnown(call: string, options: object, more?: readonly string[]): void {
    checkKnown(call, options, more ? [...this.#known, ...more] : this.#known);
  }

  async #open(where: Where): Promise<Place> {
    const place = await this.#locate(where);
    await place.prepare?.();
    return place;
  }

  async #readPlaces(place: Place, offset: number, count: number): Promise<Run> {
    const run = await this.#read(place, { how: 'places', first: offset, last: offset + count - 1, slice: [] });
    return run as Run; // Nil is said of members only.
  }

  #read(
    place: Place,
    which: { how: string; first: string | number; last: string | number; slice: readonly number[] },
  ): Promise<Run | undefined> {
    const form = `${this.#store.rule.rank.charAt(0)}${place.isTimed ? 'm' : ''}${this.#tells ? 't' : ''}`;
    const args = { form, ...which };
    return this.#store.run((client) => readScript(client, this.#keysOf(place), args));
  }

  /** Those that a board has. */
  #keysOf({ ranks, marks, scores, metadata, isTimed }: Place): { ranks: string; others: string[] } {
    const others = isTimed ? [marks] : [];
    if (this.#store.rule.rank === 'dense') others.push(scores);
    if (this.#tells) others.push(...metadata);
    return { ranks, others };
  }

  async #members(call: string, members: readonly string[], where: Where): Promise<Array<Found<Meta>>> {
    for (const member of members) checkName(`${call}: member`, member);
    this.#checkKnown(call, where);
    const place = await this.#open(where);
    const { rule } = this.#store;
    const args = { ranking: rule.rank, timed: place.isTimed ? '1' : '0', tells: this.#tells ? '1' : '0', members };
    const reply = await this.#store.run((client) => readMembersScript(client, this.#keysOf(place), args));
    return this.#foundIn(reply, members);
  }

  #foundIn([total, ...facts]: MembersReply, members: readonly string[]): Array<Found<Meta>> {
    const { order } = this.#store.rule;
    const found: Array<Found<Meta>> = [];
    for (let at = 0; at < facts.length; at += 6) {
      const [number, place, rank, score, worse, meta] = facts.slice(at, at + 6);
      const member = members[number as number] ?? '';
      const common = { member, score: fromStored(score as string, order), rank: rank as number };
      const standing: Standing<Meta> = this.#tells ? { ...common, meta: metaOf(meta as string | null) } : common;
      found.push({ standing, place: place as number, worse: worse as number, total });
    }
    return found;
  }

  /** The rank that was told is that of the first; those of the others follow from the places and scores. */
  #entriesOf({ isTimed }: Place, { start, rank: first, lead, list, metadata }: Run): Array<Standing<Meta>> {
    const { order, rank: ranking } = this.#store.rule;
    const tells = this.#tells;
    const from = isTimed ? MARK_LENGTH : 0;
    const entries: Array<Standing<Meta>> = [];
    let rank = first;
    let place = start;
    let last = list[2 * lead + 1];
    for (let at = 2 * lead; at < list.length; at += 2) {
      const text = list[at + 1] as string;
      if (ranking === 'ordinal') rank = place + 1;
      else if (text !== last) rank = ranking === 'dense' ? rank + 1 : place + 1;
      last = text;
      place++;
      const member = (list[at] as string).slice(from);
      const score = fromStored(text, order);
      entries.push(tells ? { member, score, rank, meta: metaOf(metadata[at / 2]) } : { member, score, rank });
    }
    return entries;
  }
}

interface Found<Meta> {
  readonly standing: Standing<Meta>;
  /** From 0. */
  readonly place: number;
  /** How many have a worse score. */
  readonly worse: number;
  readonly total: number;
}

/** Nothing is `false` in a list of Lua's, and null by itself. */
function metaOf(json: string | false | null | undefined): never | undefined {
  return json ? (JSON.parse(json) as never) : undefined;
}

function isBound(value: unknown): boolean {
  return typeof value === 'number' && !Number.isNaN(value);
}
