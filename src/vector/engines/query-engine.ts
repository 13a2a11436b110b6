/**
 * The Query Engine (FT.*): an index over hashes or JSON documents, with words, places and sorting beside the vectors.
 *
 * The server takes a document that it cannot index without an error, and goes on indexing after it has answered; so settle() asks until all
 * is indexed, and looks for what could not be.
 */
import type { Clock } from '../../clock.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Guard } from '../../redis/guard.ts';
import type { ScriptClient } from '../../redis/script.ts';
import { mismatch, type Definition } from '../definition.ts';
import {
  byScore,
  type ChunkNames,
  type DocumentWrite,
  type Engine,
  type EngineStats,
  type Found,
  type HybridQuery,
  type IndexFailure,
  type TextQuery,
  type VectorQuery,
} from '../engine.ts';
import { compileQueryFilter } from '../filter-fts.ts';
import type { Filter } from '../filter.ts';
import type { Place, ShardKeys } from '../layout.ts';
import type { CompiledSchema } from '../schema.ts';
import type { Command, SearchPort } from '../search-port.ts';
import { checkVector, fromBlob, normalise, similarityOf } from '../vectors.ts';
import {
  createIndex,
  describeIndex,
  DISTANCE,
  dropIndex,
  OWN_FIELDS,
  pointAlias,
  putChunk,
  removeChunk,
  searchHybrid,
  searchNearest,
  searchWords,
} from './query-commands.ts';
import { readIndexState, readSearchReply, type IndexState, type SearchRow } from './query-replies.ts';
import { indexShape, readIndexShape, shapeFaults } from './query-shape.ts';

/** Between two looks whether all is indexed. */
const SETTLE_PAUSE_MS = 50;
/**
 * Up to so many chunks, all are compared: it takes as long as the graph, and misses none. A graph does not reach those for whom one that is
 * near to all took their place.
 */
const MOST_COMPARED = 2_000;
/** For so long a number of chunks is taken for what it is. Where they have become many meanwhile, all are still found. */
const COUNT_HOLDS_MS = 10_000;
/** Keys that are removed by one command. */
const MOST_REMOVED = 500;

/** How releases say that there is no such index. */
const NO_INDEX = /unknown index|no such index|not found/i;

/** What the engine is made of. */
export interface QueryEngineParts {
  readonly port: SearchPort;
  readonly commands: () => ScriptClient;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Logger;
  readonly definition: Definition;
  readonly schema: CompiledSchema;
  /** Whether the server has FT.HYBRID. */
  readonly hasHybrid: boolean;
}

interface AskOptions {
  readonly hasScores?: boolean;
  readonly mustBeWhole?: boolean;
  /** What LIMIT asks for. */
  readonly page?: Pick<TextQuery, 'offset' | 'take'>;
}

export class QueryEngine implements Engine {
  readonly kind = 'query-engine';
  lastFailure: IndexFailure | undefined;
  isGone = false;
  readonly #parts: QueryEngineParts;
  #counted: { readonly index: string; readonly chunks: number; readonly untilMs: number } | undefined;

  constructor(parts: QueryEngineParts) {
    this.#parts = parts;
  }

  async create(place: Place): Promise<void> {
    const { definition, schema } = this.#parts;
    const prefixes = place.shards.map(({ chunkPrefix }) => chunkPrefix);
    await this.#unless(/already exists/i, createIndex(place.searchIndex, prefixes, definition, schema));
    const info = await this.#send(describeIndex(place.searchIndex));
    const faults = shapeFaults(readIndexShape(info), indexShape(definition, schema, prefixes));
    if (faults.length > 0) throw mismatch(place.name, place.version, faults);
    this.#noteFailures(this.#count(place, readIndexState(info)));
  }

  async announce(place: Place): Promise<void> {
    await this.#parts.port.send(undefined, pointAlias(place.alias, place.searchIndex));
  }

  async drop(place: Place, chunks: AsyncIterable<ChunkNames>): Promise<void> {
    await this.#unless(NO_INDEX, dropIndex(place.searchIndex));
    const { commands, guard } = this.#parts;
    for await (const { shard, names } of chunks) {
      for (let at = 0; at < names.length; at += MOST_REMOVED) {
        const keys = names.slice(at, at + MOST_REMOVED).map((chunk) => shard.chunk(chunk));
        await guard.run(() => commands().unlink(...keys));
      }
    }
  }

