/** A process that takes permits, as the scripts see one; a test pretends to be several. */
import { createKeySpace } from '../../../src/redis/keys.ts';
import type { ScriptClient } from '../../../src/redis/script.ts';
import {
  acquirePermits,
  extendPermits,
  giveBackPermits,
  inspectPermits,
  permitKeys,
  type AcquireMode,
  type AcquireReply,
  type GiveBackReply,
  type PermitKeys,
} from '../../../src/lock/permits/scripts.ts';

/** Of the channels of pretended processes. */
export const WAKE_PREFIX = 'test:lock:wake:';

export interface Ask {
  weight?: number;
  ttlMs?: number;
  mode?: string;
  how?: AcquireMode;
}

export interface Pretence {
  /** How many permits there are. Default 1. */
  permits?: number;
  claimMs?: number;
  patienceMs?: number;
  memoryMs?: number;
}

/** One process, on one semaphore. */
export class PretendedProcess {
  readonly id: string;
  readonly name: string;
  readonly keys: PermitKeys;
  permits: number;
  readonly #client: ScriptClient;
  readonly #times: { claimMs: number; patienceMs: number; memoryMs: number };

  constructor(client: ScriptClient, id: string, name: string, pretence: Pretence = {}) {
    const { permits = 1, claimMs = 2_000, patienceMs = 5_000, memoryMs = 60_000 } = pretence;
    this.#client = client;
    this.id = id;
    this.name = name;
    this.keys = permitKeys(createKeySpace('test', 'lock'), 'semaphore', name);
    this.permits = permits;
    this.#times = { claimMs, patienceMs, memoryMs };
  }

  acquire(waiter: string, { weight = 1, ttlMs = 30_000, mode = 'permits', how = 'queue' }: Ask = {}) {
    return acquirePermits(this.#client, this.keys, {
      me: `${this.id}|${waiter}`,
      process: this.id,
      weight,
      mode,
      ttlMs,
      how,
      declared: this.permits,
      name: this.name,
      wakePrefix: WAKE_PREFIX,
      ...this.#times,
    });
  }

  /** The status alone, for tests that ask who is in and who is not. */
  async statusOf(waiter: string, ask: Ask = {}): Promise<AcquireReply['status']> {
    return (await this.acquire(waiter, ask)).status;
  }

  giveBack(
    waiter: string,
    { kept = 0, keptMode = '', isTaken = false }: { kept?: number; keptMode?: string; isTaken?: boolean } = {},
  ): Promise<GiveBackReply> {
    return giveBackPermits(this.#client, this.keys, {
      me: waiter === '' ? '' : `${this.id}|${waiter}`,
      process: this.id,
      kept,
      keptMode,
      isTaken: isTaken ? 1 : 0,
      declared: this.permits,
      name: this.name,
      wakePrefix: WAKE_PREFIX,
      ...this.#times,
    });
  }

  extend(waiter: string, ttlMs: number): Promise<number | undefined> {
    return extendPermits(this.#client, this.keys, {
      me: `${this.id}|${waiter}`,
      ttlMs,
      memoryMs: this.#times.memoryMs,
    });
  }

  inspect(): ReturnType<typeof inspectPermits> {
    return inspectPermits(this.#client, this.keys, { declared: this.permits, most: 100 });
  }

  /** Who holds now, in the order of their deadlines. */
  async holders(): Promise<string[]> {
    return (await this.inspect()).holders.map(({ waiterId }) => waiterId);
  }

  /** Who waits now, in order. */
  async waiters(): Promise<string[]> {
    return (await this.inspect()).waiters.map(({ waiterId }) => waiterId);
  }
}
