/** The doctor's report, asked for once in a while: it costs Redis a few hundred commands, and what it tells changes seldom. */
import { systemClock, type Platform, type Report } from 'millrace';

const FRESH_MS = 300_000;
/** A page waits for the first report, and no longer than this; later ones come with the page after. */
const WAIT_MS = 1_000;

export class DoctorReports {
  readonly #platform: Platform;
  #report: Report | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** The newest report; undefined while there is none yet, or when the server could not be asked. */
  async report(): Promise<Report | undefined> {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - this.#askedAtMs > FRESH_MS) {
      this.#askedAtMs = nowMs;
      this.#asking = this.#ask().finally(() => (this.#asking = undefined));
    }
    if (this.#report) return this.#report;
    const stopWaiting = new AbortController();
    const waited = systemClock.sleep(WAIT_MS, { signal: stopWaiting.signal }).catch(() => undefined);
    await Promise.race([this.#asking, waited]);
    stopWaiting.abort();
    return this.#report;
  }

  async #ask(): Promise<void> {
    try {
      this.#report = await this.#platform.diagnose();
    } catch (error) {
      this.#askedAtMs = Number.NEGATIVE_INFINITY; // The next page asks again.
      this.#platform.log.debug({ err: error }, 'the doctor could not look at the server');
    }
  }
}
