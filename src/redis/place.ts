/**
 * A place that one process has at a time: that of the one that runs a projection, or saves for a store.
 *
 *   waiting --the place is free, or its lease has run out--> held --renewed at a third of the lease--> held
 *                                                             '--not renewed in time, or another's--> lost
 *
 * Promise: `signal` aborts when the lease can have run out by this process' own clock, counted from before the renewal was sent, so also
 * while Redis is frozen. Two processes can be at work at once only if one is paused for longer than the lease; what it then notes in Redis is
 * refused, if its scripts look at the token, or at what they go on from.
 */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { defineScript, type ScriptClient } from './script.ts';

const takePlace = defineScript({
  file: 'redis/take-place.lua',
  keys: ['place'],
  args: ['token', 'leaseMs'],
  reply: ([isMine, leftMs]: [number, number]) => ({ isMine: isMine === 1, leftMs }),
});

const leavePlace = defineScript({
  file: 'redis/leave-place.lua',
  keys: ['place'],
  args: ['token'],
  reply: (wasMine: number) => wasMine === 1,
});

/** How much sooner than the server this process takes its lease to have ended. */
const DRIFT = 0.02;
/** Whoever waits looks at least so often, because a process that stops gives up its place at once. */
const LOOK_WITHIN_MS = 1_000;

/** A place, and who asks for it. */
export interface Place {
  readonly client: () => ScriptClient;
  readonly key: string;
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
export async function waitForPlace(place: Place, signal: AbortSignal, answered?: () => void): Promise<HeldPlace> {
  const { client, key, leaseMs, token, clock } = place;
  for (;;) {
    const sentMs = clock.monotonicMs();
    const { isMine, leftMs } = await takePlace(client(), { place: key }, { token, leaseMs });
    answered?.();
    if (isMine && signal.aborted) await giveUpPlace(place);
    signal.throwIfAborted();
    if (isMine) return new HeldPlace(place, sentMs);
    // Those who wait together should not come together.
    await clock.sleep(Math.min(Math.max(leftMs, 20), LOOK_WITHIN_MS) * (1 + 0.2 * Math.random()), { signal });
  }
}

/** Gives up the place, if it is this one's. Best effort: who cannot say so leaves it to the lease's end. */
export async function giveUpPlace({ client, key, token }: Place): Promise<void> {
  await leavePlace(client(), { place: key }, { token }).catch(() => undefined);
}

/** The place while it is held. */
export class HeldPlace {
  readonly token: string;
  readonly #place: Place;
  readonly #ended = new AbortController();
  readonly #renewing: NodeJS.Timeout;
  /** The last one, which may take the place again after its lease has run out. */
  #renewal: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #deadlineMs: number;

  constructor(place: Place, sentMs: number) {
    this.token = place.token;
    this.#place = place;
    this.#deadlineMs = sentMs + place.leaseMs * (1 - DRIFT);
    this.#renewing = setInterval(() => {
      this.#renewal = this.#renew();
    }, place.leaseMs / 3);
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
    await giveUpPlace(this.#place);
  }

  async #renew(): Promise<void> {
    const { client, key, leaseMs, clock } = this.#place;
    const sentMs = clock.monotonicMs();
    try {
      const { isMine } = await takePlace(client(), { place: key }, { token: this.token, leaseMs });
      if (this.#ended.signal.aborted) return;
      // A process that was paused past its deadline has lost, even if nobody else came: somebody may have come and gone.
      if (!isMine || clock.monotonicMs() >= this.#deadlineMs) this.lose();
      else this.#deadlineMs = Math.max(this.#deadlineMs, sentMs + leaseMs * (1 - DRIFT));
    } catch {
      return; // The next one may pass; if none does, the deadline comes.
    }
  }

  #watch(): void {
    const leftMs = this.#deadlineMs - this.#place.clock.monotonicMs();
    if (leftMs > 0) this.#timer = setTimeout(() => this.#watch(), Math.ceil(leftMs));
    else this.#end(new MillraceError('LEASE_LOST', 'the lease could not be renewed in time', {}));
  }

  #end(reason: MillraceError): void {
    clearTimeout(this.#timer);
    clearInterval(this.#renewing);
    this.#ended.abort(reason);
  }
}
