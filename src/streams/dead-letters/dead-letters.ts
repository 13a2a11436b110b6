/**
 * The dead letters of one group: look at them, send them back, or drop them.
 *
 * Promise: reading changes nothing. A letter is sent back once, however many ask at once, and to the group that it died in only; handlers see it
 * with the id that it was first published under. What dies again while a call is at work is left to the next one.
 * Redis down: everything throws; what was done by then is done, and is told as `facts.done`.
 */
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { Connections } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { checkOptions } from '../../schema.ts';
import { groupNames } from '../groups.ts';
import type { StreamKeys } from '../keys.ts';
import { groupUnknown } from '../lag.ts';
import {
  actSchema,
  filterSchema,
  fits,
  idSchema,
  pageSchema,
  takesAll,
  type CheckedFilter,
  type StreamLetterFilter,
  type StreamLetterOptions,
  type StreamLetterPage,
} from './filter.ts';
import { decodeLetter, type StreamDeadLetter } from './letter.ts';
import { redriveScript } from './scripts.ts';

/** Letters that are read, or acted on, together. */
const STEP = 50;

/** The dead letters of one group of a stream. */
export class StreamDeadLetters {
  readonly #connections: Pick<Connections, 'commands' | 'label'>;
  readonly #keys: StreamKeys;
  readonly #of: { readonly stream: string; readonly group: string };

  constructor(connections: Pick<Connections, 'commands' | 'label'>, keys: StreamKeys, stream: string, group: string) {
    this.#connections = connections;
    this.#keys = keys;
    this.#of = { stream, group };
  }

  /** The newest first, a page at a time; the last page has no cursor. @throws MillraceError OPTIONS_INVALID, or what Redis met */
  async list(options: StreamLetterPage = {}): Promise<{ letters: StreamDeadLetter[]; cursor: string | undefined }> {
    const { limit, cursor, ...filter } = checkOptions(pageSchema, options, this.#owner('list'));
    const letters: StreamDeadLetter[] = [];
    let before = cursor;
    for (;;) {
      const page = await this.#newest(filter, before, Math.max(STEP, limit));
      for (const letter of page) {
        before = letter.id;
        if (fits(filter, letter)) letters.push(letter);
        if (letters.length === limit) return { letters, cursor: before };
      }
      if (page.length < Math.max(STEP, limit)) return { letters, cursor: undefined };
    }
  }

  /** How many there are. Without a filter it is one command, else it reads them all. */
  async count(filter: StreamLetterFilter = {}): Promise<number> {
    const checked = checkOptions(filterSchema, filter, this.#owner('count'));
    if (takesAll(checked)) return this.#ask(() => this.#connections.commands().xlen(this.#dead));
    let count = 0;
    for await (const ids of this.#meant(checked, Number.MAX_SAFE_INTEGER)) count += ids.length;
    return count;
  }

  /** The letter; undefined if there is none of that id. */
  async get(id: string): Promise<StreamDeadLetter | undefined> {
    checkOptions(idSchema, { id }, this.#owner('get'));
    const [entry] = await this.#ask(() => this.#connections.commands().xrange(this.#dead, id, id));
    return entry && decodeLetter(entry, this.#of);
  }

  /**
   * Publishes them again for this group, the oldest first, with all their attempts.
   *
   * @param target The id of a letter, or which ones are meant.
   * @example
   * await streams.deadLetters(ordersPlaced, 'billing').redrive({ fingerprint }, { limit: 100 });
   * @throws MillraceError OPTIONS_INVALID; GROUP_UNKNOWN when nobody would read them.
   */
  async redrive(
    target: string | StreamLetterFilter,
    options: StreamLetterOptions = {},
  ): Promise<{ matched: number; redriven: number; dryRun: boolean }> {
    const { matched, done, dryRun } = await this.#act(target, options, 'redrive', async (ids) => {
      const keys = { dead: this.#dead, entries: this.#keys.entries };
      const redriven = await redriveScript(this.#connections.commands(), keys, { group: this.#of.group, ids });
      if (!redriven)
        throw groupUnknown(this.#of.stream, this.#of.group, await groupNames(this.#connections, this.#keys));
      return redriven.filter((id) => id !== undefined).length;
    });
    return { matched, redriven: done, dryRun };
  }

  /** Removes them for good. */
  async discard(
    target: string | StreamLetterFilter,
    options: StreamLetterOptions = {},
  ): Promise<{ matched: number; discarded: number; dryRun: boolean }> {
    const { matched, done, dryRun } = await this.#act(target, options, 'discard', (ids) =>
      this.#ask(() => this.#connections.commands().xdel(this.#dead, ...ids)),
    );
    return { matched, discarded: done, dryRun };
  }

  get #dead(): string {
    return this.#keys.group(this.#of.group).dead;
  }

  /** Takes the meant letters in steps. `matched` counts those that were there when their step was read. */
  async #act(
    target: string | StreamLetterFilter,
    options: StreamLetterOptions,
    what: string,
    act: (ids: string[]) => Promise<number>,
  ): Promise<{ matched: number; done: number; dryRun: boolean }> {
    const { limit, dryRun, signal } = checkOptions(actSchema, options, this.#owner(what));
    const steps =
      typeof target === 'string'
        ? this.#one(target, limit, what)
        : this.#meant(checkOptions(filterSchema, target, this.#owner(what)), limit);
    let matched = 0;
    let done = 0;
    try {
      for await (const ids of steps) {
        if (signal?.aborted) break;
        matched += ids.length;
        if (!dryRun) done += await act(ids);
      }
    } catch (error) {
      if (!isMillraceError(error)) throw error;
      throw new MillraceError(error.code, error.message, { ...error.facts, done, cause: error.cause });
    }
    return { matched, done, dryRun };
  }

  async *#one(id: string, limit: number, what: string): AsyncGenerator<string[]> {
    checkOptions(idSchema, { id }, this.#owner(what));
    if (limit > 0 && (await this.get(id))) yield [id];
  }

  /** The ids that are meant, the oldest first, of the letters that were there when it began. */
  async *#meant(filter: CheckedFilter, limit: number): AsyncGenerator<string[]> {
    const [newest] = await this.#newest({}, undefined, 1);
    if (!newest) return;
    let left = limit;
    let start = filter.from === undefined ? '-' : String(filter.from);
    while (left > 0) {
      const from = start;
      const page = await this.#ask(() =>
        this.#connections.commands().xrange(this.#dead, from, newest.id, 'COUNT', STEP),
      );
      const ids = page
        .map((entry) => decodeLetter(entry, this.#of))
        .filter((letter) => fits(filter, letter))
        .map(({ id }) => id)
        .slice(0, left);
      if (ids.length > 0) yield ids;
      left -= ids.length;
      const last = page.at(-1)?.[0];
      if (last === undefined || page.length < STEP) return;
      start = `(${last}`;
    }
  }

  async #newest(
    { from, to }: Pick<CheckedFilter, 'from' | 'to'>,
    before: string | undefined,
    count: number,
  ): Promise<StreamDeadLetter[]> {
    const end = before === undefined ? (to === undefined ? '+' : `(${to}-0`) : `(${before}`;
    const start = from === undefined ? '-' : String(from);
    const page = await this.#ask(() => this.#connections.commands().xrevrange(this.#dead, end, start, 'COUNT', count));
    return page.map((entry) => decodeLetter(entry, this.#of));
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw explainRedisError(error, this.#connections.label);
    }
  }

  #owner(what: string): string {
    return `deadLetters(${this.#of.stream}, ${this.#of.group}).${what}`;
  }
}
