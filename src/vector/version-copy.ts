/** Documents copied from one version of an index to another, which may have another engine, embedder, chunker or schema. */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { Chunker } from './chunker.ts';
import { canonical, GIVEN, prepareDocument, type PreparedDocument, type VectorItem } from './documents.ts';
import type { Embedder } from './embedder.ts';
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

type Load = (ids: readonly string[]) => Promise<readonly VectorItem[]>;

const CONTENT_HASH_BYTES = 18;

export class VersionCopy {
  /** Documents that are copied together. */
  static readonly BATCH = 64;
  readonly #parts: CopyParts;
  readonly #old: Version;
  readonly #fresh: Version;
  readonly #load: Load | undefined;
  readonly #upserts: Upserts;
  readonly #hasSameVectors: boolean;
  readonly #hasSameChunks: boolean;
  embedded = 0;

  constructor(parts: CopyParts, old: Version, fresh: Version, load: Load | undefined) {
    this.#parts = parts;
    this.#old = old;
    this.#fresh = fresh;
    this.#load = load;
    this.#hasSameVectors =
      old.definition.embedder === fresh.definition.embedder &&
      old.definition.dimensions === fresh.definition.dimensions;
    this.#hasSameChunks = old.definition.chunker === fresh.definition.chunker;
    const { options, store, clock, meter } = parts;
    const versions = { current: async () => fresh, after: async () => Promise.reject(this.#gone()) };
    this.#upserts = new Upserts({ name: options.name, versions, store, embedder: options.embedder, clock, meter });
  }

  /** Makes the new version's documents of these ids what the old one's are; what is not there is removed there. */
  async copy(ids: readonly string[], signal?: AbortSignal): Promise<void> {
    const there = await this.#parts.store.read(this.#old.place, ids);
    const gone = ids.filter((id) => !there.has(id));
    if (gone.length > 0) await this.#upserts.remove(gone, signal);
    const needsLoad = [...there.values()].filter((document) => this.#needsLoad(document));
    const loaded = await this.#loaded(needsLoad.map(({ id }) => id));
    const copied = await Promise.all(
      [...there.values()].filter((document) => !this.#needsLoad(document)).map((one) => this.#target(one)),
    );
    const outcomes = await this.#upserts.write([...loaded, ...copied], signal);
    for (const { error, embedded } of outcomes) {
      if (error) throw error;
      this.embedded += embedded;
    }
  }

  /** Removes what an earlier attempt has copied and is no more. */
  async removeStrays(onStep: () => Promise<void>): Promise<void> {
    const { store } = this.#parts;
    for await (const entries of store.scan(this.#fresh.place)) {
      await onStep();
      const ids = entries.map(([id]) => id);
      const there = await store.read(this.#old.place, ids);
      const strays = ids.filter((id) => !there.has(id));
      if (strays.length > 0) await this.#upserts.remove(strays);
    }
  }

  /** Whether what is in the index is not enough. */
  #needsLoad({ chunkIds }: StoredDocument): boolean {
    const isGiven = isGivenVector(chunkIds);
    if (isGiven) return !this.#hasSameVectors;
    return !this.#hasSameChunks;
  }

  async #loaded(ids: readonly string[]): Promise<PreparedDocument[]> {
    if (ids.length === 0) return [];
    const { options } = this.#parts;
    if (!this.#load) {
      throw new MillraceError(
        'OPTIONS_INVALID',
        `rebuild of ${options.name}: another chunker or embedder takes what the index does not keep of ${ids[0]}; give load()`,
        { name: options.name, id: ids[0] },
      );
    }
    const items = await this.#load(ids);
    const { schema, definition } = this.#fresh;
    return items
      .filter(({ id }) => ids.includes(id))
      .map((item) => prepareDocument(item, { ...options, schema, dimensions: definition.dimensions }));
  }

  async #target({ id, manifest, chunkIds }: StoredDocument): Promise<PreparedDocument> {
    const { engine, place } = this.#old;
    const shard = shardOf(place, id);
    const names = chunkIds.map((chunkId) => chunkOf(id, chunkId));
    const [texts, vectors] = await Promise.all([
      engine.texts(shard, names),
      this.#hasSameVectors ? engine.vectors(shard, names) : [],
    ]);
    const { schema } = this.#fresh;
    const all = JSON.parse(firstMetadata(manifest)) as Record<string, unknown>;
    const known = Object.fromEntries(Object.entries(all).filter(([field]) => schema.fields.has(field)));
    const metadata = checkMetadata(schema, known, `the metadata of ${id}`) as Record<string, unknown>;
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
      `vector index ${name}: version ${this.#fresh.number} was given up by another rebuild()`,
      { name },
    );
  }
}

function isGivenVector(chunkIds: readonly string[]): boolean {
  return chunkIds.length === 1 && chunkIds[0] === GIVEN;
}
