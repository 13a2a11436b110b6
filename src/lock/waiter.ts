/** One request for a lock, from the first question to its outcome. */
import type { MillraceError } from '../errors.ts';
import type { Granted, LockRequest, LockScripts } from './lock-scripts.ts';
import { Link } from '../redis/ring.ts';
import type { WaitingLine } from './waiting-line.ts';

/** What comes of it: granted, or undefined for one that may not wait and would have to. */
export type WaitOutcome = Granted | undefined;

/** A request under way. Whatever settles it first counts; the rest is given back. */
export class Waiter extends Link {
  readonly scripts: LockScripts;
  readonly request: LockRequest;
  readonly waitMs: number;
  readonly sinceMs: number;
  readonly outcome: Promise<WaitOutcome>;
  /** Among the others of its lock, once it has joined the queue. */
  line: WaitingLine | undefined;
  /** How it last failed to ask, if it has had no answer since. */
  failure: MillraceError | undefined;
  isDone = false;
  /** It was granted the lock, so what comes of its other questions must not be given back. */
  hasLock = false;
  #timer: NodeJS.Timeout | undefined;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;
  #resolve: ((outcome: WaitOutcome) => void) | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(scripts: LockScripts, request: LockRequest, waitMs: number, sinceMs: number) {
    super();
    this.scripts = scripts;
    this.request = request;
    this.waitMs = waitMs;
    this.sinceMs = sinceMs;
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Calls when the signal aborts before the outcome. */
  listen(signal: AbortSignal, onAbort: () => void): void {
    this.#signal = signal;
    this.#onAbort = onAbort;
    signal.addEventListener('abort', onAbort, { once: true });
  }

  /** Calls when the time to wait is over; the first call counts. */
  arm(leftMs: number, onTimeout: () => void): void {
    this.#timer ??= setTimeout(onTimeout, leftMs);
  }

  resolve(outcome: WaitOutcome): void {
    if (this.isDone) return;
    this.#finish();
    this.hasLock = outcome !== undefined;
    this.#resolve?.(outcome);
  }

  reject(reason: unknown): void {
    if (this.isDone) return;
    this.#finish();
    this.#reject?.(reason);
  }

  #finish(): void {
    this.isDone = true;
    this.line?.remove(this);
    clearTimeout(this.#timer);
    if (this.#onAbort) this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
