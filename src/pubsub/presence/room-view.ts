/**
 * One room as this process sees it: read once, and then kept right by what is announced.
 *
 *   closed --open()--> syncing --read--> live --an announcement is missing--> syncing
 *                         ^--subscribed again-- lost <--connection lost--'
 *
 * Promise: while live, every change is told exactly once and in order, and `members` is the room up to `seq`. What was missed while it was not
 * live is told afterwards as the difference; what cancelled itself out meanwhile is not. A gap is noticed by the next announcement, or, where
 * none comes, by the next beat, which knows the last one.
 * Redis down: the last view stays. When Redis comes back without its data, everybody is about to enter again, so the view is kept for a
 * third of a lease, instead of telling that all have left.
 */
import type { Logger } from '../../log.ts';
import { Broadcast } from '../../redis/broadcast.ts';
import type { Connections } from '../../redis/connect.ts';
import type { Heart } from './heart.ts';
import { RoomMembers, type Member, type PresenceChange } from './members.ts';
import { readMessage, type Announcement } from './messages.ts';
import type { PresenceMeter, SyncReason } from './presence-metrics.ts';
import type { RoomPulse, RoomState } from './scripts.ts';
import type { Store } from './store.ts';
import type { Syncs } from './syncs.ts';

/** Whoever is told, from the next change or reading on. */
export interface ViewListener {
  onChange(change: PresenceChange): void;
  /** The room was read as a whole; the differences have been told before, but for the first time. */
  onSync(seq: number, members: readonly Member[]): void;
}

/** What a view needs. */
export interface ViewParts {
  connections: Pick<Connections, 'subscriber'>;
  store: Store;
  heart: Heart;
  syncs: Syncs;
  log: Logger;
  meter: PresenceMeter;
}

/** An announcement may be on the way for so long after the beat that knows it. */
const LATE_MS = 1_000;
/** What is heard while the room is read is kept, up to this; beyond, the room is read again. */
const MOST_HEARD = 1_000;

/** The view of one room, for all who listen to it in this process. */
export class RoomView {
  readonly room: string;
  readonly #ttlMs: number;
  readonly #parts: ViewParts;
  readonly #listeners = new Set<ViewListener>();
  readonly #channel: Broadcast;
  readonly #members = new RoomMembers();
  readonly ready: Promise<void>;
  #isReady: () => void = () => undefined;
  #isOpen = true;
  #isLive = false;
  #isSyncing = false;
  #hasSynced = false;
  #wasLost = false;
  /** Counts connections. */
  #link = 0;
  #heard: Announcement[] = [];
  #lookAgain: NodeJS.Timeout | undefined;
  #settle: NodeJS.Timeout | undefined;

