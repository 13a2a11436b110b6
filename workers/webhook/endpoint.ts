/**
 * What all workers know of an endpoint: how much it is sent, and whether it is left alone for a while.
 *
 * Promise: the limit and the breaker are rate limits in Redis, so they hold over all processes. `failures` answers in a row, of so many within a
 * window, open the breaker: every job for that endpoint waits `openFor` and uses up no attempt. Then one job is let through in each `openFor`:
 * its failure opens the breaker again, the first success forgets all. An endpoint that is not asked for ten times `openFor` is taken for well.
 * Redis down: all is let through.
 *
 *   closed --failures--> open, for openFor --> half open, for one job --success--> closed
 *                         ^-------------------- failure ---------'
 */
import { createHash } from 'node:crypto';
import { isMillraceError, type JobLog, type Limiter, type Limits } from 'millrace';
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
  /** Counts them while the breaker is closed, and is blocked from then on until a success. */
  readonly #failures: Limiter | undefined;
  /** Who may try while it is half open. */
  readonly #tries: Limiter | undefined;
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
    if (breaker === false) return;
    const { failures, openForMs } = breaker;
    this.#failures = limits.limiter('webhook.failures', {
      policies: [{ algorithm: 'fixed-window', limit: failures, per: openForMs * WINDOW }],
    });
    this.#tries = limits.limiter(TRIES, { policies: [{ limit: 1, per: openForMs }] });
  }

  /** @throws MillraceError RATE_LIMITED while the limit is met, the breaker is open, or another job tries whether it may be closed */
  async enter(): Promise<void> {
    await this.#deliveries.require(this.#key);
    // Refused by the count or by the block: where both end in the same millisecond, either may be the one that is told.
    const isHalfOpen = (await this.#failures?.peek(this.#key))?.allowed === false;
    if (isHalfOpen) await this.#tries?.require(this.#key);
  }

  /** It is well. */
  async succeeded(): Promise<void> {
    await this.#note(() => this.#failures?.reset(this.#key));
  }

  /** It is not there, or not well. */
  async failed(): Promise<void> {
    await this.#note(async () => {
      const counted = await this.#failures?.consume(this.#key);
      if (!counted || (counted.allowed && counted.remaining > 0)) return;
      await this.pause(this.#openForMs);
      await this.#failures?.block(this.#key, this.#openForMs * WINDOW);
    });
  }

  /** It is to be left alone for so long, or for longer if that is known already. */
  async pause(ms: number): Promise<void> {
    await this.#note(() => this.#deliveries.block(this.#key, ms, { atLeast: true }));
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

/** Whether enter() threw this because the endpoint is left alone, not because of its limit. */
export function isLeftAlone(error: unknown): boolean {
  return (
    isMillraceError(error, 'RATE_LIMITED') && (error.facts['policy'] === 'block' || error.facts['limiter'] === TRIES)
  );
}

const TRIES = 'webhook.tries';
/** Failures are remembered for so many times as long as the breaker is open. */
const WINDOW = 10;
const UNLIMITED: LimitOption = { limit: 1_000_000, per: '1s' };
