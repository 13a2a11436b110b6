/**
 * A vector index: documents in, search by meaning out, on the engine that the server has.
 *
 * Promise: a document is found whole or not at all, except while a long one of more than 32 chunks is being replaced, when some of its old
 * chunks may still be found beside new ones; an upsert that was cut off is finished by the next one of that document. What is unchanged
 * is not embedded again. Scores mean the same on each engine: 1 the same, 0 the opposite. While a new version is built and takes over, no
 * search fails and no write is lost.
 * Keys: see layout.ts. An index does not expire.
 * Redis down: calls reject within `deadline`; documents that were written before it are there.
 */
import type { Clock } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Guard } from '../redis/guard.ts';
import type { ScriptClient } from '../redis/script.ts';
import { checkId, prepareDocument, type PreparedDocument, type VectorItem } from './documents.ts';
import { orAbort } from './embedder.ts';
import { indexFailed, type IndexFailure } from './engine.ts';
import { checkFilter, type FilterLike } from './filter.ts';
import { checkMatchable, matchesFilter } from './filter-match.ts';
import { documentOf, shardOf } from './layout.ts';
import { firstMetadata, type Manifest } from './manifest.ts';
import type { ParsedIndexOptions } from './options.ts';
import { rebuildIndex, type RebuildOptions, type RebuildReport } from './rebuild.ts';
import type { Metadata, VectorSchema } from './schema.ts';
import {
  parseRange,
  parseSearch,
  parseSimilar,
  parseTextSearch,
  type RangeOptions,
  type SearchHit,
  type SearchOptions,
  type SimilarOptions,
  type TextSearchOptions,
  type TextSearchResult,
} from './search-options.ts';
import { Searches } from './searches.ts';
import { selfTest, type SelfTestOptions, type SelfTestReport } from './self-test.ts';
import type { DocumentStore } from './store.ts';
import { isWritten, reportOf, Upserts, type UpsertOutcome, type UpsertReport } from './upserts.ts';
import type { SearchKind, VectorMeter } from './vector-metrics.ts';
import type { Version, Versions } from './versions.ts';

/** What an index is and holds. */
export interface IndexStats {
  readonly engine: string;
  readonly version: number;
  readonly dimensions: number;
  readonly documents: number;
  readonly chunks: number;
  /** Memory of the server, as it reckons it; on the Query Engine that of the index, without the documents. */
  readonly sizeBytes: number;
  readonly bytesPerChunk: number;
  /** Chunks that the server could not index. */
  readonly failures: number;
  /** How much is indexed by now: 0 to 1. */
  readonly indexed: number;
}

/** What an index is made of. */
export interface IndexParts {
  readonly options: ParsedIndexOptions;
  readonly versions: Versions;
  readonly store: DocumentStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly meter: VectorMeter;
  readonly followMs: number;
  readonly commands: () => ScriptClient;
  readonly guard: Guard;
  /** Held by whoever rebuilds. */
  readonly leaseKey: string;
  readonly checkOpen: () => void;
}

/** Documents that are read, embedded and written together. */
const BATCH = 128;
/** Where nothing is embedded the first batches are smaller, so that Redis has something to do while the others are prepared. */
const FIRST_BATCH = 16;
/** While Redis works on one, the next one is read, embedded and laid out. */
const BATCHES_UNDER_WAY = 2;

/** An index of documents. */
export class VectorIndex<Schema extends VectorSchema = VectorSchema> {
  readonly name: string;
  readonly #parts: IndexParts;
  readonly #upserts: Upserts;
  readonly #searches: Searches;

  constructor(parts: IndexParts) {
    const { options, versions, store, clock, meter } = parts;
    this.name = options.name;
    this.#parts = parts;
    const common = { name: options.name, versions, store, embedder: options.embedder, clock, meter };
    this.#upserts = new Upserts(common);
    this.#searches = new Searches(common);
  }

