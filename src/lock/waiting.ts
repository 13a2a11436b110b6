/**
 * How a request waits until a lock is its own, whatever the kind of lock.
 *
 *   asking --granted--> done
 *     |--queued--> queued --handed over by a release of this process--> done
 *                    |-----told by another process, or looks: watch()--> done
 *                    |-----gone--> asking again, at the end of the queue
 *   anywhere --abort, timeout, stop--> left: cancel() in the background, which gives back what was granted meanwhile
 *
 * Promise: nobody polls. A waiter is handed the lock; it looks by itself only for what no message tells: a holder that died, a message that
 * was lost, a server that lost its data. A grant that reaches nobody, because its waiter has just left, is given back at once; one to a
 * process that is dead costs its claim.
 * Redis down: a request that has no first answer yet throws LOCK_UNAVAILABLE within the deadline; one that waits goes on waiting, and
 * looks, until its time is over.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { withDeadline, type Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError, type ErrorCode } from '../errors.ts';
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';
import type { Granted, LocalGrant, LockRequest, LockScripts, Queued } from './lock-scripts.ts';
import { Ring } from '../redis/ring.ts';
import { Waiter, type WaitOutcome } from './waiter.ts';
import { WaitingLine } from './waiting-line.ts';

/** What passes by itself, so that asking again is of use. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'REDIS_TIMEOUT',
  'REDIS_UNREACHABLE',
  'REDIS_NOT_READY',
  'REDIS_WRITES_REFUSED',
  'REDIS_CLUSTER_DOWN',
]);
/** Before Redis is asked again that has just not answered. */
export const ASK_AGAIN_MS = 50;
/** How long the first request that must wait holds out for the channel on which it will be told. */
const CHANNEL_WITHIN_MS = 500;
/** How often a waiter that has left tries to say so. */
const CANCEL_ATTEMPTS = 5;

/** What waiting needs. */
export interface WaitingParts {
  connections: Pick<Connections, 'subscriber' | 'topology'>;
  prefix: string;
  /** How long a request may be without a first answer. */
  deadlineMs: number;
  clock: Clock;
  log: Logger;
  /** Whether the waiter has become a holder, and still is. */
  isHolder: (waiterId: string) => boolean;
  /** A holder of this process was put out. */
  onOust: (waiterId: string) => void;
}

/** The waiters of one process, for all kinds of locks. */
export class Waiting {
  /** Who this process is, for queues and for people: `web-1:4711:3f9a2c`. */
  readonly processId: string;
  /** What the names of the channels begin with on which processes are told; the process id follows. */
  readonly channelPrefix: string;
  /** Whether the number that PUBLISH gives tells that a process is gone; on a Cluster it counts the clients of one node only. */
  readonly countsReceivers: boolean;
  readonly #parts: WaitingParts;
  readonly #clock: Clock;
  readonly #idStem: string;
  readonly #channel: Broadcast;
  readonly #kinds = new Map<string, LockScripts>();
  /** Those who have no answer yet. */
  readonly #asking = new Ring<Waiter>();
  /** Those who have joined a queue, by id. */
  readonly #queued = new Map<string, Waiter>();
  readonly #lines = new Map<string, WaitingLine>();
  readonly #leaving = new Set<Promise<void>>();
  #lastId = 0;
  #isStopped = false;

