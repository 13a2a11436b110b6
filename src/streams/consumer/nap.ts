/** A wait of one loop that others may cut short. */

/** The wait. A call of wake() while nobody waits ends the next one at once. */
export class Nap {
  #end: (() => void) | undefined;
  #isWoken = false;

  /** Resolves after so many ms, or when it is woken. */
  async rest(ms: number): Promise<void> {
    if (!this.#isWoken && ms > 0) {
      await new Promise<void>((resolve) => {
        const timer = Number.isFinite(ms) ? setTimeout(resolve, ms) : undefined;
        this.#end = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#end = undefined;
    this.#isWoken = false;
  }

  wake(): void {
    this.#isWoken = true;
    this.#end?.();
  }
}
