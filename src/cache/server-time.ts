/**
 * The server's time, asked once a second.
 *
 * In between, what has passed on this process' monotonic clock is added; no two clocks are compared. It is counted from when the question was
 * sent, so it is never behind the server's, and ahead by at most the time that the question took: a value may be taken for stale that much
 * too early, and never too late.
 */
import type { Clock } from '../clock.ts';

/** An answer that is older is asked for again. */
const LASTS_MS = 1_000;

/** What the server's clock says. */
export class ServerTime {
  readonly #clock: Clock;
  #serverUs = 0;
  #sentAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether it was not asked for lately. */
  get isOld(): boolean {
    return this.#clock.monotonicMs() - this.#sentAtMs > LASTS_MS;
  }

  /** In µs, by the last answer. */
  nowUs(): number {
    return this.#serverUs + (this.#clock.monotonicMs() - this.#sentAtMs) * 1000;
  }

  /** Asks with TIME. */
  async ask(client: { time(): Promise<unknown> }): Promise<void> {
    const sentAtMs = this.#clock.monotonicMs();
    const [seconds, micros] = (await client.time()) as [string | number, string | number];
    this.#serverUs = Number(seconds) * 1_000_000 + Number(micros);
    this.#sentAtMs = sentAtMs;
  }
}
