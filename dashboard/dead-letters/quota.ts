/**
 * What an operation with a limit may still move.
 *
 * Promise: letters are counted as spent in Redis before they move. However a start of it ends, and whoever takes it over, all its starts
 * together move no more than the limit; after a crash it may be some steps fewer.
 */

/** The platform moves at most so many letters at once; with a rate, what fits into 20 ms, and one at least. */
const STEP = 50;
const STEPS_A_SECOND = 50;
/** Asked for in advance, so that no step waits for it. */
const STEPS_AHEAD = 4;

/** What the platform moves at once at most. */
export function stepOf(rate: number | undefined): number {
  return rate === undefined ? STEP : Math.min(STEP, Math.max(1, Math.ceil(rate / STEPS_A_SECOND)));
}

/** Spends so many letters of the limit; false when the operation is another's. */
export type Spend = (count: number) => Promise<boolean>;

/** That of one start. */
export class Quota {
  readonly #step: number;
  readonly #spend: Spend;
  /** Of the limit, not spent yet. */
  #unasked: number;
  /** Spent, and not moved. */
  #ready = 0;
  #asking: Promise<void> | undefined;
  #late = new AbortController();

  constructor(left: number, rate: number | undefined, spend: Spend) {
    this.#unasked = left;
    this.#step = stepOf(rate);
    this.#spend = spend;
  }

  /** What may move in all. */
  get left(): number {
    return this.#unasked + this.#ready;
  }

  /** Spent for nothing, when no step is under way. */
  get unspent(): number {
    return Math.max(0, this.#ready);
  }

  /** Spends for the next steps. The signal stops before a step that could move more than was spent. @throws what Redis met */
  async open(): Promise<AbortSignal> {
    if (!this.#isCovered) await this.#ask();
    this.#late = new AbortController();
    if (!this.#isCovered) this.#late.abort();
    return this.#late.signal;
  }

  /** Tells what a step has moved. */
  moved(count: number): void {
    this.#ready -= count;
    // What it meets, the next open() meets as well.
    if (this.#ready < (this.#step * STEPS_AHEAD) / 2) void this.#ask().catch(() => undefined);
    if (!this.#isCovered) this.#late.abort();
  }

  /** Waits for what is on its way. */
  async settle(): Promise<void> {
    await this.#asking?.catch(() => undefined);
  }

  get #isCovered(): boolean {
    return this.#unasked === 0 || this.#ready >= this.#step;
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#spendMore().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #spendMore(): Promise<void> {
    const count = Math.min(this.#unasked, this.#step * STEPS_AHEAD - this.#ready);
    if (count <= 0 || !(await this.#spend(count))) return;
    this.#unasked -= count;
    this.#ready += count;
  }
}
