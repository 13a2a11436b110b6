/**
 * Keeps alive what this process has in rooms, and looks after the rooms that it knows.
 *
 * Every third of a lease, one batch renews all connections in all rooms with that lease. Each answer tells when the next lease of the room
 * ends, whosever it is: where that is before the next beat, the room is looked at then. So a room whose connections are all alive costs
 * nothing more, and one of a process that died is looked at in time, by everybody who knows the room; Redis lets one of them tell of it.
 *
 * Promise: a lease that ran out is noticed within `sweep` by any process that watches the room, whatever the length of its own leases, or has a
 * connection there with a lease of the same length or a shorter one; by others with a connection there, at their next beat. A connection that
 * is found to be out, because this process stood still or Redis lost its data, is told so, and enters again.
 * Redis down: tried again every tenth of the lease, for the rooms that were not answered.
 */
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';
import type { Batch } from '../../redis/batch.ts';
import type { PresenceMeter } from './presence-metrics.ts';
import type { RoomPulse } from './scripts.ts';
import type { Place, Store } from './store.ts';
import type { WhereIndex } from './where.ts';

/** A connection that is kept alive. */
export interface Kept {
  readonly place: Place;
  readonly userId: string;
  /** How long a note of it holds. */
  readonly noteMs: number;
  /** When it was last noted in which room the user is; in monotonic ms. */
  notedAtMs: number;
  /** It is not in the room any more. */
  onOut(): void;
  /** Another process keeps the connection. */
  onReplaced(): void;
}

/** Whoever hears a room. */
export interface Watching {
  onPulse(pulse: RoomPulse): void;
}

/** A room as the heart knows it, for one length of leases. */
interface Seat {
  readonly room: string;
  readonly kept: Set<Kept>;
  watching: Watching | undefined;
  lookAtMs: number;
}

/** Rooms whose leases are of one length: they beat together. */
interface Group {
  readonly ttlMs: number;
  readonly seats: Map<string, Seat>;
  beatAtMs: number;
}

/** What the heart needs. */
export interface HeartParts {
  store: Store;
  where: WhereIndex;
  clock: Clock;
  log: Logger;
  meter: PresenceMeter;
  sweepMs: number;
}

const BEATS_A_LEASE = 3;
const TRIES_A_LEASE = 10;
/** Later than the end of a lease, so that a look finds it over. */
const AFTER_MS = 2;

/** The heart of one process. */
export class Heart {
  readonly #parts: HeartParts;
  readonly #groups = new Map<number, Group>();
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #isBusy = false;
  #isStopped = false;

  constructor(parts: HeartParts) {
    this.#parts = parts;
  }

