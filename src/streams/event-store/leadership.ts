/**
 * The right to be the one process that runs a projection or a subscription.
 *
 *   waiting --the place is free, or its lease has run out--> held --renewed at a third of the lease--> held
 *                                                             '--not renewed in time, or another's--> lost
 *
 * Promise: `signal` aborts when the lease can have run out by this process' own clock, counted from before the renewal was sent, so also
 * while Redis is frozen. Two processes can be at work at once only if one is paused for longer than the lease; what it then notes in Redis is
 * refused, by the token of a subscription or by the checkpoint of a projection.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Connections } from '../../redis/connect.ts';
import { lead, resign } from './scripts.ts';

/** How much sooner than the server this process takes its lease to have ended. */
const DRIFT = 0.02;
/** Whoever waits looks at least so often, because a process that stops gives up its place at once. */
const LOOK_WITHIN_MS = 1_000;

/** What a leadership is made of. */
export interface LeadershipParts {
  readonly connections: Pick<Connections, 'commands'>;
  /** The key of the place. */
  readonly leader: string;
  readonly leaseMs: number;
  /** Of the one that asks, the same each time: a place that it was given in an answer that was lost, or came too late, is still its own. */
  readonly token: string;
  readonly clock: Clock;
}

/**
 * Waits until the place is this process's. Who does not wait any longer gives it up, for an answer may be under way.
 *
 * @param answered is called each time that Redis has answered, whoever has the place
 * @throws the signal's reason; what Redis answers
 */
export async function waitForLeadership(
  parts: LeadershipParts,
  signal: AbortSignal,
  answered: () => void,
): Promise<Leadership> {
  const { connections, leader, leaseMs, token, clock } = parts;
  for (;;) {
    const sentMs = clock.monotonicMs();
    const { isMine, leftMs } = await lead(connections.commands(), { leader }, { token, leaseMs });
    answered();
    signal.throwIfAborted();
    if (isMine) return new Leadership(parts, sentMs);
    // Those who wait together should not come together.
    await clock.sleep(Math.min(Math.max(leftMs, 20), LOOK_WITHIN_MS) * (1 + 0.2 * Math.random()), { signal });
  }
}

/** Gives up the place, if it is this one's. Best effort: who cannot say so leaves it to the lease's end. */
export async function giveUp({ connections, leader, token }: LeadershipParts): Promise<void> {
  await resign(connections.commands(), { leader }, { token }).catch(() => undefined);
}

/** The place while it is held. */
export class Leadership {
  readonly token: string;
  readonly #parts: LeadershipParts;
  readonly #ended = new AbortController();
  readonly #renewing: NodeJS.Timeout;
  /** The last one, which may take the place again after its lease has run out. */
  #renewal: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #deadlineMs: number;

  constructor(parts: LeadershipParts, sentMs: number) {
    this.token = parts.token;
    this.#parts = parts;
    this.#deadlineMs = sentMs + parts.leaseMs * (1 - DRIFT);
    this.#renewing = setInterval(() => {
      this.#renewal = this.#renew();
    }, parts.leaseMs / 3);
    this.#watch();
  }

  /** Aborts when the place is lost, or was given up. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Redis said that the place is another's. */
  lose(): void {
    this.#end(new MillraceError('LEASE_LOST', 'another process has taken over', {}));
  }

  /** Gives up the place, also one that was lost: a renewal that came too late may have taken it again. */
  async release(): Promise<void> {
    this.#end(new MillraceError('LEASE_LOST', 'the place was given up', {}));
    await this.#renewal;
    await giveUp(this.#parts);
  }

  async #renew(): Promise<void> {
    const { connections, leader, leaseMs, clock } = this.#parts;
    const sentMs = clock.monotonicMs();
    try {
      const { isMine } = await lead(connections.commands(), { leader }, { token: this.token, leaseMs });
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
    this.#ended.abort(reason);
  }
}
