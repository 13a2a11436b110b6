/** What a limiter answers while Redis does not. */
import type { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { isOutage } from '../redis/guard.ts';
import { summed } from './decision.ts';
import type { ConsumeResult } from './limiter.ts';
import type { LocalShare } from './local-share.ts';
import type { PolicyInfo } from './policies.ts';

/** Let everything through, refuse everything, or let each process keep its share of the limit. */
export type OnError = 'allow' | 'deny' | 'local';

/** When a refused caller may come again: by then Redis has been tried again. */
const RETRY_AFTER_MS = 1_000;

/**
 * Tells of what `onError` answers though it is no outage, such as an ACL that forbids the scripts: it does not pass by itself, and without a
 * word a limit that lets everything through looks like one that nobody reaches. Once for each limit; the guard tells of outages.
 */
export class FaultLog {
  readonly #limiter: string;
  readonly #log: Logger;
  #isTold = false;

  constructor(limiter: string, log: Logger) {
    this.#limiter = limiter;
    this.#log = log;
  }

  tell(failure: MillraceError): void {
    if (this.#isTold || isOutage(failure)) return;
    this.#isTold = true;
    const facts = { limiter: this.#limiter, code: failure.code, err: failure };
    this.#log.warn(facts, 'the limit is not kept in Redis until this is mended; onError answers');
  }
}

/** The call. */
export interface Unanswered {
  key: string;
  cost: number;
  takes: boolean;
  nowMs: number;
}

/** The answer for a call that Redis did not answer. What the server would have said is not known: nothing is told as remaining. */
export function withoutRedis(
  onError: OnError,
  share: LocalShare,
  policies: readonly PolicyInfo[],
  { key, cost, takes, nowMs }: Unanswered,
): ConsumeResult {
  if (onError === 'local') return share.decide(policies, key, cost, nowMs, takes);
  const allowed = onError === 'allow';
  const retryAfterMs = allowed ? 0 : RETRY_AFTER_MS;
  const results = policies.map(({ name, burst, shadow }) => ({
    policy: name,
    allowed: allowed || shadow,
    limit: burst,
    remaining: 0,
    retryAfterMs,
    resetMs: retryAfterMs,
    shadow,
  }));
  // Also for a limiter whose policies all only watch.
  return { ...summed(results, 'outage'), shadow: false };
}