  constructor(parts: WaitingParts) {
    const random = randomBytes(6).toString('hex');
    this.#parts = parts;
    this.#clock = parts.clock;
    this.processId = `${hostname().replaceAll(/[^\w.-]/g, '-')}:${process.pid}:${random.slice(0, 6)}`;
    this.#idStem = random;
    this.channelPrefix = `${parts.prefix}:lock:wake:`;
    this.countsReceivers = parts.connections.topology !== 'cluster';
    this.#channel = new Broadcast(this.channelPrefix + this.processId, parts.connections, parts.log, {
      onMessage: (text) => this.#onMessage(text),
      // What was handed to us while nobody listened is found by looking.
      onLive: () => {
        for (const line of this.#lines.values()) line.look();
      },
    });
  }

  /** Makes a kind of lock known, so that what is granted to one of its waiters that has left can be given back. */
  register(scripts: LockScripts): void {
    this.#kinds.set(scripts.kind, scripts);
  }

  /** The id of a new waiter. */
  nextId(kind: string): string {
    return `${kind}${this.#idStem}-${++this.#lastId}`;
  }

  /**
   * Resolves once the lock is the request's own.
   *
   * @param waitMs How long to stand in the queue; 0 not at all, Infinity without end.
   * @returns undefined when it may not wait and would have to.
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE, CLOSED; or the reason of the signal
   */
  acquire(
    scripts: LockScripts,
    request: LockRequest,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<WaitOutcome> {
    if (this.#isStopped) return Promise.reject(closed());
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const waiter = new Waiter(scripts, request, waitMs, this.#clock.monotonicMs());
    this.#asking.add(waiter);
    if (signal) waiter.listen(signal, () => this.#fail(waiter, signal.reason));
    void this.#ask(waiter, false);
    return waiter.outcome;
  }

  /** What another act has handed to waiters of this process. */
  handOver(scripts: LockScripts, name: string, granted: readonly LocalGrant[], sentAtMs: number): void {
    for (const { waiterId, token } of granted) {
      const waiter = this.#find(waiterId);
      if (waiter) {
        waiter.line?.sign(sentAtMs, waiter.request.ttlMs);
        this.#grant(waiter, { status: 'granted', token, sentAtMs });
      } else if (!this.#parts.isHolder(waiterId)) {
        this.leave(scripts, { name, waiterId, ttlMs: 1 });
      }
    }
  }

  /** Something happened to a lock that nobody else may tell its waiters: the oldest looks now. */
  poke(scripts: LockScripts, name: string): void {
    this.#lines.get(lineKey(scripts, name))?.look();
  }

  /** Gives back, in the background, whatever the request has in Redis. */
  leave(scripts: LockScripts, request: LockRequest): void {
    const leaving = this.#cancel(scripts, request);
    this.#leaving.add(leaving);
    void leaving.then(() => this.#leaving.delete(leaving));
  }

  /** Whoever waits is told CLOSED. Twice is fine. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const waiter of [...this.#queued.values(), ...this.#asking.all()]) this.#fail(waiter, closed());
    await Promise.all(this.#leaving);
    this.#channel.close();
  }

  /** Asks for the lock until there is an answer. Never rejects. */
  async #ask(waiter: Waiter, asksAgain: boolean): Promise<void> {
    const { scripts, request, waitMs } = waiter;
    const sinceMs = asksAgain ? this.#clock.monotonicMs() : waiter.sinceMs;
    let again = asksAgain;
    let mayQueue = waitMs > 0 && (this.#channel.isLive || asksAgain);
    let hasLooked = false;
    while (!waiter.isDone) {
      try {
        const look = mayQueue && !(this.#lines.size > 0 && this.#lines.has(lineKey(scripts, request.name)));
        const answer = await scripts.acquire(request, { again, mayQueue, look });
        waiter.failure = undefined;
        if (answer.status !== 'refused') return this.#answered(waiter, answer);
        again = false;
        if (waitMs > 0) {
          mayQueue = true;
          await this.#listening();
        } else if (answer.isFree && !hasLooked) {
          // Those before it may all be dead: whoever is not is handed the lock.
          hasLooked = true;
          await scripts.watch(request);
        } else {
          this.#forget(waiter);
          return waiter.resolve(undefined);
        }
      } catch (error) {
        again = true;
        const isOver = this.#clock.monotonicMs() - sinceMs >= this.#parts.deadlineMs;
        if (!isPassing(error) || (isOver && !waiter.line)) return this.#fail(waiter, unavailable(request.name, error));
        waiter.failure = unavailable(request.name, error);
        await this.#clock.sleep(ASK_AGAIN_MS);
      }
    }
  }

  #answered(waiter: Waiter, answer: Granted | Queued): void {
    if (answer.status === 'granted') return this.#grant(waiter, answer);
    if (waiter.isDone) return this.#leaveDone(waiter);
    const line = waiter.line ?? this.#lineOf(waiter);
    line.add(waiter, answer.leftMs);
    if (this.#asking.remove(waiter)) this.#queued.set(waiter.request.waiterId, waiter);
    if (waiter.waitMs === Number.POSITIVE_INFINITY) return;
    const leftMs = waiter.sinceMs + waiter.waitMs - this.#clock.monotonicMs();
    waiter.arm(Math.max(0, leftMs), () => this.#fail(waiter, waiter.failure ?? timeout(waiter)));
  }

  #lineOf({ scripts, request }: Waiter): WaitingLine {
    const key = lineKey(scripts, request.name);
    let line = this.#lines.get(key);
    if (!line) {
      line = new WaitingLine(
        (waiter) => this.#look(waiter),
        this.#clock,
        () => this.#lines.delete(key),
      );
      this.#lines.set(key, line);
    }
    return line;
  }

  /** Looks where a waiter stands. Never rejects; undefined when it could not be asked. */
  async #look(waiter: Waiter): Promise<number | undefined> {
    const { scripts, request } = waiter;
    try {
      const answer = await scripts.watch(request);
      for (const other of waiter.line?.waiters() ?? []) other.failure = undefined;
      if (answer.status === 'granted') this.#grant(waiter, answer);
      // The whole queue may be lost, so each of them asks; those who still wait keep their places.
      else if (answer.status === 'gone')
        await Promise.all(waiter.line?.waiters().map((one) => this.#ask(one, true)) ?? []);
      else return answer.leftMs;
      return 0;
    } catch (error) {
      const failure = unavailable(request.name, error);
      for (const other of waiter.line?.waiters() ?? []) other.failure = failure;
      return undefined;
    }
  }

  #grant(waiter: Waiter, granted: Granted): void {
    const { request } = waiter;
    if (waiter.isDone) return this.#leaveDone(waiter);
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= granted.sentAtMs + request.ttlMs) {
      // The answer took longer than the lease, or this process stood still: the lock may be another's by now.
      const isOver = nowMs - waiter.sinceMs > waiter.waitMs + this.#parts.deadlineMs;
      return isOver ? this.#fail(waiter, tooLate(request)) : void this.#ask(waiter, true);
    }
    this.#forget(waiter);
    waiter.resolve(granted);
    // So that the holder hears when it is put out, and the next request that must wait need not wait for the channel.
    if (!this.#isStopped) void this.#channel.open();
  }

  #fail(waiter: Waiter, reason: unknown): void {
    if (waiter.isDone) return;
    this.#forget(waiter);
    waiter.reject(reason);
    this.leave(waiter.scripts, waiter.request);
  }

  #forget(waiter: Waiter): void {
    if (!this.#asking.remove(waiter)) this.#queued.delete(waiter.request.waiterId);
  }

  /** A hand-over may be heard of before the answer that says that it is queued. */
  #find(waiterId: string): Waiter | undefined {
    return this.#queued.get(waiterId) ?? this.#asking.all().find(({ request }) => request.waiterId === waiterId);
  }

  /** An answer came for a waiter that has left meanwhile. One that was granted twice has the lock, and keeps it. */
  #leaveDone(waiter: Waiter): void {
    if (!waiter.hasLock) this.leave(waiter.scripts, waiter.request);
  }

  async #cancel(scripts: LockScripts, request: LockRequest): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { granted, sentAtMs } = await scripts.cancel(request);
        return this.handOver(scripts, request.name, granted, sentAtMs);
      } catch (error) {
        if (attempt < CANCEL_ATTEMPTS && isPassing(error) && !this.#isStopped) {
          await this.#clock.sleep(ASK_AGAIN_MS * attempt);
          continue;
        }
        this.#parts.log.debug({ err: error, name: request.name }, 'a waiter has left without Redis knowing');
        return;
      }
    }
  }

  async #listening(): Promise<void> {
    // Without the channel it waits too, and is granted the lock when it looks.
    await withDeadline(this.#channel.open(), CHANNEL_WITHIN_MS, noAnswer).catch(() => undefined);
  }

  /** `grant NAME WAITER` or `oust NAME WAITER`; the name may hold spaces. */
  #onMessage(text: string): void {
    const nameAt = text.indexOf(' ') + 1;
    const idAt = text.lastIndexOf(' ') + 1;
    const waiterId = text.slice(idAt);
    if (text.startsWith('oust ')) return this.#parts.onOust(waiterId);
    const waiter = this.#find(waiterId);
    if (waiter) return void this.#look(waiter);
    // It has looked before the message came, or it has left.
    const scripts = this.#kinds.get(waiterId.charAt(0));
    if (scripts && !this.#parts.isHolder(waiterId))
      this.leave(scripts, { name: text.slice(nameAt, idAt - 1), waiterId, ttlMs: 1 });
  }
}

