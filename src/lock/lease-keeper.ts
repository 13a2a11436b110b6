/**
 * Keeps what was granted: each lease has a deadline of its own, is extended before it comes, and says when it is lost.
 *
 *   held --release()--> released
 *    |---deadline, or Redis says that another holds it, or forceRelease()--> lost: `signal` aborts with LOCK_LOST
 *
 * Promise: a lease is counted from before the command was sent that began it, less what two clocks may drift apart (1 % and 2 ms), so
 * it ends here before it ends in Redis. That is noticed by a local timer, though Redis be frozen and no answer come; and after a block of the
 * event loop by whoever asks first: `held` and assertHeld() look at the clock, not at the timer. An extension that has no answer is tried
 * again every tenth of the lease; only Redis' own word or the deadline loses it. One that makes the lease shorter counts from when it is
 * sent, because Redis may have done it though the answer be lost; one that makes it longer, from when Redis has said so.
 */
import type { Clock } from '../clock.ts';
import { formatMs, type Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Granted, LockRequest, LockScripts } from './lock-scripts.ts';
import type { LockMeter } from './lock-metrics.ts';
import type { Lock, ReleaseResult } from './lock.ts';
import { leaseMs } from './options.ts';
import { Link, Ring } from '../redis/ring.ts';
import { ASK_AGAIN_MS, isPassing, unavailable, type Waiting } from './waiting.ts';

/** What the keeper needs. */
export interface KeeperParts {
  waiting: Waiting;
  clock: Clock;
  log: Logger;
  /** For how long a release tries to reach Redis. */
  deadlineMs: number;
}

/** What a lease is to do by itself. */
export interface LeaseHow {
  /** Extend it for as long as it is held. */
  autoExtend: boolean;
  meter: LockMeter;
}

/** All leases of one process. */
export class LeaseKeeper {
  readonly parts: KeeperParts;
  readonly #held = new Ring<Lease>();
  /** One for all leases: a timer each would cost as much as all else that is done for a lock that is soon let go of. */
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(parts: KeeperParts) {
    this.parts = parts;
  }

