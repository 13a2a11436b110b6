/** A board and its model, which keeps lists and sorts them. */
import { deepStrictEqual } from 'node:assert/strict';
import { z } from 'zod';
import { periodOf } from '../../src/leaderboard/calendar.ts';
import type { Leaderboard } from '../../src/leaderboard/leaderboard.ts';
import type { Leaderboards } from '../../src/leaderboard/leaderboards.ts';
import type { Standing, Standings } from '../../src/leaderboard/standings.ts';
import type { Submitted } from '../../src/leaderboard/writer.ts';

export interface Settings {
  order: 'highest' | 'lowest';
  policy: 'best' | 'last' | 'sum';
  rank: 'ordinal' | 'competition' | 'dense';
  ties: 'first' | 'last' | 'member';
  maxSize: number | undefined;
  timeZone: string;
  /** Whether members have metadata. */
  tells: boolean;
}

export type Act =
  | {
      act: 'submit';
      member: string;
      score: number;
      operation: number | undefined;
      meta: number | undefined;
      process: number;
    }
  | { act: 'tell'; member: string; meta: number }
  | { act: 'increment'; member: string; score: number }
  | { act: 'many'; list: ReadonlyArray<readonly [string, number]> }
  | { act: 'remove'; member: string }
  | { act: 'pass'; ms: number }
  | { act: 'close' };

interface Held {
  member: string;
  score: number;
  /** The how manieth score it was that was stored. */
  turn: number;
  meta: number | undefined;
}

type Windows = { daily: { every: 'day'; timeZone: string; keep: 400 }; weekly: { every: 'week'; keep: 400 } };

/** One board's history. */
export class LeaderboardHistory {
  readonly #settings: Settings;
  readonly #boards: ReadonlyArray<Leaderboard<Windows, number>>;
  readonly #setClock: (ms: number) => Promise<void>;
  #nowMs: number;
  #turn = 0;
  /** By `all`, `daily ID`, `weekly ID`, `archive NAME`. */
  readonly #lists = new Map<string, Held[]>();
  readonly #told = new Map<string, Submitted>();
  #seasons = 0;

