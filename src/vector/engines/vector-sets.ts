/**
 * Vector sets (VADD, VSIM): an approximate graph that is part of the server itself since Redis 8.0.
 *
 * A search that a filter lets few chunks pass is no walk through the graph: the chunks are listed by the values of tags, and where the
 * smallest list is short, all of it is compared. A filter makes a walk 10 to 30 times as long, and lets it miss what it should find.
 */
import { MillraceError } from '../../errors.ts';
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
  type Metadata,
  type VectorQuery,
} from '../engine.ts';
import { matchesFilter } from '../filter-match.ts';
import { alternativesOf, listedFields, type Alternative, type ListedField } from '../filter-pass.ts';
import type { Filter } from '../filter.ts';
import { attributesOfMetadata, compileVectorSetFilter } from '../filter-vset.ts';
import { documentOf, type Place, type ShardKeys } from '../layout.ts';
import { decodeManifest, firstMetadata } from '../manifest.ts';
import type { CompiledSchema } from '../schema.ts';
import { exactPass, searchNear, type ExactPass } from '../scripts.ts';
import type { Command, SearchPort } from '../search-port.ts';
import { distanceAt, fromBlob, toBlob, toUnitBlob } from '../vectors.ts';
import { decodeVector, similarityTo } from './raw-vectors.ts';
import {
  addVector,
  listNumber,
  listTag,
  readVector,
  removeVector,
  searchVectors,
  setAttributes,
  unlistNumber,
  unlistTag,
} from './vector-set-commands.ts';

/** How many chunks an exact pass takes; more of them would cost what a walk with a filter costs. */
export const MOST_IN_EXACT_PASS = 2_000;
/** How many documents are asked for their metadata at once, at least. */
const LEAST_ASKED = 100;
/** How often a search is made again because something that it found went meanwhile. */
const MOST_LOOKS = 4;
/** From here on a wider search finds hardly anything that was missed. */
const DEFAULT_EF = 64;
const EF_PER_RESULT = 4;
/** How many nodes a walk with a filter looks at: so many for each that may pass, within bounds. */
const FILTER_EF_PER_RESULT = 200;
const LARGEST_FILTER_EF = 50_000;
/** Up to here a search is over sooner than another thread would have taken it up. */
const LARGEST_EF_WITHOUT_THREAD = 250;

/** What the engine is made of. */
export interface VectorSetParts {
  readonly port: SearchPort;
  readonly commands: () => ScriptClient;
  readonly guard: Guard;
  readonly definition: Definition;
  readonly schema: CompiledSchema;
}

/** A chunk before its text and metadata are known. */
interface Hit {
  readonly chunk: string;
  readonly score: number;
}

export class VectorSets implements Engine {
  readonly kind = 'vector-sets';
  readonly lastFailure = undefined;
  /** A set that is not there is an empty one. */
  readonly isGone = false;
  readonly #parts: VectorSetParts;
  readonly #definition: Definition;
  readonly #listed: readonly ListedField[];

  constructor(parts: VectorSetParts) {
    this.#parts = parts;
    this.#definition = parts.definition;
    this.#listed = listedFields(parts.schema, parts.definition.listed);
  }

  /** A vector set begins with its first vector. */
  async create(): Promise<void> {
    return undefined;
  }

  async announce(): Promise<void> {
    return undefined;
  }

