/**
 * One way of a process to a value: all callers of a key share it, so that the key is read, waited for and loaded once.
 *
 *   reading --nothing there--> leasing --granted--> loading --> settled
 *      '--a value--> settled     ^ '--somebody else loads--> waiting --a message, or time--'
 *
 * A flight is detached when what it is about to give has been invalidated: those who asked before are given it all the same, it is not kept, and
 * whoever asks from then on begins another flight.
 */
import type { Clock } from '../clock.ts';
import type { Kept } from './first-level.ts';
import type { Lease } from './second-level.ts';

/** What a flight gives, or something else once a time has passed. */
class SoftEnd {
  readonly promise: Promise<unknown>;
  /** Whether the time has passed. */
  isOver = false;
  #resolve!: (value: unknown) => void;

  constructor(flight: Promise<unknown>, ms: number, inHand: () => Promise<unknown> | undefined) {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      const timer = setTimeout(() => {
        this.isOver = true;
        const value = inHand();
        if (value) resolve(value);
      }, ms);
      flight
        .then(resolve, reject)
        .finally(() => clearTimeout(timer))
        .catch(reject);
    });
    this.promise.catch(() => undefined); // Each caller meets it by himself.
  }

  resolve(value: unknown): void {
    this.#resolve(value);
  }
}

/** A message, an answer or an end may come between looking and waiting: whoever waits tells what he has seen. */
export class Flight {
  readonly key: string;
  readonly promise: Promise<unknown>;
  /** Whether a message of this moment can concern what it gives: it has read, or reads, or loads. Not while it waits, because it looks again. */
  phase: 'reading' | 'leasing' | 'waiting' | 'loading' = 'reading';
  /** Of the key; with the next one of its chain, for the table alone. */
  readonly hash: number;
  next: Flight | undefined;
  isDetached = false;
  /** Whether who joins is given at once what is in hand: not what was there when messages may have been missed. */
  isLending = true;
  /** While it loads. */
  lease: Lease | undefined;
  /** How often it was told to look again. */
  wakeups = 0;
  readonly #named: readonly string[];
  #tags: Set<string> | undefined;
  #inHand: Kept | undefined;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;
  #wake: AbortController | undefined;
  /** By their time. */
  #softEnds: Map<number, SoftEnd> | undefined;

  constructor(key: string, hash: number, tags: readonly string[]) {
    this.key = key;
    this.hash = hash;
    this.#named = tags;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Tags that the value will have, as far as they are known. */
  get tags(): Set<string> {
    return (this.#tags ??= new Set(this.#named));
  }

  /** A value that can be given while there is no newer one. */
  get inHand(): Kept | undefined {
    return this.#inHand;
  }

  set inHand(kept: Kept | undefined) {
    if (kept !== this.#inHand) this.isLending = true;
    this.#inHand = kept;
    if (!kept || !this.#softEnds) return;
    for (const soft of this.#softEnds.values()) if (soft.isOver) soft.resolve(kept.give());
  }

  land(value: unknown): void {
    this.#resolve(value);
  }

  crash(error: unknown): void {
    this.#reject(error);
  }

  /** Nobody may be there to meet a failure. */
  mayFail(): void {
    this.promise.catch(() => undefined);
  }

  /** What the flight gives, or what is in hand once `ms` have passed. One timer serves all who ask for so long, from the first one on. */
  orInHandAfter(ms: number): Promise<unknown> {
    this.#softEnds ??= new Map();
    let soft = this.#softEnds.get(ms);
    if (!soft) this.#softEnds.set(ms, (soft = new SoftEnd(this.promise, ms, () => this.#inHand?.give())));
    return soft.promise;
  }

  /** Tells it to look again, now or as soon as it would wait. */
  wake(): void {
    this.wakeups++;
    this.#wake?.abort();
  }

  /** Waits for a wake-up beyond those that were seen, `ms` at most. */
  async wait(ms: number, seen: number, clock: Clock): Promise<void> {
    if (this.wakeups !== seen) return;
    const wake = new AbortController();
    this.#wake = wake;
    try {
      await clock.sleep(ms, { signal: wake.signal });
    } catch {
      return; // Woken.
    } finally {
      this.#wake = undefined;
    }
  }
}
