/**
 * The `Idempotency-Key` header: the same request, sent again with the same key, is answered as it was the first time.
 *
 *   first --------> claimed --answered--> its answer is kept for a day
 *   again --------> meanwhile: 409; after the answer: the same answer; with another body or path: 422
 *   claimed ------> refused for its input: forgotten, so that it can be mended
 *               '-> outcome unknown (Redis away, process dead): the same request may try again, another may not
 *
 * Promise: the jobs of a request that is tried again are the ones of the first try, because the enqueue has a key of its own made of this one.
 * A contract with a `unique` key has that in its place, and what it says of a second job holds.
 * Keys: `{prefix}:api-requests:{<id of the API key>/<hash>}` HASH, a day; two API keys never share one.
 * Redis down: nothing is enqueued that was not claimed.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createKeySpace, type KeySpace } from '../../redis/keys.ts';
import { defineScript } from '../../redis/script.ts';
import type { Asking } from './asking.ts';
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
  | { status: 'busy' }
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

/** Longer than an enqueue may take: a process that died holds nobody up for longer. */
const LEASE_MS = 30_000;

const claimRequest = defineScript({
  file: 'http/claim-request.lua',
  keys: ['request'],
  args: ['fingerprint', 'claim', 'leaseMs', 'keepMs'],
  reply: ([status, answer]: [string, string?]) => ({ status, answer }),
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

  constructor(asking: Asking) {
    this.#asking = asking;
    this.#keys = createKeySpace(asking.platform.prefix, 'api-requests');
  }

  /** @param asked what tells this request from another: its path and its body */
  async claim(apiKey: string, key: string, asked: unknown): Promise<Claimed> {
    const request = this.#keys(`${apiKey}/${digest(key)}`);
    const claim = randomBytes(12).toString('base64url');
    const args = { fingerprint: digest(canonical(asked)), claim, leaseMs: LEASE_MS, keepMs: REMEMBERED_FOR_MS };
    const { status, answer } = await this.#asking.ask((client) => claimRequest(client, { request }, args));
    if (status === 'answered' && answer !== undefined) return { status, answer: JSON.parse(answer) as Answer };
    if (status === 'busy' || status === 'other') return { status };
    const settle = (outcome: string, text = ''): Promise<void> => this.#settle(request, claim, outcome, text);
    return {
      status: 'claimed',
      claim: {
        answered: (given) => settle('answered', JSON.stringify(given)),
        undone: () => settle('undone'),
        unknown: () => settle('unknown'),
      },
    };
  }

  /** Best effort: without it the lease runs out, and the same request finds the jobs of the first try. */
  async #settle(request: string, claim: string, outcome: string, answer: string): Promise<void> {
    try {
      await this.#asking.ask((client) => settleRequest(client, { request }, { claim, outcome, answer }));
    } catch (error) {
      this.#asking.platform.log.debug({ err: error }, 'the outcome of a request with an idempotency key was not kept');
    }
  }
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
