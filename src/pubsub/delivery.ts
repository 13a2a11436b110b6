/**
 * A bounded queue between the socket and a handler.
 *
 *   push() --room--> queued --a handler is free--> handled
 *      '--no room--> as onOverflow says
 *
 * Promise: nothing of a handler ever runs in the callback of the socket, so a slow one holds up neither the connection nor other
 * subscriptions; and what waits for it is bounded. Handlers start in the order of the queue.
 */

/** What becomes of what comes while the queue is full. */
export const OVERFLOW_POLICIES = ['drop-oldest', 'drop-newest', 'close', 'catch-up'] as const;
export type OverflowPolicy = (typeof OVERFLOW_POLICIES)[number];

/** What a queue needs. */
export interface DeliveryParts<Item, Kind = unknown> {
  readonly size: number;
  readonly concurrency: number;
  /** `catch-up` is for those who push: they are told that there is no room, and come again. */
  readonly onOverflow: OverflowPolicy;
  /** Never throws or rejects. */
  handle(item: Item): void | Promise<void>;
  /** What is counted together when it is dropped, all by default; undefined for what must not be dropped. */
  kindOf?(item: Item): Kind | undefined;
  /** What the handler is given in the place of what was dropped. */
  dropped(count: number, kind: Kind): Item;
  /** The queue was full, and the policy is to close. */
  onClose(): void;
}

/** How many handlers that end at once run before the socket is looked at again. */
const MOST_AT_ONCE = 64;
/** The kind of all items where nobody tells them apart. */
const ALIKE = 'all';

/** Stands in the queue where what found it full would have stood. */
class Dropped<Kind> {
  readonly counts = new Map<Kind, number>();

  add(kind: Kind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }

  take(): [Kind, number] | undefined {
    for (const told of this.counts) {
      this.counts.delete(told[0]);
      return told;
    }
    return undefined;
  }
}

/** The queue of one subscription. */
export class Delivery<Item, Kind = unknown> {
  readonly #parts: DeliveryParts<Item, Kind>;
  #items: Array<Item | Dropped<Kind>> = [];
  /** Where the oldest item is: to shift a long list for each message would take longer than the message. */
  #head = 0;
  #running = 0;
  #isScheduled = false;
  #isClosed = false;
  /** Of the oldest ones, which is told before what is left of the queue. */
  readonly #untold = new Dropped<Kind>();
  #dropped = 0;
  #waiting: Array<() => void> = [];
  #onIdle: (() => void) | undefined;

  constructor(parts: DeliveryParts<Item, Kind>) {
    this.#parts = parts;
  }

  get queued(): number {
    return this.#items.length - this.#head;
  }

  get running(): number {
    return this.#running;
  }

  /** All that were dropped so far. */
  get dropped(): number {
    return this.#dropped;
  }

  get room(): number {
    return Math.max(0, this.#parts.size - this.queued);
  }

  /** @returns false when there was no room and whoever pushes is to come again. */
  push(item: Item): boolean {
    if (this.#isClosed) return true;
    if (this.room === 0) {
      const { onOverflow } = this.#parts;
      if (onOverflow === 'catch-up') return false;
      if (onOverflow === 'close') {
        this.#parts.onClose();
        return true;
      }
      if (onOverflow === 'drop-newest') {
        this.#dropNewest(item);
        return true;
      }
      this.#dropOldest();
    }
    this.#items.push(item);
    this.#schedule();
    return true;
  }

  /** Beyond the bound of the queue, for the little that must be told. */
  pushAnyway(item: Item): void {
    if (this.#isClosed) return;
    this.#items.push(item);
    this.#schedule();
  }

  /** Resolves once half of the queue is free, or when it is closed. */
  hasRoom(): Promise<void> {
    if (this.#isClosed || this.room >= this.#parts.size / 2) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Forgets what is queued; resolves once no handler runs any more. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.#items = [];
    this.#head = 0;
    this.#tellRoom();
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#running >= this.#parts.concurrency) return;
    this.#isScheduled = true;
    setImmediate(this.#pump);
  }

  readonly #pump = (): void => {
    this.#isScheduled = false;
    for (let started = 0; started < MOST_AT_ONCE; started++) {
      if (this.#isClosed || this.queued === 0 || this.#running >= this.#parts.concurrency) break;
      this.#start(this.#next());
    }
    if (this.#waiting.length > 0 && this.room >= this.#parts.size / 2) this.#tellRoom();
    if (!this.#isClosed && this.queued > 0) this.#schedule();
  };

  #dropNewest(item: Item): void {
    const kind = this.#kindOf(item);
    if (kind === undefined) return this.pushAnyway(item);
    this.#dropped++;
    let last = this.#items.at(-1);
    if (!(last instanceof Dropped)) this.#items.push((last = new Dropped<Kind>()));
    last.add(kind);
  }

  /** The first that may be dropped; mostly the first of all. */
  #dropOldest(): void {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at] as Item;
      const kind = this.#kindOf(item);
      if (kind === undefined) continue;
      this.#dropped++;
      this.#untold.add(kind);
      if (at === this.#head) this.#take();
      else this.#items.splice(at, 1);
      return;
    }
  }

  #kindOf(item: Item): Kind | undefined {
    return this.#parts.kindOf ? this.#parts.kindOf(item) : (ALIKE as Kind);
  }

  #next(): Item {
    const head = this.#items[this.#head];
    const dropped = this.#untold.counts.size > 0 || !(head instanceof Dropped) ? this.#untold : head;
    const told = dropped.take();
    if (dropped === head && dropped.counts.size === 0) this.#take();
    return told ? this.#parts.dropped(told[1], told[0]) : (this.#take() as Item);
  }

  #take(): Item | Dropped<Kind> {
    const item = this.#items[this.#head] as Item;
    this.#items[this.#head++] = undefined as Item;
    if (this.#head === this.#items.length || this.#head > 1_024) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  #start(item: Item): void {
    const handling = this.#parts.handle(item);
    if (!handling) return;
    this.#running++;
    void handling.then(this.#onHandled);
  }

  readonly #onHandled = (): void => {
    this.#running--;
    if (this.#isClosed) {
      if (this.#running === 0) this.#onIdle?.();
    } else if (this.queued > 0) {
      this.#schedule();
    } else {
      this.#tellRoom();
    }
  };

  #tellRoom(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
