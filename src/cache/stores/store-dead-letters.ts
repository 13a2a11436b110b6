/**
 * The dead letters of one store: look at them, send them back, or drop them.
 *
 * Promise: a letter is sent back once, however many ask at once, and never past a newer change of its key, because that would have taken the letter's place.
 * Redis down: everything throws.
 */
import { z } from 'zod';
import type { Connections } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { checkOptions } from '../../schema.ts';
import type { ChangeLog } from './change-log.ts';
import type { Invalidations } from './invalidations.ts';
import { letterOf, type StoreDeadLetter } from './letter.ts';

/** Which letters are meant; `{}` is all of them. */
export interface StoreLetterFilter {
  /** Of this key. */
  key?: string | undefined;
  /** That died at this time or later. */
  from?: Date | undefined;
  /** That died at this time or earlier. */
  to?: Date | undefined;
}

/** Options of list(). */
export interface StoreLetterPage extends StoreLetterFilter {
  /** Letters of a page. Default 50, at most 1,000. */
  limit?: number | undefined;
  /** Where the page before has ended. */
  cursor?: string | undefined;
}

/** Options of redrive() and discard(). */
export interface StoreLetterOptions {
  /** At most so many, the oldest first. Default: all. */
  limit?: number | undefined;
  /** Stops before the next step; what was done by then is told as usual. */
  signal?: AbortSignal | undefined;
}

// The schemas are made for a call: they are for operators, and most processes never ask.
const filterShape = () => ({ key: z.string().optional(), from: z.date().optional(), to: z.date().optional() });
const filterOptions = () => z.strictObject(filterShape());
const pageOptions = () =>
  z.strictObject({
    ...filterShape(),
    limit: z.number().int().min(1).max(1_000).default(50),
    cursor: z
      .string()
      .regex(/^\d+-\d+$/)
      .optional(),
  });
const actOptions = () =>
  z.strictObject({
    limit: z.number().int().min(0).default(Number.MAX_SAFE_INTEGER),
    signal: z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional(),
  });

const STEP = 200;

/** The dead letters of one store. */
export class StoreDeadLetters<T> {
  readonly #connections: Pick<Connections, 'commands'>;
  readonly #changes: ChangeLog;
  readonly #invalidations: Invalidations;
  readonly #maxPending: number;

  constructor(
    connections: Pick<Connections, 'commands'>,
    changes: ChangeLog,
    invalidations: Invalidations,
    maxPending: number,
  ) {
    this.#connections = connections;
    this.#changes = changes;
    this.#invalidations = invalidations;
    this.#maxPending = maxPending;
  }

  /** The oldest first, in pages; the last page has no cursor. */
  async list(
    options: StoreLetterPage = {},
  ): Promise<{ letters: Array<StoreDeadLetter<T>>; cursor: string | undefined }> {
    const { limit, cursor, ...filter } = checkOptions(pageOptions(), options, 'deadLetters.list');
    const letters: Array<StoreDeadLetter<T>> = [];
    let after = cursor;
    for (;;) {
      const page = await this.#page(filter, after, limit);
      for (const letter of page) {
        after = letter.id;
        if (filter.key === undefined || letter.key === filter.key) letters.push(letter);
        if (letters.length === limit) return { letters, cursor: after };
      }
      if (page.length < limit) return { letters, cursor: undefined };
    }
  }

  /**
   * Makes them pending changes again, each with a new version. Stops when no more changes may be pending.
   *
   * @param target The id of a letter, or which ones are meant.
   */
  async redrive(
    target: string | StoreLetterFilter,
    options: StoreLetterOptions = {},
  ): Promise<{ redriven: number; isFull: boolean }> {
    let redriven = 0;
    let isFull = false;
    await this.#each(target, options, async (ids) => {
      const done = await this.#changes.redrive(ids, this.#maxPending);
      const keys = done.flatMap((one) => (one ? [one.key] : []));
      // From now on readers should see the change. If this process dies first, the flusher tells the cache.
      await this.#invalidations.drop(keys);
      redriven += keys.length;
      isFull = done.length < ids.length;
      return !isFull;
    });
    return { redriven, isFull };
  }

  /** Removes them for good. */
  async discard(target: string | StoreLetterFilter, options: StoreLetterOptions = {}): Promise<{ discarded: number }> {
    let discarded = 0;
    await this.#each(target, options, async (ids) => {
      discarded += await this.#changes.discard(ids);
      return true;
    });
    return { discarded };
  }

  /** Takes the meant letters in steps, until `act` says that it is enough. */
  async #each(
    target: string | StoreLetterFilter,
    options: StoreLetterOptions,
    act: (ids: string[]) => Promise<boolean>,
  ): Promise<void> {
    const { limit, signal } = checkOptions(actOptions(), options, 'deadLetters');
    if (typeof target === 'string') {
      if (limit > 0 && !signal?.aborted) await act([target]);
      return;
    }
    const filter = checkOptions(filterOptions(), target, 'deadLetters');
    let leftover = limit;
    let after: string | undefined;
    while (leftover > 0) {
      if (signal?.aborted) return;
      const { letters, cursor } = await this.list({ ...filter, cursor: after, limit: Math.min(STEP, leftover) });
      if (letters.length === 0 || !(await act(letters.map(({ id }) => id)))) return;
      leftover -= letters.length;
      after = cursor;
      if (after === undefined) return;
    }
  }

  async #page(
    { from, to }: StoreLetterFilter,
    after: string | undefined,
    count: number,
  ): Promise<Array<StoreDeadLetter<T>>> {
    const start = after === undefined ? String(from?.getTime() ?? '-') : `(${after}`;
    try {
      const entries = await this.#connections
        .commands()
        .xrange(this.#changes.keys.dead, start, String(to?.getTime() ?? '+'), 'COUNT', count);
      return entries.map((entry) => letterOf<T>(entry));
    } catch (error) {
      throw explainRedisError(error, 'dead letters of a store');
    }
  }
}
