/**
 * The `Idempotency-Key` header: the same request, sent again with the same key, is answered as it was the first time.
 *
 *   first --------> claimed --answered--> its answer is kept for a day
 *   again --------> meanwhile: 409; after the answer: the same answer; with another body or path: 422
 *   claimed ------> refused for its input: forgotten, so that it can be mended
 *               '-> outcome unknown (Redis away, process dead): the same request may try again, another may not
 *
 * Promise: the jobs of a request that is tried again are the ones of the first try, because the enqueue has a key of its own made of this one.
 * A contract with a `unique` key has that in its place, and what it says of a second job holds. It is not kept where the answer was lost and
 * the job has failed for good meanwhile: a dead letter frees the key, and the next try runs it again.
 * Keys: `{prefix}:api-requests:{<id of the API key>/<hash>}` HASH, a day; two API keys never share one.
 * Redis down: nothing is enqueued that was not claimed. A claim whose answer was lost, and an outcome that could not be kept, are settled once
 * Redis is back; of a process that died, the lease runs out.
 */
import { createHash, randomBytes } from 'node:crypto';
import { systemClock } from '../../clock.ts';
import { isMillraceError } from '../../errors.ts';
import { createKeySpace, type KeySpace } from '../../redis/keys.ts';
import { defineScript } from '../../redis/script.ts';
import type { Asking } from './asking.ts';
import { isAway } from './problem.ts';
import { REMEMBERED_FOR_MS } from './request.ts';

/** What a request was answered with. */
export interface Answer {
  status: number;
  body: unknown;
  /** Where what was made can be seen. */
  location?: string | undefined;
}

/** What became of a request with a key. */
export type Claimed =
  | { status: 'answered'; answer: Answer }
  | { status: 'busy'; retryAfterS: number }
  | { status: 'other' }
  | { status: 'claimed'; claim: Claim };

/** The right to do the work, and to say what came of it. */
export interface Claim {
  /** Keeps the answer. */
  answered(answer: Answer): Promise<void>;
  /** Nothing was done: the key is free again. */
  undone(): Promise<void>;
  /** Something may have been done: the same request may try again. */
  unknown(): Promise<void>;
}

type Outcome = 'answered' | 'undone' | 'unknown';

interface Settlement {
  claim: string;
  outcome: Outcome;
  answer: string;
}

/** Longer than an enqueue may take: a process that died holds nobody up for longer. */
const LEASE_MS = 30_000;
/** An enqueue that takes longer than this has most likely died. */
const USUALLY_DONE_IN_MS = 5_000;
const SETTLE_EVERY_MS = 1_000;
/** So many outcomes wait for Redis in a process; for others the lease runs out. */
const MOST_UNSETTLED = 1_000;

const claimRequest = defineScript({
  file: 'http/claim-request.lua',
  keys: ['request'],
  args: ['fingerprint', 'claim', 'leaseMs', 'keepMs'],
  reply: ([status, more]: [string, (string | number)?]) => ({ status, more }),
});

const settleRequest = defineScript({
  file: 'http/settle-request.lua',
  keys: ['request'],
  args: ['claim', 'outcome', 'answer'],
  reply: (settled: number) => settled === 1,
});

/** Requests that bear a key. */
export class Requests {
  readonly #asking: Asking;
  readonly #keys: KeySpace;
  #unsettled = 0;

  constructor(asking: Asking) {
    this.#asking = asking;
    this.#keys = createKeySpace(asking.platform.prefix, 'api-requests');
  }

  /** @param asked what tells this request from another: its path and its body */
  async claim(apiKey: string, key: string, asked: unknown): Promise<Claimed> {
    const request = this.#keys(`${apiKey}/${digest(key)}`);
    const claim = randomBytes(12).toString('base64url');
    const args = { fingerprint: digest(canonical(asked)), claim, leaseMs: LEASE_MS, keepMs: REMEMBERED_FOR_MS };
    const settle = (outcome: Outcome, answer = ''): Promise<void> => this.#settle(request, { claim, outcome, answer });
    let isSent = false; // Not while Redis is known to be away.
    const { status, more } = await this.#asking
      .ask((client) => {
        isSent = true;
        return claimRequest(client, { request }, args);
      })
      .catch((error: unknown) => {
        if (isSent && isAway(error)) void settle('unknown'); // Redis may have it, or get it yet.
        throw error;
      });
    if (status === 'answered') return { status, answer: JSON.parse(String(more)) as Answer };
    if (status === 'busy') return { status, retryAfterS: retryAfterS(Number(more)) };
    if (status === 'other') return { status };
    return {
      status: 'claimed',
      claim: {
        answered: (given) => settle('answered', JSON.stringify(given)),
        undone: () => settle('undone'),
        unknown: () => settle('unknown'),
      },
    };
  }

  /** Tries once; while Redis is away it goes on in the background, as long as the lease can last. Never rejects. */
  async #settle(request: string, args: Settlement): Promise<void> {
    if ((await this.#trySettle(request, args)) || this.#unsettled >= MOST_UNSETTLED) return;
    this.#unsettled++;
    void this.#settleLater(request, args).finally(() => this.#unsettled--);
  }

  async #settleLater(request: string, args: Settlement): Promise<void> {
    const untilMs = systemClock.monotonicMs() + LEASE_MS;
    do await systemClock.sleep(SETTLE_EVERY_MS);
    while (!(await this.#trySettle(request, args)) && systemClock.monotonicMs() < untilMs);
  }

  /** False when it is worth another try. */
  async #trySettle(request: string, args: Settlement): Promise<boolean> {
    try {
      await this.#asking.ask((client) => settleRequest(client, { request }, args));
      return true;
    } catch (error) {
      this.#asking.platform.log.debug({ err: error }, 'the outcome of a request with an idempotency key was not kept');
      return !isAway(error) || isMillraceError(error, 'CLOSED');
    }
  }
}

/** One that was claimed just now ends at any moment; of an older one the process may have died. */
function retryAfterS(leaseLeftMs: number): number {
  return leaseLeftMs > LEASE_MS - USUALLY_DONE_IN_MS ? 1 : Math.max(1, Math.ceil(leaseLeftMs / 1_000));
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** The same text for the same JSON, whatever the order of its fields. */
function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_key, inner: unknown) => {
      if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
      return Object.fromEntries(Object.entries(inner).toSorted(([one], [other]) => (one < other ? -1 : 1)));
    }) ?? ''
  );
}
