/**
 * What all workers know of an endpoint: how much it is sent, and whether it is left alone for a while.
 *
 * Promise: the limit and the breaker are rate limits in Redis, so they hold over all processes. `failures` answers in a row, of so many within a
 * window, open the breaker: every job for that endpoint waits `openFor` and uses up no attempt. The first failure after that opens it again, the
 * first success forgets all. Redis down: all is let through.
 *
 *   closed --failures--> open, for openFor --> half open --success--> closed
 *                         ^-------------------- failure --'
 */
import { createHash } from 'node:crypto';
import type { JobLog, Limiter, Limits } from 'millrace';
import { policyOf, type LimitOption } from '../limit-option.ts';

/** When an endpoint is left alone. */
export interface BreakerRules {
  failures: number;
  openForMs: number;
}

/** An endpoint, as the workers of a platform share it. */
export class Endpoint {
  readonly #key: string;
  readonly #deliveries: Limiter;
  readonly #failures: Limiter | undefined;
  readonly #openForMs: number;
  readonly #log: JobLog;

  constructor(limits: Limits, url: URL, limit: LimitOption | false, breaker: BreakerRules | false, log: JobLog) {
    this.#log = log;
    // Paths may hold what is secret, and keys are shown: a digest tells them apart as well.
    this.#key = `${url.host}#${createHash('sha256')
      .update(url.origin + url.pathname)
      .digest('hex')
      .slice(0, 12)}`;
    this.#deliveries = limits.limiter('webhook.deliver', policyOf(limit === false ? UNLIMITED : limit));
    this.#openForMs = breaker === false ? 0 : breaker.openForMs;
    this.#failures =
      breaker === false
        ? undefined
        : limits.limiter('webhook.failures', {
            // Longer than the breaker is open, so that the count is still full when it is tried again.
            policies: [{ algorithm: 'fixed-window', limit: breaker.failures, per: breaker.openForMs * 10 }],
          });
  }

  /** @throws MillraceError RATE_LIMITED while the limit is met or the breaker is open */
  async enter(): Promise<void> {
    await this.#deliveries.require(this.#key);
  }

  /** It is well. */
  async succeeded(): Promise<void> {
    await this.#note(() => this.#failures?.reset(this.#key));
  }

  /** It is not there, or not well. */
  async failed(): Promise<void> {
    await this.#note(async () => {
      const counted = await this.#failures?.consume(this.#key);
      if (counted && (!counted.allowed || counted.remaining === 0)) await this.pause(this.#openForMs);
    });
  }

  /** It is to be left alone for so long. */
  async pause(ms: number): Promise<void> {
    await this.#note(() => this.#deliveries.block(this.#key, ms));
  }

  /** What is noted is no part of the delivery: it must not fail one that has come through. */
  async #note(act: () => Promise<unknown> | undefined): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#log.warn({ err: error, endpoint: this.#key }, 'could not note how an endpoint does');
    }
  }
}

const UNLIMITED: LimitOption = { limit: 1_000_000, per: '1s' };