  /** Keeps a lease from now on. */
  keep(scripts: LockScripts, request: LockRequest, granted: Granted, how: LeaseHow): Lease {
    const lease = new Lease(this, scripts, request, granted, how);
    if (this.#held.isEmpty) this.#timer?.ref();
    this.#held.add(lease);
    return lease;
  }

  /** Whether the waiter has become a holder, and still is one. */
  isHolder(waiterId: string): boolean {
    return this.#find(waiterId) !== undefined;
  }

  /** Somebody has put the holder out. */
  oust(waiterId: string): void {
    this.#find(waiterId)?.oust();
  }

  /** The lease is over. */
  forget(lease: Lease): void {
    // The timer stays set, because the next lock is likely to need it, but keeps no process alive.
    if (this.#held.remove(lease) && this.#held.isEmpty) this.#timer?.unref();
  }

  /** A lease wants its turn then. One that is let go of before leaves the timer as it is. */
  wake(atMs: number, nowMs: number): void {
    if (atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    // A turn too early would find the deadline still ahead; Node's timers count whole milliseconds.
    this.#timer = setTimeout(takeTurns, Math.max(1, Math.ceil(atMs - nowMs)), this);
  }

  /** The timer's turn: of all leases, those act whose time has come. */
  takeTurns(): void {
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.parts.clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const lease of this.#held.all()) nextMs = Math.min(nextMs, lease.turn(nowMs));
    if (nextMs < Number.POSITIVE_INFINITY) this.wake(nextMs, nowMs);
  }

  #find(waiterId: string): Lease | undefined {
    return this.#held.all().find((lease) => lease.waiterId === waiterId);
  }

  /** Nothing is extended any more; whoever holds is told by the signal. What is not released ends by itself. */
  stop(): void {
    for (const lease of this.#held.all()) lease.abandon();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }
}

/** What two clocks may drift apart while a lease lasts. */
function driftMs(ttlMs: number): number {
  return ttlMs * 0.01 + 2;
}

/** One lease that was granted: the Lock that a caller holds. */
export class Lease extends Link implements Lock {
  readonly name: string;
  readonly token: number;
  readonly #keeper: LeaseKeeper;
  readonly #scripts: LockScripts;
  readonly #request: LockRequest;
  readonly #how: LeaseHow;
  /** See Granted. */
  readonly #holder: string | undefined;
  readonly #grantedAtMs: number;
  #ttlMs: number;
  #deadlineMs: number;
  #extendAtMs: number;
  /** Extensions under way. While there is one, none comes by itself: it would take back what a caller has asked for. */
  #extending = 0;
  /** Of all extensions the last that was sent says how long the lease is. */
  #lastExtension = 0;
  #isRecorded: boolean;
  #abort: AbortController | undefined;
  #lost: MillraceError | undefined;
  #isOusted = false;
  #released: Promise<ReleaseResult> | undefined;

  constructor(keeper: LeaseKeeper, scripts: LockScripts, request: LockRequest, granted: Granted, how: LeaseHow) {
    super();
    this.name = request.name;
    this.token = granted.token;
    this.#keeper = keeper;
    this.#scripts = scripts;
    this.#request = request;
    this.#how = how;
    this.#holder = granted.holder;
    this.#grantedAtMs = keeper.parts.clock.monotonicMs();
    this.#ttlMs = request.ttlMs;
    this.#isRecorded = granted.isRecorded === true;
    this.#deadlineMs = granted.sentAtMs + request.ttlMs - driftMs(request.ttlMs);
    this.#extendAtMs = this.#nextExtension(granted.sentAtMs);
    keeper.wake(Math.min(this.#deadlineMs, this.#extendAtMs), this.#grantedAtMs);
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#lost) this.#abort.abort(this.#lost);
    }
    return this.#abort.signal;
  }

  get held(): boolean {
    return this.#isHeldAt(this.#now());
  }

  get waiterId(): string {
    return this.#request.waiterId;
  }

  get names(): readonly string[] {
    return [this.name];
  }

  get lost(): MillraceError | undefined {
    return this.held ? undefined : this.#lost;
  }

  remainingMs(): number {
    const nowMs = this.#now();
    return this.#isHeldAt(nowMs) ? this.#deadlineMs - nowMs : 0;
  }

  assertHeld(): void {
    if (this.held) return;
    throw this.#lost ?? new MillraceError('LOCK_LOST', `lock ${this.name} has been released`, this.#facts());
  }

  async extend(ttl?: Duration): Promise<void> {
    this.assertHeld();
    const ttlMs = ttl === undefined ? this.#ttlMs : leaseMs(ttl);
    try {
      await this.#extendTo(ttlMs);
    } catch (error) {
      this.assertHeld();
      throw unavailable(this.name, error);
    }
    this.assertHeld();
  }

  release(): Promise<ReleaseResult> {
    this.#released ??= this.#letGo();
    return this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** It was put out by forceRelease(). */
  oust(): void {
    this.#isOusted = true;
    this.#lose('it was taken away by forceRelease()');
  }

  /** The locks are stopped. */
  abandon(): void {
    this.#end(new MillraceError('CLOSED', `lock ${this.name}: the locks have been stopped`, this.#facts()));
  }

  #now(): number {
    return this.#keeper.parts.clock.monotonicMs();
  }

  #isHeldAt(nowMs: number): boolean {
    if (this.#released || this.#lost) return false;
    if (nowMs < this.#deadlineMs) return true;
    this.#lose(`its lease ran out ${formatMs(nowMs - this.#deadlineMs)} ago`);
    return false;
  }

  #nextExtension(fromMs: number): number {
    return this.#how.autoExtend ? fromMs + this.#ttlMs / 3 : Number.POSITIVE_INFINITY;
  }

  /**
   * The end has come, or an extension is due.
   *
   * @returns when it wants its next turn
   */
  turn(nowMs: number): number {
    if (!this.#isHeldAt(nowMs)) return Number.POSITIVE_INFINITY;
    // What is due soon is done now, so that many leases need few turns.
    if (nowMs >= this.#extendAtMs - this.#ttlMs / 100) {
      this.#extendAtMs = nowMs + this.#ttlMs / 10;
      if (this.#extending === 0) void this.#tryToExtend();
    }
    return Math.min(this.#deadlineMs, this.#extendAtMs);
  }

  async #tryToExtend(): Promise<void> {
    try {
      await this.#extendTo(this.#ttlMs);
    } catch (error) {
      this.#how.meter.extended('failed');
      this.#keeper.parts.log.debug({ err: error, name: this.name, fence: this.token }, 'the lease was not extended');
    }
  }

  async #extendTo(ttlMs: number): Promise<void> {
    const extension = ++this.#lastExtension;
    this.#shortenTo(ttlMs);
    const { isHeld, sentAtMs } = await this.#send(ttlMs);
    if (this.#released || this.#lost) return;
    if (!isHeld) return this.#lose('Redis says that it is not held any more');
    this.#how.meter.extended('extended');
    // The answer may have taken longer than the old lease: then the signal has aborted, and stays so.
    if (!this.#isHeldAt(this.#now())) return;
    if (extension === this.#lastExtension) this.#ttlMs = ttlMs;
    // One that was sent later may have made it shorter by now.
    const surelyMs = Math.min(ttlMs, this.#ttlMs);
    this.#deadlineMs = sentAtMs + surelyMs - driftMs(surelyMs);
    this.#extendAtMs = this.#nextExtension(sentAtMs);
    this.#isRecorded = true;
    this.#keeper.wake(Math.min(this.#deadlineMs, this.#extendAtMs), this.#now());
  }

  async #send(ttlMs: number): ReturnType<LockScripts['extend']> {
    this.#extending++;
    try {
      return await this.#scripts.extend(this.#request, this.token, ttlMs);
    } finally {
      this.#extending--;
    }
  }

  /** It is taken to be that short from now on, and stays so if there is no answer: Redis may do it late. */
  #shortenTo(ttlMs: number): void {
    if (ttlMs >= this.#ttlMs) return;
    const nowMs = this.#now();
    this.#ttlMs = ttlMs;
    this.#deadlineMs = Math.min(this.#deadlineMs, nowMs + ttlMs - driftMs(ttlMs));
    this.#extendAtMs = Math.min(this.#extendAtMs, this.#nextExtension(nowMs));
    this.#keeper.wake(Math.min(this.#deadlineMs, this.#extendAtMs), nowMs);
  }

  #lose(why: string): void {
    if (this.#lost || this.#released) return;
    const lost = new MillraceError('LOCK_LOST', `lock ${this.name} was lost: ${why}`, this.#facts());
    this.#how.meter.lost();
    this.#keeper.parts.log.warn({ name: this.name, fence: this.token }, lost.message);
    this.#end(lost);
  }

  #end(reason: MillraceError): void {
    if (this.#lost || this.#released) return;
    this.#lost = reason;
    this.#keeper.forget(this);
    this.#abort?.abort(reason);
  }

  #facts(): { name: string; fence: number } {
    return { name: this.name, fence: this.token };
  }

  #letGo(): Promise<ReleaseResult> {
    const wasHeld = this.held;
    this.#keeper.forget(this);
    return this.#isOusted ? Promise.resolve(this.#ended('stolen')) : this.#giveBack(wasHeld);
  }

  #ended(result: ReleaseResult): ReleaseResult {
    this.#how.meter.released(result, this.#now() - this.#grantedAtMs);
    return result;
  }

  /** Never rejects: whoever releases has done its work, and nothing that happens now may hide what came of it. */
  async #giveBack(isInTime: boolean): Promise<ReleaseResult> {
    const { waiting, deadlineMs, clock, log } = this.#keeper.parts;
    const sinceMs = this.#now();
    for (let again = false; ; again = true) {
      try {
        const heldMs = this.#now() - this.#grantedAtMs;
        const { outcome, granted, sentAtMs } = await this.#scripts.release(this.#request, this.token, {
          heldMs,
          isInTime,
          again,
          isRecorded: this.#isRecorded,
          holder: this.#holder,
        });
        if (granted.length > 0) waiting.handOver(this.#scripts, this.name, granted, sentAtMs);
        // A waiter whose grant was in the answer that was lost finds it by looking.
        if (again || outcome !== 'released') waiting.poke(this.#scripts, this.name);
        return this.#ended(outcome);
      } catch (error) {
        const isOver = !isInTime || this.#now() - sinceMs >= deadlineMs || this.#now() >= this.#deadlineMs;
        if (isPassing(error) && !isOver) {
          await clock.sleep(ASK_AGAIN_MS);
          continue;
        }
        waiting.poke(this.#scripts, this.name);
        if (this.#now() >= this.#deadlineMs) return this.#ended('expired');
        log.warn({ err: error, ...this.#facts() }, `lock ${this.name} could not be released; its lease will run out`);
        return this.#ended('unknown');
      }
    }
  }
}

function takeTurns(keeper: LeaseKeeper): void {
  keeper.takeTurns();
}
