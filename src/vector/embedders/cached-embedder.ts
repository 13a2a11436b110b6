/**
 * Does not embed a text again that it has a vector of.
 *
 * A text is known by its hash together with the embedder's id, so another model never gets an old vector. The store is for speed and money
 * only: when it fails, that is logged and the embedder is asked. A text that stands several times in one call is embedded once.
 */
import { isMillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import { allOrThrow, embedEach, embeddingHash, type Embedded, type Embedder, type EmbedOptions } from '../embedder.ts';
import { fromBlob, toBlob } from '../vectors.ts';

/** Keeps vectors as bytes, by hash. */
export interface EmbeddingStore {
  /** What it has, in the order of the hashes. */
  getMany(hashes: readonly string[]): Promise<ReadonlyArray<Buffer | undefined>>;
  setMany(entries: ReadonlyArray<readonly [hash: string, blob: Buffer]>): Promise<void>;
}

/** What a cached embedder has done so far. */
export interface EmbeddingCounts {
  /** Texts whose vector was found. */
  cached: number;
  /** Texts that the embedder was asked for. */
  embedded: number;
  /** Calls to the store that failed. */
  storeFailures: number;
}

/** An embedder with a store before it. */
export interface CachedEmbedder extends Embedder {
  embedEach(texts: readonly string[], options: EmbedOptions): Promise<readonly Embedded[]>;
  counts(): EmbeddingCounts;
}

/** What is embedded is kept so many texts at a time: a call that fails later on does not lose what was paid for. */
const KEPT_AT_ONCE = 512;

/**
 * The embedder, with the store before it.
 *
 * @example
 * const embedder = cachedEmbedder(httpEmbedder({ ... }), createEmbeddingCache(connections));
 */
export function cachedEmbedder(
  embedder: Embedder,
  store: EmbeddingStore,
  { log = silentLogger }: { log?: Logger | undefined } = {},
): CachedEmbedder {
  const counts: EmbeddingCounts = { cached: 0, embedded: 0, storeFailures: 0 };
  const failed = (cause: unknown, act: string): void => {
    counts.storeFailures++;
    log.warn({ err: cause, embedder: embedder.id }, `the store of embeddings failed to ${act}; going on without it`);
  };

  const read = async (hashes: readonly string[]): Promise<Map<string, Embedded>> => {
    const found = new Map<string, Embedded>();
    try {
      const blobs = await store.getMany(hashes);
      hashes.forEach((hash, index) => {
        const vector = vectorOf(blobs[index], embedder.dimensions);
        if (vector) found.set(hash, vector);
      });
    } catch (error) {
      failed(error, 'read');
    }
    return found;
  };

  const write = async (entries: ReadonlyArray<readonly [string, Buffer]>): Promise<void> => {
    try {
      if (entries.length > 0) await store.setMany(entries);
    } catch (error) {
      failed(error, 'write');
    }
  };

  const each = async (texts: readonly string[], options: EmbedOptions): Promise<readonly Embedded[]> => {
    const hashes = texts.map((text) => embeddingHash(embedder, options.kind, text));
    const textOf = new Map(hashes.map((hash, index) => [hash, texts[index] ?? '']));
    const known = textOf.size === 0 ? new Map<string, Embedded>() : await read([...textOf.keys()]);
    options.signal?.throwIfAborted();
    const missing = [...textOf].filter(([hash]) => !known.has(hash));
    counts.cached += textOf.size - missing.length;
    for (let at = 0; at < missing.length; at += KEPT_AT_ONCE) {
      const slice = missing.slice(at, at + KEPT_AT_ONCE);
      const sliceTexts = slice.map(([, text]) => text);
      const made = await embedEach(embedder, sliceTexts, options);
      const entries: Array<readonly [string, Buffer]> = [];
      slice.forEach(([hash], index) => {
        const one = made[index];
        if (!one) return;
        known.set(hash, one);
        if (!isMillraceError(one)) entries.push([hash, toBlob(one)]);
      });
      counts.embedded += slice.length;
      await write(entries);
    }
    return hashes.map((hash) => known.get(hash) as Embedded);
  };

  return Object.freeze({
    id: embedder.id,
    dimensions: embedder.dimensions,
    embed: async (texts: readonly string[], options: EmbedOptions) =>
      allOrThrow(await each(texts, options), embedder.id),
    embedEach: each,
    counts: () => ({ ...counts }),
  });
}

/** What cannot be read as a vector is as good as missing: it is embedded again, and written over. */
function vectorOf(blob: Buffer | undefined, dimensions: number): Float32Array | undefined {
  if (!blob) return undefined;
  try {
    return fromBlob(blob, dimensions, 'a stored embedding');
  } catch {
    return undefined;
  }
}
