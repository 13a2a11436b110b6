/**
 * Keeps the membership of one consumer, and takes for it what waits beside new entries.
 *
 *   member --renewed at a third of the lease--> member
 *     '--not renewed in time by this process' clock, or Redis says so--> out: `lapsed`, `replaced`
 *
 * Promise: whose lease can have ended is out before Redis says so, because the lease is counted from before its renewal was sent; also
 * while Redis is frozen. Entries go by this lease of their process and not by how long they have been idle: a slow handler's
 * entry is never given to another one, and a handler needs no heartbeat.
 * Redis down: nothing is taken; handlers go on until the lease is over.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { reconnectDelayMs } from '../../redis/backoff.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { clientLabel } from '../../redis/script.ts';
import { compareIds } from '../entry.ts';
import type { ConsumerMeter } from './consumer-metrics.ts';
import { Nap } from './nap.ts';
import type { Plan } from './plan.ts';
import { inherit, revive, takeWaiting, tick, type Group } from './scripts.ts';
import type { Settler } from './settler.ts';
import type { Work } from './work.ts';

/** How much sooner than the server this process takes its lease to have ended. */
const DRIFT = 0.02;
/** Whoever stands by for an ordered group looks at least so often. */
const STAND_BY_MS = 1_000;
/** Entries of one call. */
const PAGE = 100;
/** Between two looks at what is due there is so much at least. */
const LEAST_MS = 5;

/** Why a consumer is out. */
export type Out = 'lapsed' | 'replaced';

/** What a keeper works with. */
export interface KeeperParts {
  readonly group: Group;
  readonly consumer: string;
  readonly plan: Plan;
  readonly work: Work;
  readonly settler: Settler;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  readonly clock: Clock;
  /** When the call was sent that made it a member. */
  readonly joinedMs: number;
  /** What an earlier membership of this process knew of the group; see lastId. */
  readonly last: string | undefined;
  /** Entries that this consumer has, settled ones not counted. */
  readonly known: () => number;
  /** Adds the ids of these, and of what is being settled. */
  readonly addKnown: (ids: Set<string>) => void;
  /** Whether Redis may be about to deliver something. */
  readonly isReading: () => boolean;
  readonly exclusively: <T>(act: () => Promise<T>) => Promise<T>;
  readonly lastId: () => string | undefined;
  /** Everything that had to be taken first was taken: new entries may be read. */
  readonly onReady: () => void;
  readonly onLacking: () => void;
  readonly onTick: (() => void) | undefined;
  readonly onOut: (why: Out, error: MillraceError) => void;
}

