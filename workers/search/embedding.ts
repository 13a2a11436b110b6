/** Embedders of search jobs: within their limit, and with a store of what a rebuild has asked already. */
import {
  postpone,
  type Embedder,
  type EmbeddingStore,
  type EmbedOptions,
  type ExpiringValues,
  type Limiter,
  type Limits,
} from 'millrace';
import { policyOf, type LimitOption } from '../limit-option.ts';

/** What becomes of a text that the limit refuses: its job comes back later (`leave`), or waits a minute for its turn first (`wait`). */
export type Refusal = 'leave' | 'wait';

const LONGEST_WAIT = '1m';

/** The embedder, which is asked for no more texts than its limit lets in. The limit is kept by the embedder's id. */
export function limited(
  embedder: Embedder,
  limits: Limits,
  perProvider: LimitOption | false,
  refusal: Refusal,
): Embedder {
  if (perProvider === false) return embedder;
  const limiter = limits.limiter('search.embed', policyOf(perProvider));
  const { limit, burst = limit } = perProvider;
  const { id, dimensions } = embedder;
  const embedEach = embedder.embedEach?.bind(embedder);
  const turn = (texts: readonly string[], { signal }: EmbedOptions): Promise<unknown> =>
    takeTurn(limiter, id, Math.min(texts.length, burst), refusal, signal);
  return {
    id,
    dimensions,
    async embed(texts, options) {
      await turn(texts, options);
      return embedder.embed(texts, options);
    },
    ...(embedEach && {
      async embedEach(texts: readonly string[], options: EmbedOptions) {
        await turn(texts, options);
        return embedEach(texts, options);
      },
    }),
  };
}

async function takeTurn(
  limiter: Limiter,
  key: string,
  cost: number,
  refusal: Refusal,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (refusal === 'leave') return void (await limiter.require(key, { cost }));
  const { allowed, retryAfterMs } = await limiter.wait(key, { cost, max: LONGEST_WAIT, signal });
  if (!allowed) throw postpone(retryAfterMs, `embedder ${key}: the limit is used up`);
}

/** Vectors beside an index, for as long as a rebuild of it may take. */
export function storeOf(values: ExpiringValues, ttlMs: number): EmbeddingStore {
  return {
    async getMany(hashes) {
      const found = await values.read(hashes);
      return found.map((text) => (text === undefined ? undefined : Buffer.from(text, 'base64')));
    },
    async setMany(entries) {
      await Promise.all(entries.map(([hash, blob]) => values.write(hash, blob.toString('base64'), ttlMs)));
    },
  };
}