  /**
   * Finds the index on the server, or begins it. The other calls do so by themselves; this one lets a process refuse to start.
   *
   * @example
   * await index.open();
   * @throws MillraceError INDEX_MISMATCH when the server has another one than the options say; CAPABILITY_MISSING
   */
  async open(): Promise<void> {
    await this.#version();
  }

  /**
   * Puts documents in, each in the place of the one of its id. Unchanged ones cost one read.
   *
   * @example
   * const { failed, outcomes } = await index.upsert([{ id: 'faq-7', text: 'How to reset a password ...', metadata: { lang: 'en' } }]);
   * @throws MillraceError REDIS_*, INDEX_*; the reason of the signal. What is wrong with one document is told in its outcome.
   */
  async upsert(
    items: Iterable<VectorItem<Schema>> | AsyncIterable<VectorItem<Schema>>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<UpsertReport> {
    const version = await this.#version();
    const failureBefore = version.engine.lastFailure;
    const outcomes: UpsertOutcome[][] = [];
    let batch = new Map<string, PreparedDocument>();
    let places: Array<string | UpsertOutcome> = [];
    /** What is being written while the next documents are prepared. */
    const underWay: Array<{ ids: ReadonlyMap<string, unknown>; written: Promise<void> }> = [];
    const flush = async (): Promise<void> => {
      const [targets, tellOf] = [batch, places];
      [batch, places] = [new Map(), []];
      const isRepeated = ([id]: readonly [string, unknown]): boolean => underWay.some(({ ids }) => ids.has(id));
      while (underWay.length >= BATCHES_UNDER_WAY || [...targets].some(isRepeated)) await underWay.shift()?.written;
      const told: UpsertOutcome[] = [];
      outcomes.push(told);
      const written = (async () => {
        const ended = await this.#upserts.write([...targets.values()], signal);
        const byId = new Map(ended.map((outcome) => [outcome.id, outcome]));
        told.push(...tellOf.map((place) => (typeof place === 'string' ? (byId.get(place) as UpsertOutcome) : place)));
      })();
      written.catch(() => undefined); // Whoever awaits it meets its failure.
      underWay.push({ ids: targets, written });
    };
    let room = FIRST_BATCH;
    for await (const item of items) {
      const prepared = this.#prepare(version, item);
      const { id } = prepared;
      if ('status' in prepared) places.push(prepared);
      else {
        if (prepared.isText) room = BATCH;
        if (batch.has(id) || batch.size >= room) {
          await flush(); // The later of two with one id comes after the other.
          room = Math.min(BATCH, room * 2);
        }
        batch.set(id, prepared);
        places.push(id);
      }
    }
    await flush();
    for (const { written } of underWay) await written;
    const report = reportOf(await this.#settled(outcomes.flat(), failureBefore, signal));
    for (const status of ['added', 'updated', 'unchanged', 'failed'] as const)
      this.#parts.meter.upserted(status, report[status]);
    return report;
  }

  /**
   * The parts of documents that are nearest to a text or a vector.
   *
   * @example
   * const hits = await index.search({ text: 'forgot my password', k: 5, filter: (f) => f.eq('lang', 'en'), minScore: 0.6 });
   * @throws MillraceError OPTIONS_INVALID, VECTOR_INVALID, FILTER_INVALID, FILTER_UNSUPPORTED, EMBEDDING_*, CAPABILITY_MISSING
   */
  async search(options: SearchOptions<Schema>): Promise<Array<SearchHit<Schema>>> {
    const query = parseSearch(options);
    const kind = query.hybrid ? 'hybrid' : 'search';
    return this.#searched(kind, query, (version) => this.#searches.search(version, query));
  }

  /**
   * The documents that are most like one that is there, without itself.
   *
   * @example
   * const related = await index.similar('faq-7', { k: 3 });
   * @returns nothing when there is no such document
   */
  async similar(id: string, options: SimilarOptions<Schema> = {}): Promise<Array<SearchHit<Schema>> | undefined> {
    checkId(id);
    const query = parseSimilar(options);
    return this.#searched('similar', query, (version) => this.#searches.similar(version, id, query));
  }

  /**
   * All parts that are at least so near, up to a limit.
   *
   * @example
   * const duplicates = await index.range({ text, minScore: 0.97 });
   */
  async range(options: RangeOptions<Schema>): Promise<Array<SearchHit<Schema>>> {
    const query = parseRange(options);
    return this.#searched('range', query, (version) => this.#searches.range(version, query));
  }

  /**
   * The parts in which the words are, the best match first. Query Engine only.
   *
   * @example
   * const { total, hits } = await index.searchText('password reset', { k: 20, offset: 20 });
   * @throws MillraceError CAPABILITY_MISSING on vector sets
   */
  async searchText(text: string, options: TextSearchOptions<Schema> = {}): Promise<TextSearchResult<Schema>> {
    const query = parseTextSearch(options);
    if (typeof text !== 'string' || text === '')
      throw new MillraceError('OPTIONS_INVALID', 'searchText: expected a text', {});
    return this.#searched('text', query, (version) => this.#searches.searchText(version, text, query));
  }

  /**
   * Removes documents with all their chunks.
   *
   * @example
   * const removed = await index.delete(['faq-7']);
   * @returns how many were there
   */
  async delete(
    ids: string | readonly string[],
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<number> {
    const all = [...new Set(typeof ids === 'string' ? [ids] : ids)];
    for (const id of all) checkId(id);
    await this.#version();
    let removed = 0;
    for (let at = 0; at < all.length; at += BATCH)
      removed += await this.#upserts.remove(all.slice(at, at + BATCH), signal);
    return removed;
  }

  /**
   * Removes the documents that pass; it looks at every document for that, and again when it removes it.
   *
   * @example
   * await index.deleteByFilter((f) => f.lt('year', 2020));
   * @returns how many they were
   * @throws MillraceError FILTER_UNSUPPORTED for words and places
   */
  async deleteByFilter(
    filter: FilterLike<Schema>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<number> {
    const { schema } = await this.#version();
    const checked = checkFilter(schema, filter as FilterLike<VectorSchema>);
    checkMatchable(checked, 'deleteByFilter()');
    const passes = ({ manifest }: { manifest: Manifest }): boolean =>
      matchesFilter(checked, JSON.parse(firstMetadata(manifest)) as Record<string, unknown>);
    let removed = 0;
    for await (const entries of this.#scan()) {
      const passing = entries.filter(([, manifest]) => passes({ manifest })).map(([id]) => id);
      removed += await this.#upserts.remove(passing, signal, passes);
    }
    return removed;
  }

  /**
   * The ids of all documents, bit by bit. Those that come or go meanwhile may be among them, and one may come twice.
   *
   * @example
   * for await (const id of index.ids()) if (!articles.has(id)) console.log(`${id} is in no table`);
   */
  async *ids(): AsyncGenerator<string, void> {
    for await (const entries of this.#scan()) for (const [id] of entries) yield id;
  }

  /**
   * The metadata of a document.
   *
   * @example
   * const metadata = await index.metadataOf('faq-7');
   */
  async metadataOf(id: string): Promise<Metadata<Schema> | undefined> {
    checkId(id);
    const { place } = await this.#version();
    const document = (await this.#parts.store.read(place, [id])).get(id);
    return document && (JSON.parse(firstMetadata(document.manifest)) as Metadata<Schema>);
  }

  /**
   * What the index is and holds now.
   *
   * @example
   * const { documents, bytesPerChunk } = await index.stats();
   */
  async stats(): Promise<IndexStats> {
    this.#parts.checkOpen();
    return this.#parts.versions.use(async ({ number: version, definition, engine, place }) => {
      const [documents, figures] = await Promise.all([this.#parts.store.count(place), engine.stats(place)]);
      const { chunks, sizeBytes } = figures;
      const bytesPerChunk = chunks === 0 ? 0 : Math.round(sizeBytes / chunks);
      return { engine: engine.kind, version, dimensions: definition.dimensions, documents, bytesPerChunk, ...figures };
    });
  }

  /**
   * How much of what an exact search finds the usual one finds too. Compares every vector of the index for each query.
   *
   * @example
   * const { recall, searchMs } = await index.selfTest({ sample: 200, ef: 100 });
   */
  async selfTest(options: SelfTestOptions = {}): Promise<SelfTestReport> {
    return selfTest(await this.#version(), this.#parts.store, this.#parts.clock, options);
  }

  /**
   * Builds a new version of what the options say, from what is there, and lets it take over. Searches go on meanwhile, and so do writes but
   * for a moment at the end. With another embedder all texts are embedded again. When it is cut off, calling it again goes on.
   *
   * @example
   * const { version, documents } = await index.rebuild({ onProgress: ({ documents }) => console.log(documents) });
   * @throws MillraceError OPTIONS_INVALID when what is needed for it is not in the index; the reason of the signal
   */
  async rebuild(options: RebuildOptions<Schema> = {}): Promise<RebuildReport> {
    this.#parts.checkOpen();
    return rebuildIndex(this.#parts, options);
  }

  /** Of the version that has taken over meanwhile too: the other one may have gone before its end. */
  async *#scan(): AsyncGenerator<Array<readonly [id: string, manifest: Manifest]>> {
    let number: number | undefined;
    for (let version = await this.#version(); version.number !== number;) {
      number = version.number;
      yield* this.#parts.store.scan(version.place);
      version = await this.#parts.versions.refresh();
    }
  }

  #version(): Promise<Version> {
    this.#parts.checkOpen();
    return this.#parts.versions.current();
  }

  async #searched<T>(
    kind: SearchKind,
    { signal }: { signal?: AbortSignal | undefined },
    search: (version: Version) => Promise<T>,
  ): Promise<T extends SearchHit[] ? Array<SearchHit<Schema>> : T> {
    const { meter, clock, versions } = this.#parts;
    try {
      this.#parts.checkOpen();
      signal?.throwIfAborted();
      const searching = versions.use(async (version) => {
        const startMs = clock.monotonicMs();
        const found = await search(version);
        meter.searched(kind, clock.monotonicMs() - startMs);
        return found;
      });
      return (await orAbort(searching, signal)) as T extends SearchHit[] ? Array<SearchHit<Schema>> : T;
    } catch (error) {
      meter.failed(kind);
      throw error;
    }
  }

  /** The outcomes, once what was written can be found. A document that the server took but could not index has failed. */
  async #settled(
    outcomes: readonly UpsertOutcome[],
    before: IndexFailure | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly UpsertOutcome[]> {
    if (!outcomes.some(isWritten)) return outcomes;
    const { engine, place } = await this.#parts.versions.use(async (version) => {
      await version.engine.settle(version.place, signal);
      return version;
    });
    const { lastFailure } = engine;
    if (!lastFailure || lastFailure === before) return outcomes;
    const error = indexFailed(place.searchIndex, lastFailure);
    this.#parts.log.warn({ err: error, index: this.name }, error.message);
    const failed = documentOf(lastFailure.key ?? '');
    return outcomes.map((outcome) =>
      isWritten(outcome) && `${shardOf(place, outcome.id).chunkPrefix}${outcome.id}` === failed
        ? { ...outcome, status: 'failed', error }
        : outcome,
    );
  }

  #prepare(version: Version, item: VectorItem<Schema>): PreparedDocument | UpsertOutcome {
    const { options } = this.#parts;
    const { schema, definition } = version;
    const { name, embedder, chunker } = options;
    try {
      return prepareDocument(item, { name, schema, dimensions: definition.dimensions, embedder, chunker });
    } catch (error) {
      if (!isMillraceError(error)) throw error;
      const id = String((item as { id?: unknown } | null)?.id);
      return { id, status: 'failed', embedded: 0, removedChunks: 0, error };
    }
  }
}
