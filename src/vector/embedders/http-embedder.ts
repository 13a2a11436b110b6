/**
 * An embedder behind HTTP, as OpenAI has made it usual: POST BASE/embeddings. Ollama, vLLM, LM Studio, text-embeddings-inference and most
 * hosted models answer it too.
 *
 *   texts -> batches (count, tokens) -> at most `concurrency` at a time --200--> checked vectors, in the order of the texts
 *                      ^                    |--429, 5xx, cut, slow--> wait (Retry-After, else doubling), the same again
 *                      '--two halves--------'--400, 413, 422--> a batch; a text by itself is refused (EMBEDDING_REFUSED)
 *
 * Promise: as many vectors as texts, in their order, of the size that was asked for; or a MillraceError. The key goes to the server of the
 * base URL and nowhere else: redirects are not followed, and no message has it. When the server says how long to wait, the whole embedder
 * does, not only the batch that was told.
 */
import { backoffMs, type CompiledBackoff } from '../../backoff.ts';
import { systemClock, withDeadline } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import { silentLogger } from '../../log.ts';
import { allOrThrow, type Embedded, type Embedder, type EmbedOptions } from '../embedder.ts';
import { batchesOf } from './batches.ts';
import { checkHttpEmbedder, type HttpEmbedderOptions, type HttpEmbedderRule } from './http-options.ts';
import { readReply, retryAfterMs, type HttpReply } from './http-reply.ts';
import { Turns } from './turns.ts';

/** An embedder over HTTP, which can tell a text that is refused from the others. */
export interface HttpEmbedder extends Embedder {
  embedEach(texts: readonly string[], options: EmbedOptions): Promise<readonly Embedded[]>;
}

/**
 * An embedder that asks a server.
 *
 * @example
 * const embedder = httpEmbedder({
 *   url: 'https://api.openai.com/v1',
 *   model: 'text-embedding-3-small',
 *   dimensions: 1536,
 *   apiKey,
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function httpEmbedder(options: HttpEmbedderOptions): HttpEmbedder {
  return new RunningHttpEmbedder(checkHttpEmbedder(options));
}

/** What no second try mends, of a batch that may hold one bad text. */
const REFUSALS: ReadonlySet<number> = new Set([400, 413, 422]);
/** What passes by itself. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504, 529]);
const BACKOFF: CompiledBackoff = Object.freeze({ type: 'exponential', delayMs: 500, maxMs: 30_000, jitter: 0.3 });

/** Texts of one call that are asked for together. */
interface Batch {
  readonly places: readonly number[];
  readonly texts: readonly string[];
  readonly signal: AbortSignal | undefined;
  /** Of the whole call. */
  readonly tally: { answered: number; refused: number };
}

/** Texts that are refused one by one, without one that is not, until the call is given up: then it is the call that is at fault. */
const MOST_REFUSED_ONLY = 8;

/** A try that failed: for how long to wait before the next one, when there is any use in it. */
class Failed {
  readonly error: MillraceError;
  readonly status: number | undefined;
  readonly isPassing: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(error: MillraceError, { status, retryAfter }: { status?: number; retryAfter?: number | undefined } = {}) {
    this.error = error;
    this.status = status;
    this.isPassing = status === undefined || PASSING.has(status);
    this.retryAfterMs = retryAfter;
  }
}

class RunningHttpEmbedder implements HttpEmbedder {
  readonly id: string;
  readonly dimensions: number;
  readonly #rule: HttpEmbedderRule;
  readonly #turns: Turns;
  /** Until when nobody asks, in monotonic ms; the server has said so. */
  #pausedUntilMs = 0;

  constructor(rule: HttpEmbedderRule) {
    this.id = rule.id;
    this.dimensions = rule.dimensions;
    this.#rule = rule;
    this.#turns = new Turns(rule.concurrency);
  }

  async embed(texts: readonly string[], options: EmbedOptions): Promise<readonly Float32Array[]> {
    return allOrThrow(await this.embedEach(texts, options), this.id);
  }

