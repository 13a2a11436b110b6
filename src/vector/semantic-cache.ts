/**
 * Answers kept by the meaning of what was asked: a question that means nearly the same is answered without being asked again.
 *
 * Promise: an answer is given only while it lives, and only if its question scores at least `threshold`. How near is near enough depends on
 * the embedder: measure it on real questions, because a wrong answer is worse than none. Whatever else decides an answer (the user, the
 * model, the language) belongs into `scope`: answers of another scope are never given.
 * Keys: an index of the questions, see layout.ts, and `P:vector:{NAME}:answer:ID`, STRING, the answer, which expires by itself. The question
 * of an expired answer is removed when a search meets it, and by sweep(), which set() does once a `ttl`: so there are never more questions
 * than are asked in twice that time.
 * Redis down: calls reject within `deadline` of the vectors.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { Vectors } from './create-vectors.ts';
import type { Embedder } from './embedder.ts';

/** Options of a semantic cache. */
export interface SemanticCacheOptions {
  /** Letters, digits and _ . -; no index may have the same name. */
  name: string;
  embedder: Embedder;
  /** The least score of a question that means the same. Default 0.95. Too low gives wrong answers. */
  threshold?: number | undefined;
  /** How long an answer lives. Default 1 h. */
  ttl?: Duration | undefined;
  clock?: Clock | undefined;
}

/** An answer that was kept. */
export interface CachedAnswer {
  readonly answer: string;
  /** The question that it was given to. */
  readonly question: string;
  readonly score: number;
}

/** What decides an answer beside the question. */
export interface AnswerScope {
  /** Answers of another scope are not given. Default one scope for all. */
  scope?: string | undefined;
  signal?: AbortSignal | undefined;
}

const SCHEMA = { scope: 'tag', expiresAt: 'number' } as const;
const DEFAULT_THRESHOLD = 0.95;
const DEFAULT_TTL_MS = 3_600_000;
const DEFAULT_SCOPE = 'all';
/** Questions looked at, of which some may have no answer any more. */
const CANDIDATES = 5;
const LARGEST_ANSWER_CHARS = 1_000_000;

const optionsSchema = z.strictObject({
  name: z.string(),
  embedder: z.custom<Embedder>(),
  threshold: z.number().min(0).max(1).default(DEFAULT_THRESHOLD),
  ttl: durationOption.optional(),
  clock: z.custom<Clock>().optional(),
});

/**
 * A semantic cache over the vectors of this process.
 *
 * @example
 * const cache = createSemanticCache(vectors, { name: 'answers', embedder, threshold: 0.96, ttl: '1d' });
 * const known = await cache.get(question, { scope: userId });
 * const answer = known?.answer ?? (await askModel(question));
 * if (!known) await cache.set(question, answer, { scope: userId });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createSemanticCache(vectors: Vectors, options: SemanticCacheOptions): SemanticCache {
  return new SemanticCache(vectors, options);
}

/** Keeps answers by the meaning of their questions. */
export class SemanticCache {
  readonly #index: ReturnType<typeof indexOf>;
  readonly #answers: ReturnType<Vectors['values']>;
  readonly #threshold: number;
  readonly #ttlMs: number;
  readonly #clock: Clock;
  #sweptAtMs: number;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(vectors: Vectors, options: SemanticCacheOptions) {
    const {
      name,
      embedder,
      threshold,
      ttl = DEFAULT_TTL_MS,
      clock = systemClock,
    } = checkOptions(optionsSchema, options, 'createSemanticCache');
    if (ttl < 1)
      throw new MillraceError('OPTIONS_INVALID', 'createSemanticCache: ttl: expected at least 1 ms, got 0', {});
    this.#index = indexOf(vectors, name, embedder);
    this.#answers = vectors.values(name, 'answer');
    this.#threshold = threshold;
    this.#ttlMs = ttl;
    this.#clock = clock;
    this.#sweptAtMs = clock.monotonicMs();
  }

  /**
   * The answer to the question that means most nearly the same, if one is near enough and its answer still lives.
   *
   * @example
   * const known = await cache.get('How do I reset my password?');
   */
  async get(question: string, { scope = DEFAULT_SCOPE, signal }: AnswerScope = {}): Promise<CachedAnswer | undefined> {
    const hits = await this.#index.search({
      text: question,
      k: CANDIDATES,
      minScore: this.#threshold,
      filter: (f) => f.eq('scope', scope),
      signal,
    });
    if (hits.length === 0) return undefined;
    const answers = await this.#answers.read(hits.map(({ id }) => id));
    const gone = hits.filter((_hit, at) => answers[at] === undefined).map(({ id }) => id);
    if (gone.length > 0) await this.#index.delete(gone, { signal });
    for (const [at, { text = '', score }] of hits.entries()) {
      const answer = answers[at];
      if (answer !== undefined) return { answer, question: text, score };
    }
    return undefined;
  }

  /**
   * Keeps an answer, in the place of the one to the very same question.
   *
   * @example
   * await cache.set('How do I reset my password?', 'Under Settings ...', { scope: userId });
   * @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE; EMBEDDING_* when the question cannot be embedded
   */
  async set(question: string, answer: string, { scope = DEFAULT_SCOPE, signal }: AnswerScope = {}): Promise<void> {
    if (typeof answer !== 'string') {
      throw new MillraceError('INPUT_INVALID', `an answer: expected a text, got ${describeValue(answer)}`, {});
    }
    if (answer.length > LARGEST_ANSWER_CHARS) {
      throw new MillraceError(
        'PAYLOAD_TOO_LARGE',
        `an answer of ${answer.length} characters, ${LARGEST_ANSWER_CHARS} are allowed`,
        {},
      );
    }
    const id = createHash('sha256')
      .update(JSON.stringify([scope, question]))
      .digest('base64url');
    // The answer first: a question without one is removed by whoever meets it.
    await this.#answers.write(id, answer, this.#ttlMs);
    const metadata = { scope, expiresAt: this.#clock.wallMs() + this.#ttlMs };
    const { outcomes } = await this.#index.upsert([{ id, text: question, metadata }], { signal });
    const error = outcomes[0]?.error;
    if (error) throw error;
    if (this.#clock.monotonicMs() - this.#sweptAtMs >= this.#ttlMs) await this.sweep({ signal });
  }

  /**
   * Removes the questions whose answers have expired; set() does so by itself once a `ttl`. One whose answer lives goes by mistake only if the
   * clock of its writer was behind, and is asked again then.
   *
   * @example
   * const removed = await cache.sweep();
   */
  async sweep({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<number> {
    this.#sweptAtMs = this.#clock.monotonicMs();
    return this.#index.deleteByFilter({ op: 'lt', field: 'expiresAt', value: this.#clock.wallMs() }, { signal });
  }
}

function indexOf(vectors: Vectors, name: string, embedder: Embedder) {
  return vectors.index({ name, embedder, schema: SCHEMA });
}
