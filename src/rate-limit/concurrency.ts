/**
 * How many may do something at once, over all processes: one export per user, ten calls to a slow provider.
 *
 * Promise: at most `max` hold a slot of a key. A slot is a lease that is renewed while it is held, so that those of a process that
 * died are free again within `ttl`. A caller that finds no slot is told so and does not queue. It is a limit and no lock: a process
 * that was paused for longer than `ttl` works on beside whoever took its slot; where that must not be, take a lock.
 *
 * Keys: `PREFIX:slots:{NAME/KEY}`, a ZSET of holders by the end of their leases in server µs; expires with the last lease.
 * Redis down: `onError` decides within the module's deadline. Slots that are held stay so; their leases are taken again, as far as
 * they are free, once Redis is back.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { createBatch } from '../redis/batch.ts';
import type { Connections } from '../redis/connect.ts';
import { createKeySpace, type KeySpace } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import {
  checkConcurrency,
  type ConcurrencyOptions,
  type NoSlot,
  type SlotOptions,
  type Used,
} from './concurrency-options.ts';
import { FaultLog, type OnError } from './outage.ts';
import type { SlotOutcome } from './rate-limit-metrics.ts';
import { HeldSlot, SlotTable, type Slot } from './slots.ts';

export type { ConcurrencyOptions, NoSlot, SlotOptions, Used } from './concurrency-options.ts';
export type { Slot } from './slots.ts';

const acquireSlot = defineScript({
  file: 'rate-limit/concurrency-acquire.lua',
  keys: ['holders'],
  args: ['id', 'max', 'ttlMs'],
  reply: ([taken, inUse, endsInMs]: [number, number, number]) => ({ isTaken: taken === 1, inUse, endsInMs }),
});

const renewSlots = defineScript({
  file: 'rate-limit/concurrency-renew.lua',
  keys: ['holders'],
  args: ['max', 'ttlMs', '...ids'],
  reply: (lost: string[]) => lost,
});

const countSlots = defineScript({
  file: 'rate-limit/concurrency-count.lua',
  keys: ['holders'],
  args: [],
  reply: (count: number) => count,
});

/** What a limit is made of. */
export interface ConcurrencyParts {
  connections: Pick<Connections, 'commands'>;
  prefix: string;
  /** With the deadline of the module. */
  guard: { run<T>(call: () => Promise<T>): Promise<T> };
  clock: Clock;
  log: Logger;
  onError: OnError;
  /** How many processes share the limit, for `local`. */
  instances: number;
  /** Counts. */
  onOutcome?: ((outcome: SlotOutcome, limit: string) => void) | undefined;
}

const RENEWED_AT_ONCE = 500;