  /** How many rooms it looks after. */
  get rooms(): number {
    return new Set([...this.#groups.values()].flatMap(({ seats }) => [...seats.keys()])).size;
  }

  /** Renews the connection from now on. */
  keep(kept: Kept): void {
    this.#seatOf(kept.place.room, kept.place.ttlMs).kept.add(kept);
    this.#parts.meter.connection(1);
  }

  /** @returns whether it was kept */
  letGo(kept: Kept): boolean {
    const seat = this.#groups.get(kept.place.ttlMs)?.seats.get(kept.place.room);
    if (!seat?.kept.delete(kept)) return false;
    this.#parts.meter.connection(-1);
    this.#leaveIfEmpty(seat, kept.place.ttlMs);
    return true;
  }

  /** Looks after the room though this process may have nobody there. */
  watch(room: string, ttlMs: number, watching: Watching): void {
    this.#seatOf(room, ttlMs).watching = watching;
  }

  unwatch(room: string, ttlMs: number): void {
    const seat = this.#groups.get(ttlMs)?.seats.get(room);
    if (!seat) return;
    seat.watching = undefined;
    this.#leaveIfEmpty(seat, ttlMs);
  }

  /** A lease of the room ends then: looks at it, unless a beat comes first. */
  lookIn(room: string, ttlMs: number, ms: number): void {
    const group = this.#groups.get(ttlMs);
    const seat = group?.seats.get(room);
    if (group && seat) this.#lookIn(group, seat, ms);
  }

  /** Twice is fine. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #seatOf(room: string, ttlMs: number): Seat {
    let group = this.#groups.get(ttlMs);
    if (!group) {
      group = { ttlMs, seats: new Map(), beatAtMs: this.#nowMs() + ttlMs / BEATS_A_LEASE };
      this.#groups.set(ttlMs, group);
      this.#wakeAt(group.beatAtMs);
    }
    let seat = group.seats.get(room);
    if (!seat) {
      seat = { room, kept: new Set(), watching: undefined, lookAtMs: Number.POSITIVE_INFINITY };
      group.seats.set(room, seat);
    }
    return seat;
  }

  #leaveIfEmpty(seat: Seat, ttlMs: number): void {
    if (seat.kept.size > 0 || seat.watching) return;
    const group = this.#groups.get(ttlMs);
    group?.seats.delete(seat.room);
    if (group?.seats.size === 0) this.#groups.delete(ttlMs);
  }

  #lookIn(group: Group, seat: Seat, ms: number): void {
    const { sweepMs } = this.#parts;
    // At most so often, and then still in time: a lease that ends sooner is noticed within `sweep`.
    const atMs = this.#nowMs() + (ms === 0 ? 0 : Math.max(ms + AFTER_MS, Math.min(sweepMs, group.ttlMs)));
    if (atMs >= group.beatAtMs || atMs >= seat.lookAtMs) return;
    seat.lookAtMs = atMs;
    this.#wakeAt(atMs);
  }

  #wakeAt(atMs: number): void {
    if (this.#isStopped || atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => void this.#round(), Math.max(0, atMs - this.#nowMs()));
  }

  /** Beats and looks that are due, all in one batch. Never rejects. */
  async #round(): Promise<void> {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#isBusy || this.#isStopped) return;
    this.#isBusy = true;
    const nowMs = this.#nowMs();
    const groups = [...this.#groups.values()];
    const beating = groups.filter(({ beatAtMs }) => beatAtMs <= nowMs);
    for (const group of beating) group.beatAtMs = nowMs + group.ttlMs / BEATS_A_LEASE;
    const due = groups.flatMap((group) =>
      [...group.seats.values()]
        .filter((seat) => beating.includes(group) || seat.lookAtMs <= nowMs)
        .map((seat) => ({ group, seat })),
    );
    for (const { seat } of due) seat.lookAtMs = Number.POSITIVE_INFINITY;
    const answered = due.length > 0 ? await this.#send(due, nowMs) : new Set();
    for (const { group, seat } of due)
      if (!answered.has(seat)) seat.lookAtMs = Math.min(seat.lookAtMs, nowMs + group.ttlMs / TRIES_A_LEASE);
    this.#isBusy = false;
    this.#wakeNext();
  }

  #wakeNext(): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { beatAtMs, seats } of this.#groups.values()) {
      nextMs = Math.min(nextMs, beatAtMs);
      for (const { lookAtMs } of seats.values()) nextMs = Math.min(nextMs, lookAtMs);
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#wakeAt(nextMs);
  }

  /** @returns the rooms that were answered: one that Redis refuses, as for a key of another type, does not make the others beat again */
  async #send(due: ReadonlyArray<{ group: Group; seat: Seat }>, sinceMs: number): Promise<Set<Seat>> {
    const { store, meter, log } = this.#parts;
    const answered = new Set<Seat>();
    let failure: unknown;
    const judge = (act: Promise<unknown>, seat?: Seat): Promise<unknown> =>
      act.then(
        () => seat && answered.add(seat),
        (error: unknown) => (failure = error),
      );
    try {
      await store.inOneBatch((batch) => [
        ...due.map(({ group, seat }) => judge(this.#beat(batch, group, seat), seat)),
        ...this.#note(batch, due).map((noting) => judge(noting)),
      ]);
    } catch (error) {
      failure = error;
    }
    meter.beat(answered.size > 0 ? 'ok' : 'failed', this.#nowMs() - sinceMs);
    if (failure && !this.#isStopped) {
      const facts = { err: failure, rooms: due.length, answered: answered.size };
      log.debug(facts, 'a heartbeat was not answered in full; tried again soon');
    }
    return answered;
  }

  async #beat(batch: Batch, group: Group, seat: Seat): Promise<void> {
    const kept = [...seat.kept];
    const places = kept.map(({ place }) => place);
    const { store, log } = this.#parts;
    const pulse = await store.beat(batch, seat.room, group.ttlMs, places);
    if (this.#isStopped) return;
    // What was let go of meanwhile is not told.
    const still = (number: number): Kept[] => [kept[number]].filter((one) => one && seat.kept.has(one)) as Kept[];
    for (const one of pulse.replaced.flatMap(still)) one.onReplaced();
    const out = pulse.out.flatMap(still);
    if (out.length > 0) {
      const facts = { room: seat.room, connections: out.length };
      log.info(facts, 'not in the room any more: this process stood still, or Redis lost its data; entering again');
    }
    for (const one of out) one.onOut();
    seat.watching?.onPulse(pulse);
    if (pulse.nextMs !== undefined) this.#lookIn(group, seat, pulse.nextMs);
  }

  /** The notes that are half over. */
  #note(batch: Batch, due: ReadonlyArray<{ group: Group; seat: Seat }>): Array<Promise<unknown>> {
    const { where } = this.#parts;
    const nowMs = this.#nowMs();
    const byUser = new Map<string, { userId: string; noteMs: number; kept: Kept[] }>();
    for (const { group, seat } of due) {
      for (const one of seat.kept) {
        if (!where.isDue(one.notedAtMs, group.ttlMs, nowMs)) continue;
        const { userId, noteMs } = one;
        const key = `${noteMs} ${userId}`;
        const noted = byUser.get(key) ?? { userId, noteMs, kept: [] };
        noted.kept.push(one);
        byUser.set(key, noted);
      }
    }
    return [...byUser.values()].map(async ({ userId, noteMs, kept }) => {
      await where.note(batch, userId, [...new Set(kept.map(({ place }) => place.room))], noteMs);
      for (const one of kept) one.notedAtMs = nowMs;
    });
  }

  #nowMs(): number {
    return this.#parts.clock.monotonicMs();
  }
}
