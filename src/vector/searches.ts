/** How an index is searched, whatever its engine: grouping, hybrid ranking, rescoring and reranking are done here. */
import { MillraceError } from '../errors.ts';
import { embedAll, type Embedder } from './embedder.ts';
import { byScore, type Found, type TextQuery } from './engine.ts';
import { checkFilter, type Filter, type FilterLike } from './filter.ts';
import { checkMatchable, matchesFilter } from './filter-match.ts';
import { fuseRanks } from './fusion.ts';
import { chunkOf, documentOf, shardOf } from './layout.ts';
import { firstMetadata } from './manifest.ts';
import type { VectorSchema } from './schema.ts';
import type {
  ParsedRange,
  ParsedSearch,
  ParsedSimilar,
  ParsedTextSearch,
  SearchHit,
  TextSearchResult,
} from './search-options.ts';
import type { DocumentStore } from './store.ts';
import { checkVector, distanceOf, normalise, similarityOf } from './vectors.ts';
import type { Version } from './versions.ts';

/** What searches need. */
export interface SearchParts {
  readonly name: string;
  readonly store: DocumentStore;
  readonly embedder: Embedder | undefined;
}

/** How many parts are looked for at first, for each document that is wanted; and in all, at most, unless more are wanted. */
const PARTS_PER_DOCUMENT = 3;
const MORE_PARTS = 4;
const MOST_PARTS = 5_000;
const RERANK_FROM = 5;

type Query = Omit<ParsedSimilar, 'groupByDocument' | 'k'> & { groupByDocument: boolean; k: number; isRange?: boolean };

export class Searches {
  readonly #parts: SearchParts;

  constructor(parts: SearchParts) {
    this.#parts = parts;
  }

  async search(version: Version, query: ParsedSearch): Promise<SearchHit[]> {
    const { k, rerank, rerankFrom, hybrid, groupByDocument = false } = query;
    const { filter, vector } = await this.#prepare(version, query);
    const wanted = rerank ? Math.max(k, rerankFrom ?? k * RERANK_FROM) : k;
    const asked = { ...query, k: wanted, groupByDocument };
    const hits = hybrid
      ? await this.#hybrid(version, vector, filter, asked, hybrid)
      : await this.#nearest(version, vector, filter, asked, query.rescore ?? 1);
    if (!rerank) return hits.slice(0, k);
    return (await rankedBy(rerank, hits, query)).slice(0, k);
  }

  /** @returns nothing when the document is not there */
  async similar(version: Version, id: string, query: ParsedSimilar): Promise<SearchHit[] | undefined> {
    const filter = filterOf(version, query.filter);
    const vector = await this.#vectorOfDocument(version, id);
    if (!vector) return undefined;
    const { k, groupByDocument = true } = query;
    const hits = await this.#nearest(version, vector, filter, { ...query, k: k + 1, groupByDocument }, 1, id);
    return hits.slice(0, k);
  }

  async range(version: Version, query: ParsedRange): Promise<SearchHit[]> {
    const { limit, groupByDocument = false } = query;
    const { filter, vector } = await this.#prepare(version, query);
    return this.#nearest(version, vector, filter, { ...query, k: limit, groupByDocument, isRange: true }, 1);
  }

  async searchText(version: Version, text: string, query: ParsedTextSearch): Promise<TextSearchResult> {
    const { k, offset, withText, sort } = query;
    if (sort && !version.schema.fields.get(sort.by)?.sortable) {
      throw new MillraceError(
        'OPTIONS_INVALID',
        `searchText: sort.by: expected a sortable number of the schema, got ${sort.by}`,
        {},
      );
    }
    const asked: TextQuery = {
      text,
      filter: filterOf(version, query.filter),
      sort: sort && { field: sort.by, direction: sort.direction },
      offset,
      take: k,
      withText,
    };
    const { total, found } = await version.engine.searchText(version.place, asked);
    return { total, hits: found.map((one) => hitOf(one)) };
  }

