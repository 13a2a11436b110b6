/** Documents copied from one version of an index to another, which may have another engine, embedder, chunker or schema. */
import type { Clock } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { Chunker } from './chunker.ts';
import { canonical, GIVEN, prepareDocument, type PreparedDocument, type VectorItem } from './documents.ts';
import type { Embedder } from './embedder.ts';
import type { Metadata } from './engine.ts';
import { chunkOf, shardOf } from './layout.ts';
import { firstMetadata, hashOf } from './manifest.ts';
import { checkMetadata } from './schema.ts';
import type { DocumentStore, StoredDocument } from './store.ts';
import { Upserts } from './upserts.ts';
import type { VectorMeter } from './vector-metrics.ts';
import type { Version } from './versions.ts';

/** What a copy is made with. */
export interface CopyParts {
  readonly options: {
    readonly name: string;
    readonly embedder: Embedder | undefined;
    readonly chunker: Chunker;
  };
  readonly store: DocumentStore;
  readonly clock: Clock;
  readonly meter: VectorMeter;
}

/** What is copied: from where, where to, by whom. */
export interface CopyTask {
  readonly old: Version;
  readonly fresh: Version;
  readonly builder: string;
  readonly load: ((ids: readonly string[]) => Promise<readonly VectorItem[]>) | undefined;
}

const CONTENT_HASH_BYTES = 18;

export class VersionCopy {
  /** Documents that are copied together. */
  static readonly BATCH = 64;
  readonly #parts: CopyParts;
  readonly #old: Version;
  readonly #fresh: Version;
  readonly #load: CopyTask['load'];
  readonly #upserts: Upserts;
  readonly #hasSameVectors: boolean;
  readonly #hasSameChunks: boolean;
  embedded = 0;

  constructor(parts: CopyParts, { old, fresh, builder, load }: CopyTask) {
    this.#parts = parts;
    this.#old = old;
    this.#fresh = fresh;
    this.#load = load;
    this.#hasSameVectors =
      old.definition.embedder === fresh.definition.embedder &&
      old.definition.dimensions === fresh.definition.dimensions &&
      // Of vectors that are compared by their direction, no more than that is kept.
      (old.definition.metric !== 'cosine' || fresh.definition.metric === 'cosine');
    this.#hasSameChunks = old.definition.chunker === fresh.definition.chunker;
    const { options, store, clock, meter } = parts;
    const versions = { current: async () => fresh, after: async () => Promise.reject(this.#gone()) };
    const { name, embedder } = options;
    this.#upserts = new Upserts({ name, versions, store, embedder, clock, meter, builder });
  }

  /** Makes the new version's documents of these ids what the old one's are; what is not there is removed there. */
  async copy(ids: readonly string[], signal?: AbortSignal): Promise<void> {
    const there = await this.#parts.store.read(this.#old.place, ids);
    const gone = ids.filter((id) => !there.has(id));
    if (gone.length > 0) await this.#upserts.remove(gone, signal);
    const toLoad: string[] = [];
    const toCopy: Array<() => Promise<PreparedDocument>> = [];
    for (const document of there.values()) {
      const metadata = this.#metadataOf(document);
      if (metadata && this.#hasEnough(document)) toCopy.push(() => this.#target(document, metadata));
      else toLoad.push(document.id);
    }
    const loaded = await this.#loaded(toLoad);
    const copied = await Promise.all(toCopy.map((target) => target()));
    const outcomes = await this.#upserts.write([...loaded, ...copied], signal);
    for (const { error, embedded } of outcomes) {
      if (error) throw error;
      this.embedded += embedded;
    }
  }

  /** Removes what an earlier attempt has copied and is no more. */
  async removeStrays(signal?: AbortSignal): Promise<void> {
    const { store } = this.#parts;
    for await (const entries of store.scan(this.#fresh.place)) {
      signal?.throwIfAborted();
      const ids = entries.map(([id]) => id);
      const there = await store.read(this.#old.place, ids);
      const strays = ids.filter((id) => !there.has(id));
      if (strays.length > 0) await this.#upserts.remove(strays, signal);
    }
  }

  /** Whether its parts can be made of what is in the index. */
  #hasEnough({ chunkIds }: StoredDocument): boolean {
    return isGivenVector(chunkIds) ? this.#hasSameVectors : this.#hasSameChunks;
  }

  /** The metadata in the fields of the new version; undefined where one of them is of another type by now. */
  #metadataOf({ id, manifest }: StoredDocument): Metadata | undefined {
    const { schema } = this.#fresh;
    const all = JSON.parse(firstMetadata(manifest)) as Metadata;
    const known = Object.fromEntries(Object.entries(all).filter(([field]) => schema.fields.has(field)));
    try {
      return checkMetadata(schema, known, `the metadata of ${id}`);
    } catch (error) {
      if (isMillraceError(error, 'INPUT_INVALID')) return undefined;
      throw error;
    }
  }

  async #loaded(ids: readonly string[]): Promise<PreparedDocument[]> {
    if (ids.length === 0) return [];
    const { options } = this.#parts;
    if (!this.#load) {
      throw new MillraceError(
        'OPTIONS_INVALID',
        `rebuild of ${options.name}: another chunker, embedder, metric or type of a field takes what the index does not keep of ${ids[0]}; give load()`,
        { name: options.name, id: ids[0] },
      );
    }
    const items = await this.#load(ids);
    const { schema, definition } = this.#fresh;
    return items
      .filter(({ id }) => ids.includes(id))
      .map((item) => prepareDocument(item, { ...options, schema, dimensions: definition.dimensions }));
  }

  async #target({ id, manifest, chunkIds }: StoredDocument, metadata: Metadata): Promise<PreparedDocument> {
    const { engine, place } = this.#old;
    const shard = shardOf(place, id);
    const names = chunkIds.map((chunkId) => chunkOf(id, chunkId));
    const [texts, vectors] = await Promise.all([
      engine.texts(shard, names),
      this.#hasSameVectors ? engine.vectors(shard, names) : [],
    ]);
    const { schema } = this.#fresh;
    const given = new Map<string, Float32Array>();
    for (const [at, vector] of vectors.entries()) if (vector) given.set(chunkIds[at] as string, vector);
    // A document that is only partly written is copied as far as it is; its content is nobody's, so the next upsert finishes it.
    const { contentHash = hashOf(CONTENT_HASH_BYTES, 'unfinished', manifest.revision) } = manifest;
    const isText = !isGivenVector(chunkIds);
    return {
      id,
      contentHash: this.#hasSameVectors
        ? contentHash
        : hashOf(CONTENT_HASH_BYTES, contentHash, this.#fresh.definition.embedder),
      isText,
      metadata,
      metadataJson: canonical(metadata, schema),
      chunks: chunkIds
        .map((chunkId, index) => ({ id: chunkId, index, text: texts[index] }))
        .filter((chunk) => given.has(chunk.id) || (isText && chunk.text !== undefined && !this.#hasSameVectors)),
      given,
    };
  }

  #gone(): MillraceError {
    const { name } = this.#parts.options;
    return new MillraceError(
      'INDEX_BUSY',
      `vector index ${name}: version ${this.#fresh.number} is built by another process by now`,
      { name },
    );
  }
}

function isGivenVector(chunkIds: readonly string[]): boolean {
  return chunkIds.length === 1 && chunkIds[0] === GIVEN;
}
