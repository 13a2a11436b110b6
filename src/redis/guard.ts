/**
 * Asks Redis within a module's own deadline, and stops asking a Redis that does not answer.
 *
 *   closed --`failures` in a row--> open --after a pause--> one call may try --it succeeds--> closed
 *                                    ^--------------------------it fails------'
 *
 * Promise: while Redis is down a call fails at once instead of after a deadline each, so that whoever can do without Redis is not slowed down
 * by it; and it is noticed within the pause that Redis is back. Only failures of the connection count: a script's own error says that
 * Redis is well. A call under way when its deadline comes may still run; its answer is dropped.
 */
import { systemClock, type Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError, type ErrorCode } from '../errors.ts';
import { Dated, Deadlines } from './deadlines.ts';
import { explainRedisError } from './explain.ts';

/** What passes by itself, and what no other call would be spared. */
const OUTAGES: ReadonlySet<ErrorCode> = new Set([
  'REDIS_TIMEOUT',
  'REDIS_UNREACHABLE',
  'REDIS_NOT_READY',
  'REDIS_WRITES_REFUSED',
  'REDIS_CLUSTER_DOWN',
  'REDIS_AUTH_FAILED',
  'REDIS_TLS_FAILED',
]);

/** Whether the connection failed; other failures say that Redis is well, and hold until somebody mends what is wrong. */
export function isOutage({ code }: MillraceError): boolean {
  return OUTAGES.has(code);
}

/** Options of a guard. */
export interface GuardOptions {
  /** How long a call may take. */
  deadlineMs: number;
  /** How many calls in a row fail before it opens. Default 5. */
  failures?: number | undefined;
  /** How long it stays open before a call may try again. Default 1 s. */
  pauseMs?: number | undefined;
  clock?: Clock | undefined;
  /** What messages call the server. */
  label: string;
  onOpen?: ((failure: MillraceError) => void) | undefined;
  onClose?: (() => void) | undefined;
}

class Call extends Dated {
  readonly reject: (error: MillraceError) => void;

  constructor(atMs: number, reject: (error: MillraceError) => void) {
    super(atMs);
    this.reject = reject;
  }
}

/** Guards the calls of one module. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #failures: number;
  readonly #pauseMs: number;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines<Call>;
  #failedInARow = 0;
  /** Why it is open; undefined while it is closed. */
  #open: { readonly failure: MillraceError; tryAtMs: number } | undefined;

  constructor(options: GuardOptions) {
    const { failures = 5, pauseMs = 1_000, clock = systemClock } = options;
    this.#options = options;
    this.#failures = failures;
    this.#pauseMs = pauseMs;
    this.#clock = clock;
    this.#deadlines = new Deadlines(clock, (call) => {
      const failure = this.#timeout();
      this.#failed(failure);
      call.reject(failure);
    });
  }

  /** Whether calls fail at once now. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /**
   * What the call gives. While the guard is open, the call is not made.
   *
   * @throws MillraceError REDIS_TIMEOUT at the deadline; or what the call met
   */
  run<T>(call: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => this.watch(call, resolve, reject));
  }

  /** As run(), for calls so frequent that a promise more for each would count. */
  watch<T>(call: () => Promise<T>, onAnswer: (value: T) => void, onFailure: (failure: MillraceError) => void): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#open) {
      if (nowMs < this.#open.tryAtMs) return onFailure(this.#open.failure);
      this.#open.tryAtMs = nowMs + this.#pauseMs; // The others wait for what becomes of this one.
    }
    let answer: Promise<T>;
    try {
      answer = call();
    } catch (error) {
      return onFailure(explainRedisError(error, this.#options.label)); // Nothing was sent, so it tells nothing of Redis.
    }
    const dated = new Call(nowMs + this.#options.deadlineMs, onFailure);
    this.#deadlines.add(dated);
    answer.then(
      (value) => this.#answer(dated, value, onAnswer),
      (error: unknown) => this.#refuse(dated, error),
    );
  }

  /** Ends what is still under way. */
  close(): void {
    for (const call of this.#deadlines.close()) {
      call.reject(new MillraceError('CLOSED', 'stopped before Redis had answered', {}));
    }
  }

  /** Nobody waits for it any more once its deadline has passed. */
  #answer<T>(call: Call, value: T, onAnswer: (value: T) => void): void {
    if (!this.#deadlines.remove(call)) return;
    this.#succeeded();
    try {
      onAnswer(value);
    } catch (error) {
      call.reject(error as MillraceError); // Nobody else would hear of it.
    }
  }

  /** Likewise. */
  #refuse(call: Call, error: unknown): void {
    if (!this.#deadlines.remove(call)) return;
    const explained = explainRedisError(error, this.#options.label);
    if (isOutage(explained)) this.#failed(explained);
    else this.#succeeded();
    call.reject(explained);
  }

  #succeeded(): void {
    this.#failedInARow = 0;
    if (!this.#open) return;
    this.#open = undefined;
    this.#options.onClose?.();
  }

  #failed(failure: MillraceError): void {
    this.#failedInARow++;
    if (this.#failedInARow < this.#failures && !this.#open) return;
    const wasOpen = this.#open !== undefined;
    this.#open = { failure, tryAtMs: this.#clock.monotonicMs() + this.#pauseMs };
    if (!wasOpen) this.#options.onOpen?.(failure);
  }

  #timeout(): MillraceError {
    const { deadlineMs, label } = this.#options;
    return new MillraceError('REDIS_TIMEOUT', `${label}: no answer within ${formatMs(deadlineMs)}`, { deadlineMs });
  }
}