  async embedEach(texts: readonly string[], { kind, signal }: EmbedOptions): Promise<readonly Embedded[]> {
    signal?.throwIfAborted();
    const { prefixes, maxBatch, maxBatchTokens, countTokens } = this.#rule;
    const prefixed = texts.map((text) => `${prefixes[kind]}${text}`);
    const outcomes = Array.from<Embedded | undefined>({ length: texts.length });
    // The first batch that fails ends the others: its error is the call's.
    const ending = new AbortController();
    const either = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal;
    const batches = batchesOf(prefixed, { maxBatch, maxBatchTokens, countTokens });
    const tally = { answered: 0, refused: 0 };
    const results = await Promise.allSettled(
      batches.map(async (places) => {
        try {
          const batch = { places, texts: places.map((at) => prefixed[at] ?? ''), signal: either, tally };
          await this.#embedBatch(batch, outcomes);
        } catch (error) {
          ending.abort(error);
          throw error;
        }
      }),
    );
    signal?.throwIfAborted();
    if (ending.signal.aborted) throw ending.signal.reason as Error;
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) throw failure.reason as Error;
    return outcomes as Embedded[];
  }

  async #embedBatch(batch: Batch, outcomes: Array<Embedded | undefined>): Promise<void> {
    const { places, texts, tally } = batch;
    const answer = await this.#askUntilAnswered(batch);
    if (!(answer instanceof Failed)) {
      answer.forEach((vector, index) => (outcomes[places[index] ?? 0] = vector));
      tally.answered += texts.length;
      return;
    }
    const { error, status } = answer;
    if (status === undefined || !REFUSALS.has(status)) throw error;
    if (texts.length === 1) {
      tally.refused++;
      if (tally.answered === 0 && tally.refused >= MOST_REFUSED_ONLY) throw error;
      outcomes[places[0] ?? 0] = new MillraceError('EMBEDDING_REFUSED', error.message, {
        ...error.facts,
        place: places[0],
      });
      return;
    }
    const half = Math.ceil(texts.length / 2);
    await this.#embedBatch({ ...batch, places: places.slice(0, half), texts: texts.slice(0, half) }, outcomes);
    await this.#embedBatch({ ...batch, places: places.slice(half), texts: texts.slice(half) }, outcomes);
  }

  /** The vectors, or the failure that no further try would mend. */
  async #askUntilAnswered({ texts, signal }: Batch): Promise<readonly Float32Array[] | Failed> {
    const { attempts, maxWaitMs, clock = systemClock, log = silentLogger } = this.#rule;
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#turns.take(async () => {
        await this.#waitOutPause(signal);
        return this.#ask(texts, signal);
      }, signal);
      if (!(answer instanceof Failed) || !answer.isPassing || attempt >= attempts) return answer;
      const waitMs = answer.retryAfterMs ?? (backoffMs(BACKOFF, attempt, answer.error) || 0);
      if (waitMs > maxWaitMs) {
        const { message, facts } = answer.error;
        const told = `${message}; it asks to wait ${formatMs(waitMs)}, and ${formatMs(maxWaitMs)} is the most`;
        return new Failed(new MillraceError('EMBEDDING_FAILED', told, { ...facts, retryAfterMs: waitMs }), {
          status: answer.status ?? 0,
        });
      }
      log.warn({ embedder: this.id, attempt, waitMs, status: answer.status }, `${answer.error.message}; asking again`);
      if (answer.retryAfterMs !== undefined) {
        this.#pausedUntilMs = Math.max(this.#pausedUntilMs, clock.monotonicMs() + waitMs);
      } else {
        await clock.sleep(waitMs, { signal });
      }
    }
  }

  async #waitOutPause(signal: AbortSignal | undefined): Promise<void> {
    const { clock = systemClock } = this.#rule;
    // More may be added while one waits.
    for (;;) {
      const leftMs = this.#pausedUntilMs - clock.monotonicMs();
      if (leftMs <= 0) return;
      await clock.sleep(leftMs, { signal });
    }
  }

  async #ask(texts: readonly string[], signal: AbortSignal | undefined): Promise<readonly Float32Array[] | Failed> {
    const { timeoutMs, dimensions, label, masked } = this.#rule;
    const hangUp = new AbortController();
    const either = signal ? AbortSignal.any([signal, hangUp.signal]) : hangUp.signal;
    try {
      const reply = await withDeadline(this.#post(texts, either), timeoutMs, () => this.#late());
      if (reply.status >= 200 && reply.status < 300)
        return readReply(reply.body, { count: texts.length, dimensions, label, masked });
      return this.#refusal(reply);
    } catch (error) {
      signal?.throwIfAborted();
      if (isMillraceError(error, 'VECTOR_INVALID') || isMillraceError(error, 'EMBEDDING_FAILED')) {
        return new Failed(error, error.facts['isLate'] === true ? {} : { status: 0 });
      }
      return new Failed(this.#unreachable(error));
    } finally {
      hangUp.abort();
    }
  }

  async #post(texts: readonly string[], signal: AbortSignal): Promise<HttpReply> {
    const { endpoint, headers, model, dimensions, asksDimensions, encoding, maxReplyBytes } = this.#rule;
    const response = await fetch(endpoint, {
      method: 'POST',
      headers,
      body: JSON.stringify({
        model,
        input: texts,
        encoding_format: encoding,
        ...(asksDimensions && { dimensions }),
      }),
      redirect: 'error',
      signal,
    });
    const body = await readBody(response, maxReplyBytes(texts.length));
    return {
      status: response.status,
      body,
      retryAfter: retryAfterMs(response.headers, this.#rule.clock ?? systemClock),
    };
  }

  #refusal({ status, body, retryAfter }: HttpReply): Failed {
    const { label, masked, model } = this.#rule;
    const told = masked(body).replaceAll(/\s+/g, ' ').slice(0, LONGEST_TOLD);
    const mend = MENDS[status];
    const message = `${label} answered ${status}${told === '' ? '' : `: ${told}`}${mend === undefined ? '' : `. ${mend}`}`;
    return new Failed(new MillraceError('EMBEDDING_FAILED', message, { embedder: this.id, model, status }), {
      status,
      retryAfter,
    });
  }

  #late(): MillraceError {
    const { timeoutMs, label } = this.#rule;
    return new MillraceError('EMBEDDING_FAILED', `${label}: no answer within ${formatMs(timeoutMs)}`, {
      embedder: this.id,
      timeoutMs,
      isLate: true,
    });
  }

  /** Undici says only `fetch failed`; why stands in the cause. */
  #unreachable(error: unknown): MillraceError {
    const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const reason = inner instanceof Error ? inner.message : String(inner);
    return new MillraceError('EMBEDDING_FAILED', `${this.#rule.label}: ${reason}`, { embedder: this.id, cause: error });
  }
}

const LONGEST_TOLD = 300;

const MENDS: Readonly<Record<number, string>> = {
  401: 'Check the API key',
  403: 'Check the API key, and whether it may use the model',
  404: 'Check the base URL (it ends before /embeddings) and the name of the model',
};

/** Of an error its begin is enough. @throws MillraceError EMBEDDING_FAILED when an answer is longer than so many vectors can be */
async function readBody(response: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength;
    if (bytes > maxBytes && !response.ok) break;
    if (bytes > maxBytes) {
      throw new MillraceError('EMBEDDING_FAILED', `the answer is longer than ${maxBytes} bytes`, { maxBytes });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