  constructor(room: string, ttlMs: number, parts: ViewParts) {
    this.room = room;
    this.#ttlMs = ttlMs;
    this.#parts = parts;
    this.ready = new Promise((resolve) => (this.#isReady = resolve));
    const { connections, log, store, heart, meter } = parts;
    const listener = {
      onMessage: (text: string) => this.#onMessage(text),
      onLive: () => this.#sync(this.#wasLost ? 'link' : 'opened'),
      onLost: () => this.#onLost(),
    };
    this.#channel = new Broadcast(store.channelOf(room), connections, log, listener, { sharded: true });
    heart.watch(room, ttlMs, { onPulse: (pulse) => this.#onPulse(pulse) });
    meter.watching(1);
    void this.#channel.open();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Whether every change is told as it happens. */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Whether it was read at all. */
  get isRead(): boolean {
    return this.#hasSynced;
  }

  get seq(): number {
    return this.#members.seq;
  }

  members(): Member[] {
    return this.#members.all();
  }

  add(listener: ViewListener): void {
    this.#listeners.add(listener);
  }

  /** @returns whether somebody still listens */
  remove(listener: ViewListener): boolean {
    this.#listeners.delete(listener);
    return this.#listeners.size > 0;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#isLive = false;
    clearTimeout(this.#lookAgain);
    clearTimeout(this.#settle);
    this.#channel.close();
    this.#parts.heart.unwatch(this.room, this.#ttlMs);
    this.#parts.meter.watching(-1);
    this.#isReady();
  }

  /** Takes the answer of a reading that begins now, unless the connection was lost meanwhile: then what came after it may be missed. */
  reading(): (state: RoomState, pulse: RoomPulse) => void {
    const link = this.#link;
    return (state, pulse) => {
      if (this.#isOpen && this.#isSyncing && link === this.#link) this.#adopt(state, pulse);
    };
  }

  #adopt(state: RoomState, { nextMs }: RoomPulse): void {
    this.#isSyncing = false;
    if (nextMs !== undefined) this.#parts.heart.lookIn(this.room, this.#ttlMs, nextMs);
    const isOther = state.born !== this.#members.born && !this.#members.isEmpty;
    if (this.#wasLost && isOther) return this.#awaitReturn();
    this.#wasLost = false;
    const isFirst = !this.#hasSynced;
    const changes = this.#members.replaceBy(state);
    this.#isLive = true;
    this.#hasSynced = true;
    if (!isFirst) for (const change of changes) this.#tell(change);
    const { seq } = this.#members;
    const members = this.#members.all();
    for (const listener of this.#listeners) listener.onSync(seq, members);
    this.#isReady();
    for (const said of this.#heard.splice(0)) this.#take(said);
  }

  /** Redis has lost the room, or everybody has left it meanwhile: whoever lives enters again with the next beat. */
  #awaitReturn(): void {
    this.#wasLost = false;
    this.#isSyncing = true;
    this.#parts.meter.sync('data-lost');
    this.#settle = setTimeout(() => this.#parts.syncs.ask(this, true), this.#ttlMs / 3);
  }

  #sync(reason: SyncReason): void {
    if (this.#isSyncing || !this.#isOpen) return;
    this.#isSyncing = true;
    this.#heard = [];
    this.#parts.meter.sync(reason);
    this.#parts.syncs.ask(this, reason === 'link');
  }

  #onLost(): void {
    this.#link++;
    this.#isLive = false;
    this.#wasLost = this.#hasSynced;
    this.#isSyncing = false;
    this.#heard = [];
    clearTimeout(this.#settle);
  }

  #onMessage(text: string): void {
    const said = readMessage(text);
    if (!said) {
      this.#parts.meter.refused();
      this.#parts.log.debug({ room: this.room }, 'a message on the channel of a room is no announcement');
      return;
    }
    const leaseMs = said.kind === 'away' ? said.ms : 'leaseMs' in said ? said.leaseMs : undefined;
    if (leaseMs !== undefined) this.#parts.heart.lookIn(this.room, this.#ttlMs, leaseMs);
    if (said.kind === 'away') return;
    if (!this.#isSyncing) this.#take(said);
    else if (this.#heard.push(said) > MOST_HEARD) this.#heard = this.#heard.slice(-1); // The gap before it is noticed.
  }

  #take(said: Announcement): void {
    // While it is not live nothing can be applied; the reading that is to come knows of it.
    if (!this.#isLive || !this.#isOpen) return;
    if (this.#isSyncing) return void this.#heard.push(said);
    const place = this.#members.placeOf(said);
    if (place === 'gap') {
      this.#sync('gap');
      this.#heard.push(said);
    } else if (place === 'next') {
      const change = this.#members.apply(said);
      if (change) this.#tell(change);
    }
  }

  /** What the room's last announcement is by now. One that is still on the way comes within LATE_MS. */
  #onPulse({ seq }: RoomPulse): void {
    if (!this.#isLive || this.#isSyncing || seq === this.seq || this.#lookAgain) return;
    const before = this.seq;
    this.#lookAgain = setTimeout(() => {
      this.#lookAgain = undefined;
      if (this.#isLive && this.seq === before) this.#sync('late');
    }, LATE_MS);
  }

  #tell(change: PresenceChange): void {
    this.#parts.meter.change(change.type);
    for (const listener of this.#listeners) listener.onChange(change);
  }
}