function lineKey({ kind }: LockScripts, name: string): string {
  return kind + name;
}

/** Whether asking again may help. */
export function isPassing(error: unknown): error is MillraceError {
  return error instanceof MillraceError && PASSING.has(error.code);
}

/** What a caller is told when Redis could not be asked; faults of the call itself stay what they are. */
export function unavailable(name: string, error: unknown): MillraceError {
  const isOurs = error instanceof MillraceError && !error.code.startsWith('REDIS_') && error.code !== 'SCRIPT_FAILED';
  if (isOurs) return error;
  const said = error instanceof Error ? error.message : String(error);
  return new MillraceError('LOCK_UNAVAILABLE', `lock ${name}: Redis could not be asked: ${said}`, {
    name,
    cause: error,
  });
}

function timeout({ request, waitMs }: Waiter): MillraceError {
  return new MillraceError('LOCK_TIMEOUT', `lock ${request.name}: not granted within ${formatMs(waitMs)}`, {
    name: request.name,
    waitMs,
  });
}

function tooLate({ name, ttlMs }: LockRequest): MillraceError {
  const message = `lock ${name}: answers take longer than its lease of ${formatMs(ttlMs)}`;
  return new MillraceError('LOCK_UNAVAILABLE', message, { name, ttlMs });
}

function noAnswer(): MillraceError {
  return new MillraceError('REDIS_TIMEOUT', 'no answer to SUBSCRIBE', {});
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the locks have been stopped', {});
}