  steps(shard: ShardKeys, { put, remove, metadata }: DocumentWrite): Command[] {
    const { definition, schema } = this.#parts;
    // The server reckons in 32 bits, in which the length of a vector that is very long or very short is none.
    const sent = (vector: Float32Array): Float32Array => (definition.metric === 'cosine' ? normalise(vector) : vector);
    return [
      ...put.flatMap(({ vector, ...chunk }) => {
        const stored = { ...chunk, metadata, vector: vector && sent(vector) };
        return putChunk(shard.chunk(chunk.chunk), stored, definition, schema);
      }),
      ...remove.map((chunk) => removeChunk(shard.chunk(chunk))),
    ];
  }

  async search(place: Place, query: VectorQuery): Promise<Found[]> {
    const { definition, schema } = this.#parts;
    const isExact = query.isExact || (definition.algorithm === 'hnsw' && (await this.#chunks(place)) <= MOST_COMPARED);
    const command = searchNearest({ ...query, isExact, index: place.searchIndex }, definition, schema);
    const { found } = await this.#ask(command, { mustBeWhole: query.isExact });
    return found.filter(({ score }) => score >= query.minScore).toSorted(byScore);
  }

  async searchText(place: Place, query: TextQuery): Promise<{ total: number; found: Found[] }> {
    return this.#searchWords(place, query, false);
  }

  async searchAnyWord(place: Place, query: TextQuery): Promise<Found[]> {
    return (await this.#searchWords(place, query, true)).found;
  }

  async hybrid(place: Place, query: HybridQuery): Promise<Found[] | undefined> {
    const { definition, schema, hasHybrid } = this.#parts;
    if (!hasHybrid) return undefined;
    const command = searchHybrid({ ...query, index: place.searchIndex }, definition, schema);
    return command && (await this.#ask(command)).found;
  }

  async vectors(shard: ShardKeys, chunks: readonly string[]): Promise<Array<Float32Array | undefined>> {
    const { definition, port } = this.#parts;
    const { dimensions, documents } = definition;
    return Promise.all(
      chunks.map(async (chunk) => {
        const key = shard.chunk(chunk);
        const what = `the vector of ${chunk}`;
        if (documents === 'json') {
          const json = await port.send<string | null>(key, ['JSON.GET', key, `$.${OWN_FIELDS.vector}`]);
          const [vector] = json === null ? [] : (JSON.parse(json) as unknown[]);
          return vector === undefined ? undefined : checkVector(vector, dimensions, what);
        }
        const blob = await port.send<Buffer | null>(key, ['HGET', key, OWN_FIELDS.vector], { isBinary: true });
        return blob ? fromBlob(blob, dimensions, what) : undefined;
      }),
    );
  }

  async texts(shard: ShardKeys, chunks: readonly string[]): Promise<Array<string | undefined>> {
    const { definition, port } = this.#parts;
    return Promise.all(
      chunks.map(async (chunk) => {
        const key = shard.chunk(chunk);
        if (definition.documents === 'json') {
          const json = await port.send<string | null>(key, ['JSON.GET', key, `$.${OWN_FIELDS.text}`]);
          return json === null ? undefined : (JSON.parse(json) as string[])[0];
        }
        return (await port.send<string | null>(key, ['HGET', key, OWN_FIELDS.text])) ?? undefined;
      }),
    );
  }

  async stats(place: Place): Promise<EngineStats> {
    const { documents, failures, indexed, sizeBytes } = await this.#state(place);
    return { chunks: documents, sizeBytes, failures, indexed };
  }

  async settle(place: Place, signal?: AbortSignal): Promise<void> {
    for (;;) {
      const state = await this.#state(place);
      this.#noteFailures(state);
      if (!state.isIndexing && state.indexed >= 1) return;
      await this.#parts.clock.sleep(SETTLE_PAUSE_MS, { signal });
    }
  }

  /** A server that was started again counts from 0, so what differs is new, not only what is more. */
  #noteFailures({ failures: count, lastErrorKey: key, lastError: reason }: IndexState): void {
    const { lastFailure } = this;
    if (count === 0) this.lastFailure = undefined;
    else if (lastFailure?.count !== count || lastFailure.key !== key) this.lastFailure = { count, key, reason };
  }

  checkFilter(filter: Filter): void {
    compileQueryFilter(filter, this.#parts.schema);
  }

  async #searchWords(place: Place, query: TextQuery, isAny: boolean): Promise<{ total: number; found: Found[] }> {
    const command = searchWords(place.searchIndex, query, this.#parts.definition, this.#parts.schema, isAny);
    return command ? this.#ask(command, { hasScores: true, page: query }) : { total: 0, found: [] };
  }

  /** What a search finds. An answer that is not whole says so only beside it. */
  async #ask(
    command: Command,
    { hasScores = false, mustBeWhole = false, page }: AskOptions = {},
  ): Promise<{ total: number; found: Found[] }> {
    const { total, rows: given, warnings } = readSearchReply(await this.#send(command), hasScores);
    const rows = page ? rowsOfPage(given, total, page) : given;
    if (warnings.length > 0) {
      const [verb, index] = command.map(String);
      const message = `${verb} of search index ${index}: the answer may not be whole: ${warnings.join('; ')}`;
      if (mustBeWhole) throw new MillraceError('REDIS_FAILED', message, { index, warnings });
      this.#parts.log.warn({ index, warnings }, message);
    }
    return { total, found: rows.flatMap((row) => this.#found(row)) };
  }

  /** A chunk that went meanwhile comes without its fields, and is none. */
  #found({ score, fields }: SearchRow): Found[] {
    const { documents, metric } = this.#parts.definition;
    const chunk = fields.get(OWN_FIELDS.chunk);
    if (chunk === undefined) return [];
    // What is found by a path comes as JSON in some releases, and in a list where DIALECT 3 is the server's own; no name of a chunk ends so.
    const isEncoded = documents === 'json' && /"\]?$/.test(chunk);
    const stored = (value: string): string => (isEncoded ? ([JSON.parse(value)].flat()[0] as string) : value);
    const [text, told] = [fields.get(OWN_FIELDS.text), fields.get(DISTANCE)];
    const distance = told === undefined ? undefined : Number(told);
    return [
      {
        chunk: stored(chunk),
        score: distance === undefined ? (score ?? 0) : similarityOf(metric, distance),
        distance,
        text: text === undefined ? undefined : stored(text),
        index: Number(fields.get(OWN_FIELDS.index) ?? 0),
        metadata: stored(fields.get(OWN_FIELDS.metadata) ?? '{}'),
      },
    ];
  }

  async #send(command: Command): Promise<unknown> {
    try {
      return await this.#parts.port.send<unknown>(undefined, command);
    } catch (error) {
      this.isGone ||= isMillraceError(error, 'REDIS_FAILED') && NO_INDEX.test(error.message);
      throw error;
    }
  }

  async #state(place: Place): Promise<IndexState> {
    return this.#count(place, readIndexState(await this.#send(describeIndex(place.searchIndex))));
  }

  #count({ searchIndex: index }: Place, state: IndexState): IndexState {
    const untilMs = this.#parts.clock.monotonicMs() + COUNT_HOLDS_MS;
    this.#counted = { index, chunks: state.documents, untilMs };
    return state;
  }

  /** How many chunks there are, or lately were. */
  async #chunks(place: Place): Promise<number> {
    const counted = this.#counted;
    if (counted?.index !== place.searchIndex) return (await this.#state(place)).documents;
    const now = this.#parts.clock.monotonicMs();
    if (now < counted.untilMs) return counted.chunks;
    // Whoever searches meanwhile goes by the old number.
    this.#counted = { ...counted, untilMs: now + COUNT_HOLDS_MS };
    return (await this.#state(place)).documents;
  }

  /** Sends what may have been done already. */
  async #unless(isDone: RegExp, command: Command): Promise<void> {
    try {
      await this.#send(command);
    } catch (error) {
      if (!isMillraceError(error, 'REDIS_FAILED') || !isDone.test(error.message)) throw error;
    }
  }
}

/** The nodes of a Cluster give all rows up to the end of the page, up to 8.0 of the Query Engine. */
function rowsOfPage(rows: readonly SearchRow[], total: number, { offset, take }: Pick<TextQuery, 'offset' | 'take'>) {
  const due = Math.max(0, Math.min(take, total - offset));
  return rows.length > due ? rows.slice(offset, offset + take) : rows;
}
