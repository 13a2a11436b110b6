/** Writes the progress of one attempt: at most five times a second, one write at a time, and always the last. */
import type { Clock } from '../../clock.ts';

const INTERVAL_MS = 200;

/** The progress of one attempt. */
export class Progress {
  readonly #write: (value: number | object) => Promise<void>;
  readonly #clock: Clock;
  #latest: number | object | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** While one is under way, the next waits: with Redis away they would pile up. */
  #writing: Promise<void> | undefined;
  #isClosed = false;

  /** @param write must not reject. */
  constructor(write: (value: number | object) => Promise<void>, clock: Clock) {
    this.#write = write;
    this.#clock = clock;
  }

  /** Takes the place of what was not written yet. */
  set(value: number | object): void {
    if (this.#isClosed) return;
    this.#latest = value;
    this.#plan();
  }

  /** Takes nothing more: the attempt is over. Writes what is left and waits for it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
    await this.#send();
  }

  /** Forgets what was not written yet. */
  drop(): void {
    this.#latest = undefined;
  }

  #plan(): void {
    if (this.#writing || this.#timer || this.#latest === undefined || this.#isClosed) return;
    const waitMs = this.#writtenAtMs + INTERVAL_MS - this.#clock.monotonicMs();
    if (waitMs <= 0) this.#begin();
    else this.#timer = setTimeout(() => this.#begin(), waitMs);
  }

  #begin(): void {
    this.#timer = undefined;
    this.#writing = this.#send().finally(() => {
      this.#writing = undefined;
      this.#plan();
    });
  }

  async #send(): Promise<void> {
    const value = this.#latest;
    if (value === undefined) return;
    this.#latest = undefined;
    this.#writtenAtMs = this.#clock.monotonicMs();
    await this.#write(value);
  }
}
