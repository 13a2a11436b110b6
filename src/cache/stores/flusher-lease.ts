/**
 * The right to be the one process that saves for a store.
 *
 *   waiting --the place is free, or its lease has run out--> held --renewed at a third of the lease--> held
 *                                                             '--not renewed in time, or another's--> lost
 *
 * Promise: `signal` aborts when the lease can have run out by this process' own clock, counted from before the renewal was sent, so also while Redis is
 * frozen. Two processes can save at once only if one is paused for longer than the lease; what it then notes in Redis is refused, because
 * every script looks at the token.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { ChangeLog } from './change-log.ts';

/** How much sooner than the server this process takes its lease to have ended. */
const DRIFT = 0.02;
/** Whoever waits looks at least so often, because a process that stops gives up its place at once. */
const LOOK_WITHIN_MS = 1_000;

/** What a lease is made of. */
export interface LeaseParts {
  changes: ChangeLog;
  token: string;
  leaseMs: number;
  clock: Clock;
}

/**
 * Waits until the place is this process's.
 *
 * @throws the signal's reason; what Redis answers
 */
export async function waitForLease(parts: LeaseParts, signal: AbortSignal): Promise<FlusherLease> {
  const { changes, token, leaseMs, clock } = parts;
  for (;;) {
    const sentMs = clock.monotonicMs();
    const { isMine, leftMs } = await changes.lead(token, leaseMs);
    if (signal.aborted && isMine) await changes.resign(token);
    signal.throwIfAborted();
    if (isMine) return new FlusherLease(parts, sentMs);
    // Those who wait together should not come together.
    const waitMs = Math.min(Math.max(leftMs, 20), LOOK_WITHIN_MS) * (1 + 0.2 * Math.random());
    await clock.sleep(waitMs, { signal });
  }
}

/** The lease while it is held. */
export class FlusherLease {
  readonly token: string;
  readonly #parts: LeaseParts;
  readonly #ended = new AbortController();
  #deadlineMs: number;
  #timer: NodeJS.Timeout | undefined;
  #renewing: NodeJS.Timeout | undefined;

  constructor(parts: LeaseParts, sentMs: number) {
    this.token = parts.token;
    this.#parts = parts;
    this.#deadlineMs = sentMs + parts.leaseMs * (1 - DRIFT);
    this.#watch();
    this.#renewing = setInterval(() => void this.#renew(), parts.leaseMs / 3);
  }

  /** Aborts when the lease is lost. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Redis said that the place is another's. */
  lose(): void {
    const message = 'another process saves for this store now';
    this.#end(new MillraceError('LEASE_LOST', message, {}));
  }

  /** Gives up the place. Best effort: who cannot say so leaves it to the lease's end. */
  async release(): Promise<void> {
    const wasHeld = !this.#ended.signal.aborted;
    this.#end(new MillraceError('LEASE_LOST', 'the place was given up', {}));
    if (wasHeld) await this.#parts.changes.resign(this.token).catch(() => undefined);
  }

  async #renew(): Promise<void> {
    const { changes, leaseMs, clock } = this.#parts;
    const sentMs = clock.monotonicMs();
    try {
      const { isMine } = await changes.lead(this.token, leaseMs);
      if (this.#ended.signal.aborted) return;
      // A process that was paused past its deadline has lost, even if nobody else came: somebody may have come and gone.
      if (!isMine || clock.monotonicMs() >= this.#deadlineMs) this.lose();
      else this.#deadlineMs = Math.max(this.#deadlineMs, sentMs + leaseMs * (1 - DRIFT));
    } catch {
      return; // The next one may pass; if none does, the deadline comes.
    }
  }

  #watch(): void {
    const leftMs = this.#deadlineMs - this.#parts.clock.monotonicMs();
    if (leftMs > 0) this.#timer = setTimeout(() => this.#watch(), Math.ceil(leftMs));
    else this.#end(new MillraceError('LEASE_LOST', 'the lease could not be renewed in time', {}));
  }

  #end(reason: MillraceError): void {
    clearTimeout(this.#timer);
    clearInterval(this.#renewing);
    this.#timer = undefined;
    this.#renewing = undefined;
    this.#ended.abort(reason);
  }
}