  constructor(
    name: string,
    settings: Settings,
    startMs: number,
    processes: readonly Leaderboards[],
    setClock: (ms: number) => Promise<void>,
  ) {
    const { timeZone, tells, ...rest } = settings;
    this.#settings = settings;
    this.#nowMs = startMs;
    this.#setClock = setClock;
    const windows: Windows = { daily: { every: 'day', timeZone, keep: 400 }, weekly: { every: 'week', keep: 400 } };
    this.#boards = processes.map((leaderboards) =>
      leaderboards.board(name, { ...rest, windows, meta: tells ? z.number() : undefined }),
    );
  }

  begin(): Promise<void> {
    return this.#setClock(this.#nowMs);
  }

  async run(act: Act): Promise<void> {
    switch (act.act) {
      case 'submit': {
        const { member, score, process } = act;
        const operation = act.operation === undefined ? undefined : `op:${act.operation}`;
        const meta = this.#settings.tells ? act.meta : undefined;
        const told = await this.#board(process).submit(member, score, { operation, meta });
        const key = `${operation} ${member}`;
        const known = operation === undefined ? undefined : this.#told.get(key);
        const expected = known ? { ...known, isRepeat: true } : this.#take(member, score, false, meta);
        deepStrictEqual(told, expected);
        if (operation !== undefined && !known) this.#told.set(key, told);
        return;
      }
      case 'tell': {
        if (!this.#settings.tells) return;
        const held = this.#current().flatMap(
          (key) => this.#lists.get(key)?.find((one) => one.member === act.member) ?? [],
        );
        for (const one of held) one.meta = act.meta;
        deepStrictEqual(await this.#board(1).setMeta(act.member, act.meta), held.length > 0);
        return;
      }
      case 'increment':
        deepStrictEqual(await this.#board(0).increment(act.member, act.score), this.#take(act.member, act.score, true));
        return;
      case 'many': {
        const all = await this.#board(1).submitMany(act.list.map(([member, score]) => ({ member, score })));
        deepStrictEqual(
          all,
          act.list.map(([member, score]) => this.#take(member, score, false)),
        );
        return;
      }
      case 'remove': {
        let wasThere = false;
        for (const [name, list] of this.#lists) {
          const at = list.findIndex(({ member }) => member === act.member);
          if (at === -1 || name.startsWith('archive')) continue;
          list.splice(at, 1);
          wasThere = true;
        }
        deepStrictEqual(await this.#board(0).remove(act.member), wasThere);
        return;
      }
      case 'pass':
        this.#nowMs += act.ms;
        await this.#setClock(this.#nowMs);
        return;
      case 'close': {
        const name = `season ${this.#seasons++}`;
        const list = this.#lists.get('all') ?? [];
        const { members, isRepeat } = await this.#board(0).closeSeason(name);
        deepStrictEqual({ members, isRepeat }, { members: list.length, isRepeat: false });
        this.#lists.set(`archive ${name}`, list);
        this.#lists.delete('all');
      }
    }
  }

  /** Every reading of every list. */
  async compare(): Promise<void> {
    if (!this.#lists.has('all')) this.#lists.set('all', []);
    for (const [key, list] of this.#lists) {
      const [kind] = key.split(' ', 1);
      const id = key.slice(key.indexOf(' ') + 1);
      const board = this.#board(0) as unknown as Standings<object, number>;
      const read = kind === 'archive' ? this.#board(1).archive(id) : board;
      const where = kind === 'daily' || kind === 'weekly' ? { window: kind, at: id } : {};
      await this.#compareOne(read, where, this.#standings(list));
    }
  }

  async #compareOne(
    read: Standings<object, number>,
    where: object,
    all: ReadonlyArray<Standing<number>>,
  ): Promise<void> {
    deepStrictEqual(await read.top(100, where), all);
    deepStrictEqual(await read.size(where), all.length);
    deepStrictEqual(await read.of(all.map(({ member }) => member).toSorted(), where), all);
    const exported = [];
    for await (const entry of read.export({ ...where, batch: 2 })) exported.push(entry);
    deepStrictEqual(
      exported,
      all.map(({ member, score, meta }) => (this.#settings.tells ? { member, score, meta } : { member, score })),
    );
    const pages = await Promise.all([1, 2, 3, 4].map((page) => read.page(page, { ...where, size: 3 })));
    deepStrictEqual(
      pages.flatMap(({ entries }) => entries),
      all.slice(0, 12),
    );
    for (const [place, standing] of all.entries()) {
      const { member, score } = standing;
      const found = await read.around(member, 2, where);
      const start = Math.max(Math.min(place - 2, all.length - 5), 0);
      deepStrictEqual(found, { entries: all.slice(start, start + 5), index: place - start });
      const same = all.filter((one) => one.score >= Math.min(score, 1) && one.score <= Math.max(score, 1));
      const range = await read.range(Math.min(score, 1), Math.max(score, 1), where);
      deepStrictEqual(range, { entries: same, total: same.length });
      const worse = all.filter((one) => this.#isBetter(score, one.score)).length;
      const percent = all.length === 1 ? 100 : (100 * worse) / (all.length - 1);
      deepStrictEqual(await read.percentile(member, where), percent);
    }
  }

  #board(process: number): Leaderboard<Windows, number> {
    return this.#boards[process] as Leaderboard<Windows, number>;
  }

  #isBetter(one: number, other: number): boolean {
    return this.#settings.order === 'highest' ? one > other : one < other;
  }

  /** The lists that a score counts for now. */
  #current(): string[] {
    const daily = periodOf('day', this.#settings.timeZone, this.#nowMs).id;
    const weekly = periodOf('week', 'UTC', this.#nowMs).id;
    return ['all', `daily ${daily}`, `weekly ${weekly}`];
  }

  #take(member: string, given: number, adds: boolean, meta?: number): Submitted {
    const { policy, maxSize } = this.#settings;
    const before = this.#lists.get('all')?.find((one) => one.member === member)?.meta;
    let told: Submitted | undefined;
    const turn = ++this.#turn;
    for (const key of this.#current()) {
      const list = this.#lists.get(key) ?? [];
      this.#lists.set(key, list);
      const held = list.find((one) => one.member === member);
      const previous = held?.score;
      let score = (adds || policy === 'sum' ? (previous ?? 0) : 0) + given;
      if (previous !== undefined && policy === 'best' && !this.#isBetter(score, previous)) score = previous;
      if (held && score !== previous) Object.assign(held, { score, turn });
      if (!held) list.push({ member, score, turn, meta: meta ?? (key === 'all' ? undefined : before) });
      else held.meta = meta ?? held.meta;
      const sorted = this.#sorted(list);
      if (maxSize !== undefined) list.splice(0, list.length, ...sorted.slice(0, maxSize));
      const rank = this.#standings(list).find((one) => one.member === member)?.rank;
      const isBest = previous === undefined || this.#isBetter(score, previous);
      told ??= { member, score: score + 0, rank, previous, isBest, isRepeat: false };
    }
    return told as Submitted;
  }

  #sorted(list: readonly Held[]): Held[] {
    const { ties } = this.#settings;
    return list.toSorted((left, right) => {
      if (left.score !== right.score) return this.#isBetter(left.score, right.score) ? -1 : 1;
      if (ties !== 'member' && left.turn !== right.turn) return (left.turn - right.turn) * (ties === 'first' ? 1 : -1);
      return Buffer.compare(Buffer.from(left.member), Buffer.from(right.member));
    });
  }

  #standings(list: readonly Held[]): Array<Standing<number>> {
    const { rank, tells } = this.#settings;
    const sorted = this.#sorted(list);
    return sorted.map(({ member, score, meta }, place) => {
      const better = sorted.filter((one) => this.#isBetter(one.score, score));
      const ranks = { ordinal: place, competition: better.length, dense: new Set(better.map((one) => one.score)).size };
      const standing = { member, score: score + 0, rank: ranks[rank] + 1 };
      return tells ? { ...standing, meta } : standing;
    });
  }
}
