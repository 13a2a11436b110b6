/**
 * Sends scores.
 *
 * The periods that a score counts for are reckoned here and held to the server's clock there.
 */
import { isMillraceError, MillraceError } from '../errors.ts';
import type { BoardStore } from './board-store.ts';
import { submitScript, type SubmitReply } from './scripts.ts';
import { fromStored, largestOf, tooLarge, toStored } from './scores.ts';
import type { Windows } from './windows.ts';

/** What became of a score. */
export interface Submitted {
  readonly member: string;
  /** What stands on the board now. */
  readonly score: number;
  /** Undefined where the board keeps `maxSize` members and this one is not among them; the board then knows nothing of the member. */
  readonly rank: number | undefined;
  /** What stood there before; undefined for the first score. */
  readonly previous: number | undefined;
  /** Whether it is the member's first score, or better than `previous`. */
  readonly isBest: boolean;
  /** The operation was known: nothing was changed, and the rest is what was told then. */
  readonly isRepeat: boolean;
}

/** A score on its way, checked. */
export interface Entry {
  readonly member: string;
  readonly score: number;
  /** As JSON; empty for none. */
  readonly meta: string;
  readonly operation: string | undefined;
}

/** One script holds up everybody while it runs. */
const SENT_AT_ONCE = 100;

/** Writes scores of one board. */
export class Writer {
  readonly #store: BoardStore;
  readonly #windows: Windows;
  readonly #fixed: Readonly<Record<'settings' | 'policy' | 'ties' | 'ranking' | 'tells' | 'most' | 'largest', string>>;
  readonly #memoryMs: string;

  constructor(store: BoardStore, windows: Windows) {
    const { rule, settings } = store;
    this.#store = store;
    this.#windows = windows;
    this.#fixed = {
      settings,
      policy: rule.policy,
      ties: rule.ties,
      ranking: rule.rank,
      tells: rule.meta ? '1' : '0',
      most: String(rule.maxSize),
      largest: String(largestOf(rule)),
    };
    this.#memoryMs = String(rule.operationsMs);
  }

  /** @param adds Whether the score is added to what stands. @throws MillraceError SCORE_INVALID for a sum that was refused */
  async sendOne(entry: Entry, adds: boolean, window: string | undefined): Promise<Submitted> {
    const [submitted] = await this.#send([entry], adds, window);
    if (submitted) return submitted;
    throw tooLarge(this.#store.name, entry, this.#store.rule);
  }

  /** Some at a time. @throws MillraceError SCORE_INVALID for sums that were refused, once all others are taken */
  async sendAll(
    entries: readonly Entry[],
    window: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Submitted[]> {
    const all: Submitted[] = [];
    const refused: number[] = [];
    for (let from = 0; from < entries.length; from += SENT_AT_ONCE) {
      signal?.throwIfAborted();
      const some = await this.#sendAfter(all.length, entries.slice(from, from + SENT_AT_ONCE), window);
      for (const [at, submitted] of some.entries()) {
        if (submitted) all.push(submitted);
        else refused.push(from + at);
      }
    }
    const [first] = refused;
    if (first === undefined) return all;
    throw tooLarge(this.#store.name, entries[first] as Entry, this.#store.rule, { refused, taken: all.length });
  }

  /** A failure tells how many were taken before. */
  async #sendAfter(
    taken: number,
    entries: readonly Entry[],
    window: string | undefined,
  ): Promise<Array<Submitted | undefined>> {
    try {
      return await this.#send(entries, false, window);
    } catch (error) {
      if (!isMillraceError(error)) throw error;
      throw new MillraceError(error.code, error.message, { ...error.facts, cause: error, taken });
    }
  }

  /** @returns undefined for a sum that was refused */
  async #send(
    entries: readonly Entry[],
    adds: boolean,
    window: string | undefined,
  ): Promise<Array<Submitted | undefined>> {
    const { rule, parts } = this.#store;
    const facts = await this.#ask(entries, adds || rule.policy === 'sum', this.#windows.boardOf(window));
    return entries.map(({ member }, at) => {
      const [score, rank, previous, better, outcome] = facts.slice(1 + at * 5, 6 + at * 5);
      if (outcome === 'refused') {
        parts.meter.score('refused');
        return undefined;
      }
      const isBest = Number(better) === 1;
      const isRepeat = outcome === 'known';
      parts.meter.score(isRepeat ? 'known' : isBest ? 'better' : 'kept');
      return {
        member,
        score: fromStored(score as string, rule.order),
        rank: Number(rank) || undefined,
        previous: previous === '' ? undefined : fromStored(previous as string, rule.order),
        isBest,
        isRepeat,
      };
    });
  }

  async #ask(entries: readonly Entry[], adds: boolean, told: number): Promise<SubmitReply> {
    const store = this.#store;
    const { state, rule } = store;
    const operations: string[] = [];
    const values: string[] = [];
    for (const { member, score, meta, operation } of entries) {
      if (operation !== undefined) operations.push(store.operation(operation, member));
      values.push(member, toStored(score, rule), meta, operation === undefined ? '0' : '1');
    }
    return this.#windows.held(async (plan) => {
      const keys = operations.length === 0 ? plan.keys : [...plan.keys, ...operations];
      const { boards, buckets, ended, fromMs, untilMs } = plan;
      const args = {
        ...this.#fixed,
        adds: adds ? '1' : '0',
        boards,
        buckets,
        ended,
        told,
        fromMs,
        untilMs,
        memoryMs: this.#memoryMs,
        rest: [...plan.expiries, ...values],
      };
      const reply = await store.run((client) => submitScript(client, { state, keys }, args));
      if (typeof reply[0] === 'number') {
        store.confirm();
        if (untilMs > 0) store.time.learn(reply[0]);
      }
      return reply;
    });
  }
}