  async drop(place: Place): Promise<void> {
    const batch = createBatch(this.#parts.commands());
    const answers = place.shards.map((shard) => {
      const lists = this.#listed.map((list) => listOf(shard, list));
      return batch.command('UNLINK', shard.vectors, shard.texts, shard.originals, ...lists);
    });
    await this.#parts.guard.run(() => batch.send());
    await Promise.all(answers);
  }

  steps(shard: ShardKeys, write: DocumentWrite): Command[] {
    const attributes = attributesOfMetadata(this.#parts.schema, write.metadata);
    const steps: Command[] = [];
    for (const { chunk, index, text, vector } of write.put) {
      if (vector) {
        // The server reckons in 32 bits, in which the length of a vector that is very long or very short is none.
        const blob = toUnitBlob(vector);
        steps.push(addVector(shard.vectors, chunk, blob, attributes, this.#definition));
        if (this.#definition.keepsVectors) steps.push(['HSET', shard.originals, chunk, blob]);
      } else {
        steps.push(setAttributes(shard.vectors, chunk, attributes));
      }
      if (text !== undefined) steps.push(['HSET', shard.texts, chunk, `${index}\n${text}`]);
      else if (write.before.length > 0) steps.push(['HDEL', shard.texts, chunk]);
      steps.push(...this.#listings(shard, chunk, write.metadata, write.before));
    }
    for (const chunk of write.remove) {
      steps.push(removeVector(shard.vectors, chunk), ['HDEL', shard.texts, chunk]);
      if (this.#definition.keepsVectors) steps.push(['HDEL', shard.originals, chunk]);
      steps.push(...this.#listings(shard, chunk, {}, write.before));
    }
    return steps;
  }

  async search(place: Place, query: VectorQuery): Promise<Found[]> {
    const found = await Promise.all(place.shards.map((shard) => this.#searchShard(shard, query)));
    const [only] = found;
    if (found.length === 1 && only) return only;
    return found.flat().toSorted(byScore).slice(0, query.take);
  }

  async vectors(shard: ShardKeys, chunks: readonly string[]): Promise<Array<Float32Array | undefined>> {
    const { dimensions, keepsVectors } = this.#definition;
    const { port } = this.#parts;
    if (keepsVectors && chunks.length > 0) {
      const command: Command = ['HMGET', shard.originals, ...chunks];
      const blobs = await port.send<Array<Buffer | null>>(shard.originals, command, { isBinary: true });
      return blobs.map((blob, at) =>
        blob ? fromBlob(blob, dimensions, `the kept vector of ${chunks[at]}`) : undefined,
      );
    }
    type Raw = [kind: Buffer, bytes: Buffer, norm: number, range?: number] | null;
    const raws = await Promise.all(
      chunks.map((chunk) => port.send<Raw>(shard.vectors, readVector(shard.vectors, chunk), { isBinary: true })),
    );
    return raws.map((raw) => {
      if (!raw) return undefined;
      const [kind, bytes, norm, range = 0] = raw;
      return decodeVector({ kind: String(kind), bytes, norm, range }, dimensions);
    });
  }

  async texts(shard: ShardKeys, chunks: readonly string[]): Promise<Array<string | undefined>> {
    if (chunks.length === 0) return [];
    const stored = await this.#parts.port.send<Array<string | null>>(shard.texts, ['HMGET', shard.texts, ...chunks]);
    return stored.map((text) => (text === null ? undefined : text.slice(text.indexOf('\n') + 1)));
  }

  async stats(place: Place): Promise<EngineStats> {
    const { port } = this.#parts;
    const figures = await Promise.all(
      place.shards.map(async (shard) => {
        const lists = this.#listed.map((list) => listOf(shard, list));
        const keys = [shard.vectors, shard.manifests, shard.lists, shard.texts, shard.originals, ...lists];
        const [chunks, ...sizes] = await Promise.all([
          port.send<number>(shard.vectors, ['VCARD', shard.vectors]),
          ...keys.map((key) => port.send<number | null>(key, ['MEMORY', 'USAGE', key])),
        ]);
        return { chunks, sizeBytes: sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) };
      }),
    );
    return {
      chunks: figures.reduce((sum, { chunks }) => sum + chunks, 0),
      sizeBytes: figures.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      failures: 0,
      indexed: 1,
    };
  }

  /** What is written can be found at once. */
  async settle(): Promise<void> {
    return undefined;
  }

  async searchText(): Promise<never> {
    throw this.#wordless('searchText()');
  }

  async searchAnyWord(): Promise<never> {
    throw this.#wordless('a hybrid search by text');
  }

  async hybrid(): Promise<never> {
    throw this.#wordless('a hybrid search by text');
  }

  checkFilter(filter: Filter): void {
    compileVectorSetFilter(filter, this.#parts.schema);
  }

  /** What went between the search and the look at its metadata is searched for again, so that others come in its place. */
  async #searchShard(shard: ShardKeys, query: VectorQuery): Promise<Found[]> {
    for (let attempt = 1; ; attempt++) {
      const { found, isWhole } = await this.#lookFor(shard, query);
      if (isWhole || attempt >= MOST_LOOKS) return found;
    }
  }

  async #lookFor(shard: ShardKeys, query: VectorQuery): Promise<{ found: Found[]; isWhole: boolean }> {
    const isQuick = !query.filter && !query.isExact && Math.max(query.take, efOf(query)) <= LARGEST_EF_WITHOUT_THREAD;
    if (isQuick) return { found: await this.#searchNear(shard, query), isWhole: true };
    const alternatives = query.filter && !query.isExact ? alternativesOf(query.filter, this.#listed) : [];
    const pass = alternatives.length > 0 ? await this.#pass(shard, alternatives) : undefined;
    if (!pass || pass.members > MOST_IN_EXACT_PASS) {
      const hits = await this.#walk(shard, query, pass?.members);
      const found = await this.#describe(shard, hits, query);
      return { found, isWhole: found.length === hits.length };
    }
    const hits = pass.vectors
      .map((raw): Hit => ({ chunk: raw.chunk, score: similarityTo(query.vector, raw) }))
      .filter(({ score }) => score >= query.minScore)
      .toSorted((left, right) => right.score - left.score || (left.chunk < right.chunk ? -1 : 1));
    if (!alternatives[pass.chosen]?.isWhole)
      return { found: await this.#firstThatPass(shard, hits, query), isWhole: true };
    const best = hits.slice(0, query.take);
    const found = await this.#describe(shard, best, query);
    return { found, isWhole: found.length === best.length };
  }

  async #searchNear(shard: ShardKeys, query: VectorQuery): Promise<Found[]> {
    const { guard, commands } = this.#parts;
    const { vectors, manifests, texts } = shard;
    const { vector, take, minScore, withText } = query;
    const near = await guard.run(() =>
      searchNear(
        commands(),
        { vectors, manifests, texts },
        { query: toBlob(vector), count: take, ef: efOf(query), withText: withText ? 1 : 0 },
      ),
    );
    return near
      .filter(({ score, manifest }) => score >= minScore && manifest !== '')
      .map(({ chunk, score, manifest, text }) => foundOf(chunk, score, manifest, text === '' ? undefined : text));
  }

  /** Asks the metadata of the nearest first, until so many have passed as were wanted. */
  async #firstThatPass(shard: ShardKeys, hits: readonly Hit[], query: VectorQuery): Promise<Found[]> {
    const passed: Found[] = [];
    const step = Math.max(LEAST_ASKED, query.take * 2);
    for (let at = 0; at < hits.length && passed.length < query.take; at += step) {
      passed.push(...(await this.#describe(shard, hits.slice(at, at + step), query)));
    }
    return passed.slice(0, query.take);
  }

  #pass(shard: ShardKeys, alternatives: readonly Alternative[]): Promise<ExactPass> {
    const { guard, commands } = this.#parts;
    const indexes = this.#listed.map((list) => listOf(shard, list));
    const plan = JSON.stringify(alternatives.map(({ ranges }) => ranges));
    return guard.run(() =>
      exactPass(commands(), { vectors: shard.vectors, indexes }, { most: MOST_IN_EXACT_PASS, plan }),
    );
  }

  async #walk(shard: ShardKeys, query: VectorQuery, members?: number): Promise<Hit[]> {
    const { vector, take, filter, minScore, isExact } = query;
    const isOutnumbered = members !== undefined && members < take;
    const command = searchVectors(shard.vectors, {
      vector: toBlob(vector),
      count: isOutnumbered ? members : take,
      ef: efOf(query),
      minScore,
      filter: filter && compileVectorSetFilter(filter, this.#parts.schema),
      filterEf: filter && Math.min(LARGEST_FILTER_EF, Math.max(take, DEFAULT_EF / 2) * FILTER_EF_PER_RESULT),
      isExact,
    });
    const flat = await this.#parts.port.send<Array<string | number>>(shard.vectors, command);
    const hits: Hit[] = [];
    for (let at = 0; at + 1 < flat.length; at += 2) {
      const score = Number(flat[at + 1]);
      if (score >= minScore) hits.push({ chunk: String(flat[at]), score });
    }
    return hits;
  }

  /**
   * Reads what is told of chunks in one round trip. One that went meanwhile is left out, and one whose metadata does not pass the filter any
   * more. The texts are read first, so that no text is given that came with metadata which does not pass.
   */
  async #describe(shard: ShardKeys, hits: readonly Hit[], { filter, withText }: VectorQuery): Promise<Found[]> {
    if (hits.length === 0) return [];
    const { port } = this.#parts;
    const documents = [...new Set(hits.map(({ chunk }) => documentOf(chunk)))];
    const [texts, manifests] = await Promise.all([
      withText
        ? port.send<Array<string | null>>(shard.texts, ['HMGET', shard.texts, ...hits.map(({ chunk }) => chunk)])
        : undefined,
      port.send<Array<string | null>>(shard.manifests, ['HMGET', shard.manifests, ...documents]),
    ]);
    const manifestOf = new Map(documents.map((id, at) => [id, manifests[at] ?? undefined]));
    return hits.flatMap(({ chunk, score }, at): Found[] => {
      const manifest = manifestOf.get(documentOf(chunk));
      if (manifest === undefined) return [];
      const found = foundOf(chunk, score, manifest, texts?.[at] ?? undefined);
      return !filter || matchesFilter(filter, JSON.parse(found.metadata) as Metadata) ? [found] : [];
    });
  }

  /** What lists a chunk under the values of its metadata, and under no others. */
  #listings(shard: ShardKeys, chunk: string, metadata: Metadata, before: readonly Metadata[]): Command[] {
    return this.#listed.flatMap(({ field, isTag }): Command[] => {
      if (!isTag) {
        const key = shard.number(field);
        const value = metadata[field];
        if (typeof value === 'number') return [listNumber(key, value, chunk)];
        return before.some((old) => old[field] !== undefined) ? [unlistNumber(key, chunk)] : [];
      }
      const key = shard.tag(field);
      const values = new Set(tagsOf(metadata[field]));
      const gone = new Set(before.flatMap((old) => tagsOf(old[field])).filter((value) => !values.has(value)));
      return [
        ...[...gone].map((value) => unlistTag(key, value, chunk)),
        ...[...values].map((value) => listTag(key, value, chunk)),
      ];
    });
  }

  #wordless(what: string): MillraceError {
    return new MillraceError(
      'CAPABILITY_MISSING',
      `${what} looks for words, which vector sets do not have; that takes the Query Engine (image redis:8, engine: 'query-engine')`,
      { feature: 'queryEngine', engine: this.kind },
    );
  }
}

function efOf({ ef, take }: VectorQuery): number {
  return ef ?? Math.max(DEFAULT_EF, take * EF_PER_RESULT);
}

/** @param stored The place and the text, as they are kept. */
function foundOf(chunk: string, score: number, manifest: string, stored: string | undefined): Found {
  const end = stored?.indexOf('\n') ?? 0;
  return {
    chunk,
    score,
    distance: distanceAt('cosine', score),
    text: stored?.slice(end + 1),
    index: stored === undefined ? 0 : Number(stored.slice(0, end)),
    metadata: firstMetadata(decodeManifest(manifest)),
  };
}

function listOf(shard: ShardKeys, { field, isTag }: ListedField): string {
  return isTag ? shard.tag(field) : shard.number(field);
}

function tagsOf(value: unknown): string[] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]) as string[];
}
