/**
 * About what the clock of a server says, without asking each time.
 *
 * What an answer told, and what has passed since on this process' monotonic clock: no two machines' clocks are compared, so the wall clock here
 * may be an hour off. It is counted from when the question was sent: never behind the server's, and ahead by at most the time that the question
 * took. It spares round trips; what is shared is decided by scripts, which read the clock itself.
 */
import type { Clock } from '../clock.ts';

/** What the clock of one server says. */
export class ServerTime {
  readonly #clock: Clock;
  #asking: Promise<void> | undefined;
  #serverMs = 0;
  #sentAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether an answer has told it. */
  get isKnown(): boolean {
    return this.#sentAtMs > Number.NEGATIVE_INFINITY;
  }

  /** Whether no answer has told it for so long. */
  isOlderThan(ms: number): boolean {
    return this.#clock.monotonicMs() - this.#sentAtMs > ms;
  }

  /** In ms since 1970, with fractions; by the machine's own clock while no answer has told it. */
  nowMs(): number {
    return this.isKnown ? this.#serverMs + (this.#clock.monotonicMs() - this.#sentAtMs) : this.#clock.wallMs();
  }

  /** An answer has told it. @param sentAtMs when the question was sent, by the monotonic clock */
  learn(serverMs: number, sentAtMs = this.#clock.monotonicMs()): void {
    this.#serverMs = serverMs;
    this.#sentAtMs = sentAtMs;
  }

  /** Sends TIME; once for all who ask meanwhile. */
  ask(time: () => Promise<unknown>): Promise<void> {
    this.#asking ??= this.#ask(time).finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #ask(time: () => Promise<unknown>): Promise<void> {
    const sentAtMs = this.#clock.monotonicMs();
    const [seconds, micros] = (await time()) as [string | number, string | number];
    this.learn(Number(seconds) * 1_000 + Number(micros) / 1_000, sentAtMs);
  }
}
