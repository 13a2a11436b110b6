/**
 * The Query Engine (FT.*): an index over hashes or JSON documents, with words, places and sorting beside the vectors.
 *
 * The server takes a document that it cannot index without an error, and goes on indexing after it has answered; so settle() asks until all
 * is indexed, and tells what could not be.
 */
import type { Clock } from '../../clock.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import { createBatch } from '../../redis/batch.ts';
import type { Guard } from '../../redis/guard.ts';
import type { ScriptClient } from '../../redis/script.ts';
import type { Definition } from '../definition.ts';
import {
  byScore,
  type DocumentWrite,
  type Engine,
  type EngineStats,
  type Found,
  type HybridQuery,
  type TextQuery,
  type VectorQuery,
} from '../engine.ts';
import { compileQueryFilter } from '../filter-fts.ts';
import type { Filter } from '../filter.ts';
import type { Place, ShardKeys } from '../layout.ts';
import type { CompiledSchema } from '../schema.ts';
import type { Command, SearchPort } from '../search-port.ts';
import { checkVector, fromBlob, similarityOf } from '../vectors.ts';
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

/** Between two looks whether all is indexed. */
const SETTLE_PAUSE_MS = 50;
/** How long a dropped version goes on refusing writes of a process that was away. */
const REFUSED_FOR_MS = 30 * 24 * 3_600_000;

/** What the engine is made of. */
export interface QueryEngineParts {
  readonly port: SearchPort;
  readonly commands: () => ScriptClient;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly definition: Definition;
  readonly schema: CompiledSchema;
  /** Whether the server has FT.HYBRID. */
  readonly hasHybrid: boolean;
}

export class QueryEngine implements Engine {
  readonly kind = 'query-engine';
  readonly #parts: QueryEngineParts;
  /** Failures that were told of, or were there before. */
  #failuresTold = 0;

  constructor(parts: QueryEngineParts) {
    this.#parts = parts;
  }

  async create(place: Place): Promise<void> {
    const { definition, schema } = this.#parts;
    const prefixes = place.shards.map(({ chunkPrefix }) => chunkPrefix);
    await this.#unless(/already exists/i, createIndex(place.searchIndex, prefixes, definition, schema));
    const { failures } = await this.#state(place);
    this.#failuresTold = failures;
  }

  async announce(place: Place): Promise<void> {
    await this.#parts.port.send(undefined, pointAlias(place.alias, place.searchIndex));
  }

  async drop(place: Place): Promise<void> {
    await this.#unless(/unknown index|no such index|not found/i, dropIndex(place.searchIndex));
    const batch = createBatch(this.#parts.commands());
    const answers = place.shards.flatMap(({ phase, manifests, lists, seal, dirty }) => [
      batch.command('SET', phase, 'closed', 'PX', REFUSED_FOR_MS),
      batch.command('UNLINK', manifests, lists, seal, dirty),
    ]);
    await this.#parts.guard.run(() => batch.send());
    await Promise.all(answers);
  }

  steps(shard: ShardKeys, { put, remove, metadata }: DocumentWrite): Command[] {
    const { definition, schema } = this.#parts;
    return [
      ...put.flatMap((chunk) => putChunk(shard.chunk(chunk.chunk), { ...chunk, metadata }, definition, schema)),
      ...remove.map((chunk) => removeChunk(shard.chunk(chunk))),
    ];
  }

  async search(place: Place, query: VectorQuery): Promise<Found[]> {
    const { definition, schema } = this.#parts;
    const command = searchNearest({ ...query, index: place.searchIndex }, definition, schema);
    const { rows } = readSearchReply(await this.#send(command), false);
    return rows
      .map((row) => this.#found(row))
      .filter(({ score }) => score >= query.minScore)
      .toSorted(byScore);
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
    if (!command) return undefined;
    return readSearchReply(await this.#send(command), false).rows.map((row) => this.#found(row));
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
      if (state.failures > this.#failuresTold) {
        const { lastError, lastErrorKey } = state;
        const count = state.failures - this.#failuresTold;
        this.#failuresTold = state.failures;
        throw new MillraceError(
          'INDEX_FAILED',
          `search index ${place.searchIndex}: ${count} documents could not be indexed, the last was ${lastErrorKey ?? 'unknown'}: ${lastError ?? 'no reason given'}`,
          { index: place.searchIndex, count, key: lastErrorKey, reason: lastError },
        );
      }
      if (!state.isIndexing && state.indexed >= 1) return;
      await this.#parts.clock.sleep(SETTLE_PAUSE_MS, { signal });
    }
  }

  checkFilter(filter: Filter): void {
    compileQueryFilter(filter, this.#parts.schema);
  }

  async #searchWords(place: Place, query: TextQuery, isAny: boolean): Promise<{ total: number; found: Found[] }> {
    const command = searchWords(place.searchIndex, query, this.#parts.definition, this.#parts.schema, isAny);
    if (!command) return { total: 0, found: [] };
    const { total, rows } = readSearchReply(await this.#send(command), true);
    return { total, found: rows.map((row) => this.#found(row)) };
  }

  #found({ id, score, fields }: SearchRow): Found {
    const { metric } = this.#parts.definition;
    const told = fields.get(DISTANCE);
    const distance = told === undefined ? undefined : Number(told);
    return {
      chunk: this.#stored(fields.get(OWN_FIELDS.chunk)) ?? id ?? '',
      score: distance === undefined ? (score ?? 0) : similarityOf(metric, distance),
      distance,
      text: fields.get(OWN_FIELDS.text),
      index: Number(fields.get(OWN_FIELDS.index) ?? 0),
      metadata: this.#stored(fields.get(OWN_FIELDS.metadata)) ?? '{}',
    };
  }

  /** What is found by a path comes as JSON in some releases; neither a chunk's name nor metadata ends with a quote by itself. */
  #stored(value: string | undefined): string | undefined {
    if (this.#parts.definition.documents !== 'json' || !value?.startsWith('"') || !value.endsWith('"')) return value;
    return JSON.parse(value) as string;
  }

  #send(command: Command): Promise<unknown> {
    return this.#parts.port.send<unknown>(undefined, command);
  }

  async #state(place: Place): Promise<IndexState> {
    return readIndexState(await this.#send(describeIndex(place.searchIndex)));
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