/** A concurrency limit; kept for each key apart. */
export class ConcurrencyLimit {
  readonly name: string;
  readonly #parts: ConcurrencyParts;
  readonly #max: number;
  readonly #ttlMs: number;
  readonly #retryAfterMs: number;
  readonly #onError: OnError;
  readonly #keys: KeySpace;
  readonly #table: SlotTable;
  readonly #faultLog: FaultLog;
  /** Ids of this process begin so. */
  readonly #process = randomBytes(9).toString('base64url');
  #count = 0;
  #isStopped = false;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(name: string, options: ConcurrencyOptions, parts: ConcurrencyParts) {
    const { max, ttl, retryAfter, onError = parts.onError } = checkConcurrency(`concurrency ${name}`, options);
    this.name = name;
    this.#parts = parts;
    this.#max = max;
    this.#ttlMs = ttl;
    this.#retryAfterMs = retryAfter;
    this.#onError = onError;
    this.#keys = createKeySpace(parts.prefix, 'slots');
    this.#faultLog = new FaultLog(name, parts.log);
    this.#table = new SlotTable({
      clock: parts.clock,
      everyMs: ttl / 3,
      againMs: ttl / 10,
      renew: (slots) => this.#renew(slots),
    });
  }

  /**
   * Runs the function while it holds a slot; without a free one it is not run. The slot is given back however the function ends.
   *
   * @example
   * const run = await exports.using(`user:${userId}`, () => writeExport(userId));
   * if (!run.allowed) return response.status(429).end();
   * @throws what the function throws; MillraceError OPTIONS_INVALID, KEY_INVALID, CLOSED
   */
  async using<T>(key: string, run: (slot: Slot) => Promise<T> | T, options?: SlotOptions): Promise<Used<T>> {
    const slot = await this.acquire(key, options);
    if (!slot.allowed) return slot;
    try {
      return { allowed: true, value: await run(slot) };
    } finally {
      await slot.release();
    }
  }

  /**
   * A slot, to be released by the caller, or that none is free.
   *
   * @example
   * const slot = await exports.acquire(`user:${userId}`);
   * if (!slot.allowed) return tellLater(slot.retryAfterMs);
   * await using held = slot;
   * @throws MillraceError OPTIONS_INVALID, KEY_INVALID, CLOSED
   */
  async acquire(key: string, { max = this.#max }: SlotOptions = {}): Promise<Slot | NoSlot> {
    if (this.#isStopped)
      throw new MillraceError('CLOSED', `concurrency ${this.name} has been stopped`, { limiter: this.name });
    if (!Number.isSafeInteger(max) || max < 1)
      throw new MillraceError('OPTIONS_INVALID', `concurrency ${this.name}: max: expected a whole number from 1 on`, {
        max,
      });
    const holders = this.#holdersOf(key);
    const id = `${this.#process}:${(this.#count++).toString(36)}`;
    const args = { id, max, ttlMs: this.#ttlMs };
    try {
      const answer = await this.#parts.guard.run(() =>
        acquireSlot(this.#parts.connections.commands(), { holders }, args),
      );
      if (answer.isTaken) return this.#take(holders, id, max, answer.inUse, 'redis');
      return this.#refuse(max, answer.inUse, Math.min(answer.endsInMs, this.#retryAfterMs), 'redis');
    } catch (error) {
      return this.#withoutRedis(error, holders, id, max);
    }
  }

  /**
   * As acquire(), but that none is free is thrown: a job whose handler lets it through is postponed to `retryAfterMs`.
   *
   * @example
   * await using slot = await exports.require(`user:${userId}`);
   * @throws MillraceError RATE_LIMITED with limiter, limit, inUse, retryAfterMs
   */
  async require(key: string, options?: SlotOptions): Promise<Slot> {
    const slot = await this.acquire(key, options);
    if (slot.allowed) return slot;
    const { limit, inUse, retryAfterMs } = slot;
    const message = `${this.name}: all ${limit} slots are in use; ask again in ${retryAfterMs} ms`;
    throw new MillraceError('RATE_LIMITED', message, { limiter: this.name, limit, inUse, retryAfterMs });
  }

  /** How many slots of the key are held now. @throws MillraceError when Redis does not answer */
  async inUse(key: string): Promise<number> {
    const holders = this.#holdersOf(key);
    return this.#parts.guard.run(() => countSlots(this.#parts.connections.commands(), { holders }, {}));
  }

  /** Renews nothing any more: slots that are still held are free for others after their ttl. Safe to call twice. */
  stop(): void {
    this.#isStopped = true;
    this.#table.stop();
  }

  #holdersOf(key: string): string {
    if (typeof key === 'string' && key !== '') return this.#keys(`${this.name}/${key}`);
    throw new MillraceError('KEY_INVALID', `concurrency ${this.name}: expected a key that is a string and not empty`, {
      key,
    });
  }

  #take(holders: string, id: string, max: number, inUse: number, source: Slot['source']): Slot {
    this.#parts.onOutcome?.(source === 'outage' ? 'outage' : 'allowed', this.name);
    const slot = new HeldSlot({ holders, id, limit: max, inUse, source }, (held) => this.#release(held));
    this.#table.add(slot);
    return slot;
  }

  #refuse(limit: number, inUse: number, retryAfterMs: number, source: Slot['source']): NoSlot {
    this.#parts.onOutcome?.('refused', this.name);
    return { allowed: false, limit, inUse, retryAfterMs: Math.max(1, Math.ceil(retryAfterMs)), source };
  }

  #withoutRedis(error: unknown, holders: string, id: string, max: number): Slot | NoSlot {
    if (!isMillraceError(error) || !error.code.startsWith('REDIS_')) throw error;
    this.#faultLog.tell(error);
    const here = this.#table.countOf(holders);
    const share = Math.max(1, Math.floor(max / this.#parts.instances));
    if (this.#onError === 'allow') return this.#take(holders, id, max, here + 1, 'outage');
    if (this.#onError === 'local' && here < share) return this.#take(holders, id, max, here + 1, 'local');
    // It may have been taken after all, by a call whose answer came too late, or not at all because its connection was lost.
    if (error.code === 'REDIS_TIMEOUT' || error.code === 'REDIS_UNREACHABLE') void this.#giveBack(holders, [id]);
    return this.#refuse(max, here, this.#retryAfterMs, this.#onError === 'local' ? 'local' : 'outage');
  }

  async #release(slot: HeldSlot): Promise<void> {
    this.#table.delete(slot);
    await this.#giveBack(slot.holders, [slot.id]);
  }

  /** Best effort: what is not given back runs out. */
  async #giveBack(holders: string, ids: readonly string[]): Promise<void> {
    try {
      await this.#parts.guard.run(() => this.#parts.connections.commands().zrem(holders, ...ids));
    } catch (error) {
      this.#parts.log.debug({ limiter: this.name, err: error }, 'slot not given back; it runs out by itself');
    }
  }

  /** Whether Redis answered. */
  async #renew(slots: ReadonlyMap<string, readonly HeldSlot[]>): Promise<boolean> {
    const { connections, guard, log } = this.#parts;
    try {
      await guard.run(async () => {
        const batch = createBatch(connections.commands());
        const answers = [...slots].flatMap(([holders, held]) => {
          const max = held.reduce((most, { limit }) => Math.max(most, limit), 0);
          return chunksOf(held).map(async (chunk) => {
            const ids = chunk.map(({ id }) => id);
            this.#renewed(holders, chunk, await batch.run(renewSlots, { holders }, { max, ttlMs: this.#ttlMs, ids }));
          });
        });
        await Promise.all([batch.send(), ...answers]);
      });
      return true;
    } catch (error) {
      log.debug({ limiter: this.name, err: error }, 'slots not renewed; tried again soon');
      return false;
    }
  }

  #renewed(holders: string, held: readonly HeldSlot[], lost: readonly string[]): void {
    const isLost = new Set(lost);
    const ghosts = held.filter(({ id, isReleased }) => isReleased && !isLost.has(id));
    // Released while the renewal was under way, which may have been carried out after the release.
    if (ghosts.length > 0)
      void this.#giveBack(
        holders,
        ghosts.map(({ id }) => id),
      );
    for (const slot of held) {
      if (!isLost.has(slot.id) || slot.isReleased || slot.isLost) continue;
      slot.isLost = true;
      this.#parts.onOutcome?.('lost', this.name);
      const message = 'a slot ran out while it was held and all are taken: one more than the limit is at work';
      this.#parts.log.warn({ limiter: this.name, limit: slot.limit }, message);
    }
  }
}

/** A script takes no more arguments than Lua can unpack, and should be short besides. */
function chunksOf(held: readonly HeldSlot[]): HeldSlot[][] {
  const count = Math.ceil(held.length / RENEWED_AT_ONCE);
  return Array.from({ length: count }, (_, at) => held.slice(at * RENEWED_AT_ONCE, (at + 1) * RENEWED_AT_ONCE));
}
