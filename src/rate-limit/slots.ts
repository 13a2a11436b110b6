/**
 * The slots that this process holds of one concurrency limit, and the loop that renews them.
 *
 * One loop renews them all, so that a slot costs no timer; it ends when none is held.
 */
import type { Clock } from '../clock.ts';

/** A slot that is held. */
export interface Slot {
  readonly allowed: true;
  readonly limit: number;
  /** How many were held when it was taken, this one too. */
  readonly inUse: number;
  /** Who decided: Redis; or, while it did not answer, this process by its share (`local`) or by letting all through (`outage`). */
  readonly source: 'redis' | 'local' | 'outage';
  /** Gives the slot back. Never throws, and does nothing the second time. */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A slot as this process knows it. */
export class HeldSlot implements Slot {
  readonly allowed = true;
  readonly holders: string;
  readonly id: string;
  readonly limit: number;
  readonly inUse: number;
  readonly source: Slot['source'];
  /** Its lease ran out, and another has it; told once. */
  isLost = false;
  readonly #onRelease: (slot: HeldSlot) => Promise<void>;
  #released: Promise<void> | undefined;

  constructor(
    facts: { holders: string; id: string; limit: number; inUse: number; source: Slot['source'] },
    onRelease: (slot: HeldSlot) => Promise<void>,
  ) {
    this.holders = facts.holders;
    this.id = facts.id;
    this.limit = facts.limit;
    this.inUse = facts.inUse;
    this.source = facts.source;
    this.#onRelease = onRelease;
  }

  get isReleased(): boolean {
    return this.#released !== undefined;
  }

  release(): Promise<void> {
    return (this.#released ??= this.#onRelease(this));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

interface TableParts {
  clock: Clock;
  everyMs: number;
  /** After a renewal that failed. */
  againMs: number;
  /** Renews them, by their Redis keys. Whether that was done; never rejects. */
  renew: (slots: ReadonlyMap<string, readonly HeldSlot[]>) => Promise<boolean>;
}

/** The slots that are held. */
export class SlotTable {
  readonly #parts: TableParts;
  readonly #slots = new Map<string, Set<HeldSlot>>();
  /** Of the loop, while it runs. */
  #loop: AbortController | undefined;
  #isStopped = false;

  constructor(parts: TableParts) {
    this.#parts = parts;
  }

  /** How many of the key are held here. */
  countOf(holders: string): number {
    return this.#slots.get(holders)?.size ?? 0;
  }

  add(slot: HeldSlot): void {
    const ofKey = this.#slots.get(slot.holders);
    if (ofKey) ofKey.add(slot);
    else this.#slots.set(slot.holders, new Set([slot]));
    if (this.#loop || this.#isStopped) return;
    const loop = new AbortController();
    this.#loop = loop;
    void this.#run(loop.signal);
  }

  delete(slot: HeldSlot): void {
    const ofKey = this.#slots.get(slot.holders);
    if (!ofKey?.delete(slot) || ofKey.size > 0) return;
    this.#slots.delete(slot.holders);
    if (this.#slots.size > 0) return;
    this.#loop?.abort();
    this.#loop = undefined;
  }

  stop(): void {
    this.#isStopped = true;
    this.#loop?.abort();
    this.#loop = undefined;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs, againMs, renew } = this.#parts;
    for (let waitMs = everyMs; ;) {
      try {
        await clock.sleep(waitMs, { signal });
      } catch {
        return; // No slot is held any more.
      }
      const slots = new Map([...this.#slots].map(([holders, held]) => [holders, [...held]]));
      waitMs = (await renew(slots)) ? everyMs : againMs;
      if (signal.aborted) return;
    }
  }
}