/** The keeper of one consumer. */
export class Keeper {
  readonly #parts: KeeperParts;
  readonly #nap = new Nap();
  #leaseEndsMs: number;
  #tickAtMs = 0;
  #takeAtMs = 0;
  #isPaused = false;
  #isLeaving = false;
  #isOut = false;
  #isReady = false;
  #leads = false;
  #hasMore = false;
  #awaitsRoom = false;
  #surplusLooks = 0;
  /** The last id that the group was given, as of the last look. */
  #last: string | undefined;
  #generation: string | undefined;
  #failure: MillraceError | undefined;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #onLooked: Array<() => void> = [];

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#leaseEndsMs = parts.joinedMs + parts.plan.leaseMs * (1 - DRIFT);
    this.#last = parts.last;
  }

  /** The last id that it knows the group to have been given. */
  get lastId(): string | undefined {
    return later(this.#parts.lastId(), this.#last);
  }

  get failure(): MillraceError | undefined {
    return this.#failure;
  }

  /** Whether all that had to be taken first was taken. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Whether another consumer of an ordered group works, and this one waits for its place. */
  get standsBy(): boolean {
    return this.#parts.plan.orderBy !== undefined && !this.#leads;
  }

  start(): void {
    this.#watchLease();
    this.#running = this.#run();
  }

  /** Takes nothing, and says so. The place in an ordered group is given up once nothing is in flight. */
  pause(): void {
    this.#isPaused = true;
    this.wake();
  }

  /** Takes nothing any more, and keeps the place in an ordered group until it has left. */
  prepareToLeave(): void {
    this.#isPaused = true;
    this.#isLeaving = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.wake();
  }

  /** Something is due in so many ms. */
  dueIn(ms: number): void {
    const atMs = this.#parts.clock.monotonicMs() + ms + LEAST_MS;
    if (atMs >= this.#takeAtMs) return;
    this.#takeAtMs = atMs;
    this.#nap.wake();
  }

  /** There may be room now. */
  onRoom(): void {
    if (this.#awaitsRoom && this.#parts.work.takeRoom() > 0) this.#nap.wake();
  }

  /** Looks round: something is in doubt, the group may be another one by now, or there is something to say. */
  wake(): void {
    this.#tickAtMs = 0;
    this.#nap.wake();
  }

  /** Looks round now; resolves once it has. */
  lookNow(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isOut) return resolve();
      this.#onLooked.push(resolve);
      this.#tickAtMs = 0;
      this.#nap.wake();
    });
  }

  /** Does nothing more. The lease ends by itself, or with leave.lua. */
  async stop(): Promise<void> {
    this.#end();
    await this.#running;
  }

  #end(): void {
    this.#isOut = true;
    clearTimeout(this.#timer);
    this.#nap.wake();
    for (const looked of this.#onLooked.splice(0)) looked();
  }

  async #run(): Promise<void> {
    const { clock, settler, work } = this.#parts;
    while (!this.#isOut) {
      try {
        if (clock.monotonicMs() >= this.#tickAtMs) await this.#tick();
        if (this.#isOut) return;
        if (this.#tickAtMs === 0) continue;
        if (settler.isInDoubt) await this.#parts.exclusively(() => settler.resolve());
        if (this.#mayTake() && work.takeRoom() > 0) await this.#take();
        this.#recover();
        await this.#nap.rest(this.#restMs());
      } catch (error) {
        await this.#fail(error);
      }
    }
  }

  #mayTake(): boolean {
    if (this.#isPaused || this.standsBy) return false;
    return this.#hasMore || this.#parts.clock.monotonicMs() >= this.#takeAtMs;
  }

  #restMs(): number {
    this.#awaitsRoom = this.#parts.work.takeRoom() === 0;
    const takeAtMs = this.#isPaused || this.standsBy || this.#awaitsRoom ? Infinity : this.#takeAtMs;
    if (this.#hasMore && this.#mayTake() && !this.#awaitsRoom) return 0;
    return Math.max(0, Math.min(this.#tickAtMs, takeAtMs) - this.#parts.clock.monotonicMs());
  }

  async #tick(): Promise<void> {
    const { clock, plan, onTick, known } = this.#parts;
    const knownBefore = known();
    const competes = this.#competes();
    // From here on nothing is read that it might not have the place for.
    if (plan.orderBy && !competes) this.#leads = this.#isReady = false;
    const everyMs = plan.leaseMs / 3;
    this.#tickAtMs = clock.monotonicMs() + everyMs * (0.9 + 0.1 * Math.random());
    const { standing, pending, orphans, dueInMs, leads, last, generation } = await this.#ask(competes);
    if (this.#isOut) return;
    if (plan.orderBy && !leads) this.#tickAtMs = Math.min(this.#tickAtMs, clock.monotonicMs() + STAND_BY_MS);
    if (standing === 'gone') {
      await this.#revive();
      this.#generation = undefined;
      this.#tickAtMs = 0;
      return;
    }
    if (standing !== 'ok') return this.#out(standing, `Redis says so: ${standing}`);
    this.#last = later(this.#last, last);
    // Somebody has made the group again, and did not know what this one works on.
    if (this.#generation !== undefined && this.#generation !== generation) await this.#revive();
    this.#generation = generation;
    if (plan.orderBy && this.#leads && !leads)
      return this.#out('lapsed', 'another consumer of the ordered group works now');
    if (leads && !this.#leads) this.#takeAtMs = 0;
    this.#leads = leads;
    if (orphans > 0) this.#takeAtMs = 0;
    else if (dueInMs !== undefined) this.#takeAtMs = Math.min(this.#takeAtMs, clock.monotonicMs() + dueInMs);
    // What is delivered but not here yet looks the same, so one look says nothing.
    this.#surplusLooks = pending > Math.max(knownBefore, known()) ? this.#surplusLooks + 1 : 0;
    if (this.#surplusLooks >= 2) {
      this.#surplusLooks = 0;
      this.#parts.onLacking();
    }
    for (const looked of this.#onLooked.splice(0)) looked();
    onTick?.();
  }

  /** Whether it wants the place in an ordered group. */
  #competes(): boolean {
    if (this.#parts.plan.orderBy === undefined) return false;
    if (!this.#isPaused) return true;
    return this.#leads && (this.#isLeaving || this.#parts.known() > 0 || this.#parts.isReading());
  }

  async #ask(competes: boolean): ReturnType<typeof tick> {
    const { group, consumer, plan, clock } = this.#parts;
    const sentMs = clock.monotonicMs();
    const answer = await tick(group.redis, group.keys, {
      group: group.name,
      consumer,
      name: plan.consumer ?? '',
      leaseMs: plan.leaseMs,
      isOrdered: competes ? 1 : 0,
      isPaused: this.#isPaused && !this.#isLeaving ? 1 : 0,
    });
    // Whose lease was over by then has been told already, and stays out.
    if (answer.standing === 'ok') this.#leaseEndsMs = Math.max(this.#leaseEndsMs, sentMs + plan.leaseMs * (1 - DRIFT));
    return answer;
  }

  async #take(): Promise<void> {
    const { plan } = this.#parts;
    await this.#parts.exclusively(() => (plan.orderBy ? this.#inherit() : this.#takeWaiting()));
    if (this.#isReady || this.#isOut || this.#hasMore) return;
    this.#isReady = true;
    this.#parts.onReady();
  }

  async #takeWaiting(): Promise<void> {
    const { group, consumer, plan, work, clock } = this.#parts;
    const room = Math.min(work.takeRoom(), PAGE);
    if (room === 0 || this.#isOut) return;
    const answer = await takeWaiting(group.redis, group.keys, {
      group: group.name,
      consumer,
      room,
      leaseMs: plan.leaseMs,
    });
    if (this.#isOut) return;
    if (!answer.isMember) return this.#out('lapsed', 'Redis says that its lease has ended');
    this.#hasMore = answer.hasMore;
    this.#takeAtMs = answer.dueInMs === undefined ? Infinity : clock.monotonicMs() + Math.max(answer.dueInMs, LEAST_MS);
    this.#tellVanished(answer.vanished);
    if (answer.taken.length > 0) work.addTaken(answer.taken);
  }

  /** All that is pending in the group, which is nobody else's now. */
  async #inherit(): Promise<void> {
    this.#takeAtMs = Infinity;
    try {
      let after: string | undefined = '';
      while (after !== undefined && !this.#isOut) after = await this.#inheritPage(after);
    } catch (error) {
      this.#takeAtMs = 0;
      throw error;
    }
  }

  /** Gives the id that the page ends with, unless it was the last one. */
  async #inheritPage(after: string): Promise<string | undefined> {
    const { group, consumer, work, addKnown } = this.#parts;
    const known = new Set<string>();
    addKnown(known);
    // As long as nothing is read, what is this one's and not known can only be of an answer that got lost.
    const own = this.#isReady ? 0 : 1;
    const page = await inherit(group.redis, group.keys, { group: group.name, consumer, after, count: PAGE, own });
    if (this.#isOut) return undefined;
    if (!page.leads) {
      this.#out('lapsed', 'another consumer of the ordered group works now');
      return undefined;
    }
    this.#tellVanished(page.vanished);
    addKnown(known);
    const taken = page.taken.filter(({ id }) => !known.has(id));
    if (taken.length > 0) work.addTaken(taken, true);
    return page.after;
  }

  /** The group was deleted under its consumers: makes it again, or adds to it what this one works on. */
  async #revive(): Promise<void> {
    const { group, consumer, plan, work, settler, log } = this.#parts;
    const unfinished = new Set<string>();
    work.addIds(unfinished);
    settler.addUnfinished(unfinished);
    const ids = [...unfinished];
    const last = this.lastId ?? plan.startAt;
    for (let at = 0; at === 0 || at < ids.length; at += PAGE) {
      const some = ids.slice(at, at + PAGE);
      const { made } = await revive(group.redis, group.keys, { group: group.name, consumer, last, ids: some });
      if (made)
        log.error(
          { stream: group.stream, group: group.name, after: last },
          'the group was deleted under its consumers; it was made again',
        );
    }
  }

  #tellVanished(count: number): void {
    if (count === 0) return;
    const { meter, log, group } = this.#parts;
    meter.count('vanished', count);
    log.error(
      { stream: group.stream, group: group.name, entries: count },
      'entries were deleted from their stream before they were done',
    );
  }

  #out(why: Out, reason: string): void {
    if (this.#isOut) return;
    this.#end();
    const { group, consumer } = this.#parts;
    const message = `${consumer} is no member of the group ${group.name} of ${group.stream} any more: ${reason}`;
    this.#parts.onOut(
      why,
      new MillraceError('LEASE_LOST', message, { consumer, stream: group.stream, group: group.name }),
    );
  }

  #watchLease(): void {
    const leftMs = this.#leaseEndsMs - this.#parts.clock.monotonicMs();
    if (leftMs <= 0) return this.#out('lapsed', 'its lease could not be renewed in time');
    this.#timer = setTimeout(() => this.#watchLease(), Math.ceil(leftMs));
  }

  #recover(): void {
    this.#failure = undefined;
    this.#failures = 0;
  }

  async #fail(error: unknown): Promise<void> {
    const { group, log } = this.#parts;
    const failure = explainRedisError(error, clientLabel(group.redis));
    if (!this.#failure)
      log.warn(
        { stream: group.stream, group: group.name, err: failure },
        'a consumer cannot renew its lease at the moment; trying again',
      );
    this.#failure = failure;
    this.#tickAtMs = 0; // It may have been a group that is not there any more.
    await this.#nap.rest(reconnectDelayMs(++this.#failures));
  }
}

function later(one: string | undefined, other: string | undefined): string | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return compareIds(one, other) > 0 ? one : other;
}