  async #prepare(
    version: Version,
    query: Pick<ParsedSearch, 'text' | 'vector' | 'filter' | 'signal'> & Partial<Pick<ParsedSearch, 'hybrid'>>,
  ): Promise<{ filter: Filter | undefined; vector: Float32Array }> {
    const filter = filterOf(version, query.filter);
    if (filter && query.hybrid?.ranking) checkMatchable(filter, 'a hybrid search with a ranking');
    const { metric, dimensions } = version.definition;
    const given = query.vector ?? (await this.#embed(query.text as string, query.signal));
    const vector = checkVector(given, dimensions, 'the vector of the query');
    return { filter, vector: metric === 'cosine' ? normalise(vector) : vector };
  }

  async #embed(text: string, signal: AbortSignal | undefined): Promise<Float32Array> {
    const { embedder, name } = this.#parts;
    if (!embedder)
      throw new MillraceError('OPTIONS_INVALID', `index ${name} has no embedder: search it by a vector`, { name });
    const [vector] = await embedAll(embedder, [text], { kind: 'query', ...(signal && { signal }) });
    return vector as Float32Array;
  }

  /** The nearest parts, or the nearest part of each of the nearest documents. */
  async #nearest(
    version: Version,
    vector: Float32Array,
    filter: Filter | undefined,
    query: Query,
    rescore: number,
    except?: string,
  ): Promise<SearchHit[]> {
    const { k, groupByDocument, minScore, ef, withText, isRange = false } = query;
    const most = Math.max(k, MOST_PARTS);
    let take = Math.min(most, Math.ceil(k * rescore * (groupByDocument ? PARTS_PER_DOCUMENT : 1)));
    for (;;) {
      const asked = {
        vector,
        take,
        filter,
        ef,
        minScore: rescore > 1 ? 0 : minScore,
        isExact: false,
        isRange,
        withText,
      };
      const found = await version.engine.search(version.place, asked);
      const isAll = found.length < take || take >= most;
      const scored = rescore > 1 ? await this.#rescored(version, vector, found) : found;
      const hits = scored
        .filter(({ score, chunk }) => score >= minScore && (except === undefined || documentOf(chunk) !== except))
        .map((one) => hitOf(one));
      const kept = groupByDocument ? firstOfEach(hits) : hits;
      if (kept.length >= k || isAll) return kept.slice(0, k);
      take = Math.min(most, take * MORE_PARTS);
    }
  }

  /** By the vectors in full, where they are. */
  async #rescored(version: Version, vector: Float32Array, found: readonly Found[]): Promise<Found[]> {
    const { engine, definition } = version;
    if (engine.kind === 'vector-sets' && !definition.keepsVectors) {
      const { name } = this.#parts;
      throw new MillraceError(
        'OPTIONS_INVALID',
        `rescore: index ${name} has no vectors in full; that takes keepVectors`,
        { name },
      );
    }
    const { metric } = definition;
    const kept = await this.#vectorsOf(
      version,
      found.map(({ chunk }) => chunk),
    );
    return found
      .map((one): Found => {
        const original = kept.get(one.chunk);
        if (!original) return one;
        const distance = distanceOf(metric, vector, original);
        return { ...one, distance, score: similarityOf(metric, distance) };
      })
      .toSorted(byScore);
  }

  async #hybrid(
    version: Version,
    vector: Float32Array,
    filter: Filter | undefined,
    query: Query & Pick<ParsedSearch, 'text' | 'minScore'>,
    hybrid: NonNullable<ParsedSearch['hybrid']>,
  ): Promise<SearchHit[]> {
    const { k, withText, ef, minScore } = query;
    const window = Math.max(hybrid.window, k);
    const { constant, ranking } = hybrid;
    if (ranking) {
      const ids = [...new Set(ranking)].slice(0, window); // One of parts names a document for each.
      return this.#withRanking(version, vector, filter, { ...query, k: window }, ids, constant, k);
    }
    const text = hybrid.text ?? query.text;
    if (text === undefined)
      throw new MillraceError('OPTIONS_INVALID', 'hybrid: expected a text or a ranking, got neither', {});
    const { engine, place } = version;
    const asked = {
      vector,
      take: window,
      filter,
      ef,
      minScore,
      isExact: false,
      isRange: false,
      withText,
      text,
      window,
      constant,
    };
    const fused = await engine.hybrid(place, asked);
    if (fused)
      return this.#ranked(
        await this.#withScores(version, vector, fused),
        query,
        fused.map((_one, at) => -at),
      );
    const words: TextQuery = { text, filter, sort: undefined, offset: 0, take: window, withText };
    const [near, found] = await Promise.all([engine.search(place, asked), engine.searchAnyWord(place, words)]);
    const lists = [near, found].map((list) => list.map(({ chunk }) => chunk));
    const ranks = fuseRanks(lists, constant);
    const known = new Map([...found, ...near].map((one) => [one.chunk, one]));
    const all = await this.#withScores(
      version,
      vector,
      [...ranks.keys()].map((chunk) => known.get(chunk) as Found),
    );
    return this.#ranked(
      all,
      query,
      all.map(({ chunk }) => ranks.get(chunk) ?? 0),
    );
  }

  /** Merges with a ranking of documents: what is in that alone is scored by its vectors. */
  async #withRanking(
    version: Version,
    vector: Float32Array,
    filter: Filter | undefined,
    query: Query,
    ranking: readonly string[],
    constant: number,
    k: number,
  ): Promise<SearchHit[]> {
    const near = await this.#nearest(version, vector, filter, { ...query, groupByDocument: true }, 1);
    const known = new Map(near.map((hit) => [hit.id, hit]));
    const others = ranking.filter((id) => !known.has(id));
    for (const hit of await this.#bestOf(version, vector, others, query, filter)) known.set(hit.id, hit);
    const ranks = fuseRanks([near.map(({ id }) => id), ranking.filter((id) => known.has(id))], constant);
    return [...ranks]
      .map(([id, rank]): SearchHit => ({ ...(known.get(id) as SearchHit), rank }))
      .toSorted(byRank)
      .slice(0, k);
  }

  /** The best part of each of the documents that are there and pass. */
  async #bestOf(
    version: Version,
    vector: Float32Array,
    ids: readonly string[],
    query: Query,
    filter: Filter | undefined,
  ): Promise<SearchHit[]> {
    const { store } = this.#parts;
    const { metric } = version.definition;
    const documents = [...(await store.read(version.place, ids)).values()];
    const chunks = documents.flatMap(({ id, chunkIds }) => chunkIds.map((chunkId) => chunkOf(id, chunkId)));
    const vectors = await this.#vectorsOf(version, chunks);
    const best = documents.flatMap(({ id, chunkIds, manifest }): Found[] => {
      const found = chunkIds.flatMap((chunkId, index): Found[] => {
        const chunk = chunkOf(id, chunkId);
        const there = vectors.get(chunk);
        if (!there) return [];
        const distance = distanceOf(metric, vector, there);
        const metadata = firstMetadata(manifest);
        return [{ chunk, index, distance, score: similarityOf(metric, distance), metadata, text: undefined }];
      });
      return found.toSorted(byScore).slice(0, 1);
    });
    const passing = best.filter(
      ({ score, metadata }) =>
        score >= query.minScore && (!filter || matchesFilter(filter, JSON.parse(metadata) as Record<string, unknown>)),
    );
    return Promise.all(
      passing.map(async (one) => {
        const [text] = query.withText
          ? await version.engine.texts(shardOf(version.place, documentOf(one.chunk)), [one.chunk])
          : [];
        return hitOf({ ...one, text });
      }),
    );
  }

  #ranked(found: readonly Found[], query: Query, ranks: readonly number[]): SearchHit[] {
    const hits = found
      .map((one, at): SearchHit => ({ ...hitOf(one), rank: ranks[at] ?? 0 }))
      .filter(({ score }) => score >= query.minScore)
      .toSorted(byRank);
    return (query.groupByDocument ? firstOfEach(hits) : hits).slice(0, query.k);
  }

  /** What was found by its words alone has no distance yet. */
  async #withScores(version: Version, vector: Float32Array, found: readonly Found[]): Promise<Found[]> {
    const { metric } = version.definition;
    const vectors = await this.#vectorsOf(
      version,
      found.filter(({ distance }) => distance === undefined).map(({ chunk }) => chunk),
    );
    return found.map((one): Found => {
      const there = vectors.get(one.chunk);
      if (one.distance !== undefined) return one;
      const distance = there
        ? distanceOf(metric, vector, there)
        : distanceOf(
            metric,
            vector,
            vector.map((x) => -x),
          );
      return { ...one, distance, score: similarityOf(metric, distance) };
    });
  }

  async #vectorsOf(version: Version, chunks: readonly string[]): Promise<Map<string, Float32Array>> {
    const { place, engine } = version;
    const vectors = new Map<string, Float32Array>();
    const groups = new Map<ReturnType<typeof shardOf>, string[]>();
    for (const chunk of chunks) {
      const shard = shardOf(place, documentOf(chunk));
      groups.set(shard, [...(groups.get(shard) ?? []), chunk]);
    }
    await Promise.all(
      [...groups].map(async ([shard, mine]) => {
        const found = await engine.vectors(shard, mine);
        for (const [at, vector] of found.entries()) if (vector) vectors.set(mine[at] as string, vector);
      }),
    );
    return vectors;
  }

  /** The direction that all parts of a document point to together. */
  async #vectorOfDocument(version: Version, id: string): Promise<Float32Array | undefined> {
    const document = (await this.#parts.store.read(version.place, [id])).get(id);
    if (!document) return undefined;
    const chunks = document.chunkIds.map((chunkId) => chunkOf(id, chunkId));
    const vectors = [...(await this.#vectorsOf(version, chunks)).values()];
    const [first, ...others] = vectors;
    if (!first) return undefined;
    const isCosine = version.definition.metric === 'cosine';
    const sum = isCosine ? normalise(first) : first.slice();
    for (const other of others) {
      const added = isCosine ? normalise(other) : other;
      for (let at = 0; at < sum.length; at++) sum[at] = (sum[at] as number) + (added[at] as number);
    }
    const mean = sum.map((value) => value / vectors.length);
    if (mean.every((value) => value === 0)) return first; // Parts that are each other's opposite have no common direction.
    return isCosine ? normalise(mean) : mean;
  }
}

function filterOf({ schema, engine }: Version, filter: FilterLike<VectorSchema> | undefined): Filter | undefined {
  if (filter === undefined) return undefined;
  const checked = checkFilter(schema, filter);
  engine.checkFilter(checked);
  return checked;
}

function hitOf({ chunk, index, score, distance = Number.NaN, text, metadata }: Found): SearchHit {
  const end = chunk.lastIndexOf('#');
  return {
    id: chunk.slice(0, end),
    chunk: chunk.slice(end + 1),
    index,
    score,
    distance,
    text,
    metadata: JSON.parse(metadata) as SearchHit['metadata'],
  };
}

function firstOfEach(hits: readonly SearchHit[]): SearchHit[] {
  const seen = new Set<string>();
  return hits.filter(({ id }) => !seen.has(id) && seen.add(id));
}

function byRank(left: SearchHit, right: SearchHit): number {
  return (right.rank ?? 0) - (left.rank ?? 0) || right.score - left.score;
}

async function rankedBy(
  rerank: NonNullable<ParsedSearch['rerank']>,
  hits: readonly SearchHit[],
  { text, signal }: ParsedSearch,
): Promise<SearchHit[]> {
  const ranks = await rerank(hits, { text, signal });
  const isRanking =
    Array.isArray(ranks) && ranks.length === hits.length && ranks.every((rank) => Number.isFinite(rank));
  if (!isRanking)
    throw new MillraceError('INPUT_INVALID', `rerank: expected ${hits.length} numbers, one for each hit`, {});
  return hits.map((hit, at): SearchHit => ({ ...hit, rank: ranks[at] as number })).toSorted(byRank);
}
