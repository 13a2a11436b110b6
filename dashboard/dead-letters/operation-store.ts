/**
 * Operations in Redis, so that each dashboard process shows them and can end them.
 *
 * Promise: each start has a token of its own, and only the latest one's counts: a process that was taken for dead writes nothing more.
 * Keys: one slot. HASH `{operations}:ID`: plan, progress, state, note, abort, holder (the token of its latest start), spent (letters of its
 * limit that have moved, or may have); a week. STRING `{operations}:ID:alive`: the holder, for as long as that tells so. ZSET
 * `{operations}:all`: the last hundred, by their start.
 */
import { randomUUID } from 'node:crypto';
import { createKeySpace, type Platform } from 'millrace';
import { beatOperation, endOperation, spendOperation, takeOperation } from './operation-scripts.ts';
import { readOperation, type Operation, type OperationState, type Plan, type Progress } from './operation.ts';

const KEEP_MS = 7 * 86_400_000;
/** A process that does not say for so long that it works on has died, or is cut off from Redis. */
const ALIVE_MS = 15_000;
const MOST_KEPT = 100;

export const NOTHING_DONE: Progress = { phase: 'looking', total: 0, done: 0, skipped: {}, elapsedMs: 0 };

/** What a process that works on it hears back. */
export interface Beat {
  /** Who wants it to end; undefined while nobody does. */
  abortedBy: string | undefined;
  /** It was started again since, or is gone. */
  isTaken: boolean;
}

/** How a start has ended. */
export interface End {
  state: OperationState;
  note: string | undefined;
  progress: Progress;
  /** Letters that were counted as spent and have not moved. */
  unspent: number;
}

/** Reads and writes operations. */
export class OperationStore {
  readonly #platform: Platform;
  readonly #keys: { of: (id: string) => string; alive: (id: string) => string; all: string };
  readonly #aliveMs: number;

  constructor(platform: Platform, aliveMs: number = ALIVE_MS) {
    this.#platform = platform;
    this.#aliveMs = aliveMs;
    const keys = createKeySpace(platform.prefix, 'dashboard');
    this.#keys = {
      of: (id) => keys('operations', id),
      alive: (id) => keys('operations', id, 'alive'),
      all: keys('operations', 'all'),
    };
  }

  /** The server's clock, in ms since 1970. */
  async now(): Promise<number> {
    const [seconds, micros] = await this.#client.time();
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  /** Writes down a new one, whose first start has the token; its id. */
  async add(plan: Plan, token: string): Promise<string> {
    const id = randomUUID();
    const progress: Progress = { ...NOTHING_DONE, total: plan.expected };
    const fields = { plan: JSON.stringify(plan), progress: JSON.stringify(progress), state: 'running', holder: token };
    await this.#client
      .multi()
      .set(this.#keys.alive(id), token, 'PX', this.#aliveMs)
      .hset(this.#keys.of(id), fields)
      .pexpire(this.#keys.of(id), KEEP_MS)
      .zadd(this.#keys.all, plan.startedAt, id)
      .zremrangebyrank(this.#keys.all, 0, -MOST_KEPT - 1)
      .exec();
    return id;
  }

  /** Takes one that nobody works on, for the first who asks: how much of its limit is spent; undefined for all others. */
  take(id: string, plan: Plan, token: string): Promise<number | undefined> {
    const progress = JSON.stringify({ ...NOTHING_DONE, total: plan.expected });
    return takeOperation(this.#client, this.#keysOf(id), {
      token,
      plan: JSON.stringify(plan),
      progress,
      ...this.#times,
    });
  }

  async get(id: string): Promise<Operation | undefined> {
    const [fields, alive] = await Promise.all([
      this.#client.hgetall(this.#keys.of(id)),
      this.#client.exists(this.#keys.alive(id)),
    ]);
    return readOperation(id, fields, alive === 1);
  }

  /** The newest first. */
  async list(): Promise<Operation[]> {
    const ids = await this.#client.zrange(this.#keys.all, '0', String(MOST_KEPT - 1), 'REV');
    const found = await Promise.all(ids.map((id) => this.get(id)));
    return found.filter((one) => one !== undefined);
  }

  /** Whoever works on it hears of it with the next beat. */
  async askToAbort(id: string, by: string): Promise<void> {
    await this.#client.hset(this.#keys.of(id), 'abort', by);
  }

  /** Says that the start works on, and how far it is. */
  beat(id: string, token: string, progress: Progress): Promise<Beat> {
    return beatOperation(this.#client, this.#keysOf(id), { token, progress: JSON.stringify(progress), ...this.#times });
  }

  /** Counts letters of its limit as spent; false when it is another's. */
  spend(id: string, token: string, count: number): Promise<boolean> {
    return spendOperation(this.#client, this.#keysOf(id), { token, count });
  }

  /** Writes down how it has ended; false when it is another's. */
  end(id: string, token: string, { state, note = '', progress, unspent }: End): Promise<boolean> {
    const last = JSON.stringify({ ...progress, phase: 'ended' });
    const args = { token, state, note, progress: last, unspent, keepMs: KEEP_MS };
    return endOperation(this.#client, this.#keysOf(id), args);
  }

  #keysOf(id: string) {
    return { operation: this.#keys.of(id), alive: this.#keys.alive(id) };
  }

  get #times() {
    return { aliveMs: this.#aliveMs, keepMs: KEEP_MS };
  }

  get #client() {
    return this.#platform.redis.commands();
  }
}
