/**
 * What turns texts into vectors.
 *
 * An embedder may be a service, a model in this process, or a function of one's own. What it gives is checked here, in one place: a vector of
 * another size or with a NaN in it would be stored without a word by either engine, and be found by nobody.
 */
import { createHash } from 'node:crypto';
import { isMillraceError, MillraceError } from '../errors.ts';
import { checkVector } from './vectors.ts';

/** What a text is to the search; some models embed the two in different ways. */
export type TextKind = 'document' | 'query';

/** Options of a call. */
export interface EmbedOptions {
  kind: TextKind;
  signal?: AbortSignal | undefined;
}

/** A vector, or why there is none for this text. */
export type Embedded = Float32Array | MillraceError;

/** Turns texts into vectors, in their order. */
export interface Embedder {
  /** Model, dimensions and version: whatever changes what a text becomes. It goes into content hashes. */
  readonly id: string;
  readonly dimensions: number;
  embed(texts: readonly string[], options: EmbedOptions): Promise<readonly Float32Array[]>;
  /** The same, with the texts that were refused told apart from the others. An embedder without it fails as a whole. */
  embedEach?(texts: readonly string[], options: EmbedOptions): Promise<readonly Embedded[]>;
}

/**
 * The vectors of the texts, checked, each with its own outcome: a text that is refused (EMBEDDING_REFUSED) does not take the others with it.
 *
 * @throws MillraceError EMBEDDING_FAILED when the call failed as a whole; VECTOR_INVALID when the embedder is at fault
 */
export async function embedEach(
  embedder: Embedder,
  texts: readonly string[],
  options: EmbedOptions,
): Promise<readonly Embedded[]> {
  if (texts.length === 0) return [];
  const asked = embedder.embedEach ? embedder.embedEach(texts, options) : embedder.embed(texts, options);
  const given = await orAbort(asked, options.signal);
  if (!Array.isArray(given) || given.length !== texts.length) throw otherCount(embedder, texts.length, given);
  return given.map((one: Embedded, index) =>
    isMillraceError(one) ? one : checkVector(one, embedder.dimensions, `vector ${index} of embedder ${embedder.id}`),
  );
}

/**
 * The vectors of the texts, checked.
 *
 * @throws MillraceError as embedEach(); EMBEDDING_REFUSED when a text was refused, with the place of each in `refused`
 */
export async function embedAll(
  embedder: Embedder,
  texts: readonly string[],
  options: EmbedOptions,
): Promise<readonly Float32Array[]> {
  return allOrThrow(await embedEach(embedder, texts, options), embedder.id);
}

/** The vectors, when every text has one. @throws MillraceError EMBEDDING_REFUSED */
export function allOrThrow(embedded: readonly Embedded[], id: string): readonly Float32Array[] {
  const refused = embedded.flatMap((one, index) => (isMillraceError(one) ? [index] : []));
  const [first] = refused;
  if (first === undefined) return embedded as readonly Float32Array[];
  const cause = embedded[first] as MillraceError;
  const others = refused.length > 1 ? ` and ${refused.length - 1} more` : '';
  throw new MillraceError('EMBEDDING_REFUSED', `text ${first}${others}: ${cause.message}`, {
    embedder: id,
    refused,
    cause,
  });
}

/**
 * What a text is known by: the same text, embedder and kind have the same hash on every machine.
 *
 * @example
 * embeddingHash(embedder, 'document', 'A fox saw grapes.'); // 43 letters, digits, - and _
 */
export function embeddingHash(embedder: Pick<Embedder, 'id'>, kind: TextKind, text: string): string {
  // As JSON no two lists spell one text, and half a surrogate pair has bytes of its own.
  return createHash('sha256')
    .update(JSON.stringify([embedder.id, kind, text]))
    .digest('base64url');
}

/** What comes of it, or the signal's reason when that aborts first: not everything that is asked listens to it. */
export async function orAbort<T>(asked: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return asked;
  const answered = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true, signal: answered.signal });
  });
  try {
    return await Promise.race([asked, aborted]);
  } finally {
    answered.abort();
  }
}

function otherCount({ id }: Embedder, expected: number, given: unknown): MillraceError {
  const came = Array.isArray(given) ? `${given.length} vectors` : 'no list';
  return new MillraceError('EMBEDDING_FAILED', `embedder ${id}: expected ${expected} vectors, got ${came}`, {
    embedder: id,
  });
}
