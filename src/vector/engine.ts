/**
 * What an index needs of an engine. Vector sets and the Query Engine each do it their own way; all that is above them, from manifests to
 * the swap of versions, is the same for both.
 */
import { MillraceError } from '../errors.ts';
import type { EngineKind } from './definition.ts';
import type { Filter } from './filter.ts';
import type { Place, ShardKeys } from './layout.ts';
import type { Command } from './search-port.ts';

/** Metadata, as it was checked against the schema. */
export type Metadata = Readonly<Record<string, unknown>>;

/** One chunk that a write puts. */
export interface ChunkWrite {
  readonly chunk: string;
  /** Its place in the document. */
  readonly index: number;
  /** Undefined where it has none. */
  readonly text: string | undefined;
  /** Undefined where the one that is there stays. */
  readonly vector: Float32Array | undefined;
}

/** What one write does to the chunks of a document. */
export interface DocumentWrite {
  readonly id: string;
  /** New chunks, and those whose place or metadata is new. */
  readonly put: readonly ChunkWrite[];
  /** Chunks that go. */
  readonly remove: readonly string[];
  readonly metadata: Metadata;
  /** The metadata under which its chunks may be listed by now. */
  readonly before: readonly Metadata[];
}

/** What a search looks for. */
export interface VectorQuery {
  readonly vector: Float32Array;
  /** How many chunks to find. */
  readonly take: number;
  readonly filter: Filter | undefined;
  /** How far the search looks round in the graph; the engine's choice when undefined. */
  readonly ef: number | undefined;
  /** Chunks below it need not be found. */
  readonly minScore: number;
  /** Compare every vector instead of walking the graph. */
  readonly isExact: boolean;
  /** Whether everything above the least score is wanted, rather than the nearest. */
  readonly isRange: boolean;
  /** Whether the text is wanted too. */
  readonly withText: boolean;
}

/** A chunk that was found. */
export interface Found {
  readonly chunk: string;
  /** 0 to 1. */
  readonly score: number;
  /** As the engine reckons it; undefined where a chunk was found by its words. */
  readonly distance: number | undefined;
  readonly text: string | undefined;
  /** Its place in the document. */
  readonly index: number;
  /** As JSON. */
  readonly metadata: string;
}

/** A search by words. */
export interface TextQuery {
  readonly text: string;
  readonly filter: Filter | undefined;
  readonly sort: { readonly field: string; readonly direction: 'asc' | 'desc' } | undefined;
  readonly offset: number;
  readonly take: number;
  readonly withText: boolean;
}

/** A search by words and meaning. */
export interface HybridQuery extends VectorQuery {
  readonly text: string;
  readonly window: number;
  readonly constant: number;
}

/** Chunks of one shard. */
export interface ChunkNames {
  readonly shard: ShardKeys;
  readonly names: readonly string[];
}

/** That something which was written cannot be found. The server tells of the last one only. */
export interface IndexFailure {
  /** How many there are in all. */
  readonly count: number;
  /** Where the last one is. */
  readonly key: string | undefined;
  readonly reason: string | undefined;
}

/** The error for it. */
export function indexFailed(searchIndex: string, failure: IndexFailure): MillraceError {
  const { count, key = 'unknown', reason = 'no reason given' } = failure;
  return new MillraceError(
    'INDEX_FAILED',
    `search index ${searchIndex}: what could not be indexed are ${count} by now, the last was ${key}: ${reason}`,
    { index: searchIndex, ...failure },
  );
}

/** What a version holds. */
export interface EngineStats {
  readonly chunks: number;
  readonly sizeBytes: number;
  /** Chunks that could not be indexed. */
  readonly failures: number;
  /** How much is indexed: 0 to 1. */
  readonly indexed: number;
}

/** An engine, for one definition. */
export interface Engine {
  readonly kind: EngineKind;
  /** Makes the place ready for documents. Twice is fine. */
  create(place: Place): Promise<void>;
  /** Lets other tools find the place under the name of the index. */
  announce(place: Place): Promise<void>;
  /**
   * Removes the chunks and all that leads to them. Nothing is written there any more.
   *
   * @param chunks Their names, some at a time, for engines that keep each by itself.
   */
  drop(place: Place, chunks: AsyncIterable<ChunkNames>): Promise<void>;
  /** The commands of a write; each names its key first. */
  steps(shard: ShardKeys, write: DocumentWrite): Command[];
  search(place: Place, query: VectorQuery): Promise<Found[]>;
  /** The vectors of chunks of one shard; undefined for those that are not there. */
  vectors(shard: ShardKeys, chunks: readonly string[]): Promise<Array<Float32Array | undefined>>;
  /** The texts of chunks of one shard, likewise. */
  texts(shard: ShardKeys, chunks: readonly string[]): Promise<Array<string | undefined>>;
  stats(place: Place): Promise<EngineStats>;
  /** What could not be indexed when it was last looked for; another object each time that there is more. */
  readonly lastFailure: IndexFailure | undefined;
  /** That the server has lost what create() had made. Then the engine is of no use any more. */
  readonly isGone: boolean;
  /** Waits until all that was written can be found, and looks for what cannot: see `lastFailure`. */
  settle(place: Place, signal?: AbortSignal): Promise<void>;
  /** @throws MillraceError CAPABILITY_MISSING */
  searchText(place: Place, query: TextQuery): Promise<{ total: number; found: Found[] }>;
  /** The same with any of the words, which is what ranks them. @throws MillraceError CAPABILITY_MISSING */
  searchAnyWord(place: Place, query: TextQuery): Promise<Found[]>;
  /** Undefined where the two lists are to be merged in this process. @throws MillraceError CAPABILITY_MISSING */
  hybrid(place: Place, query: HybridQuery): Promise<Found[] | undefined>;
  /** @throws MillraceError FILTER_UNSUPPORTED when the engine cannot look for it. */
  checkFilter(filter: Filter): void;
}

/**
 * Which of two found chunks comes first: by score; by distance, of which the ends of the scale know no more; then by name, so that equals
 * come in the same order each time.
 */
export function byScore(left: Found, right: Found): number {
  const nearer = (left.distance ?? 0) - (right.distance ?? 0);
  return right.score - left.score || nearer || (left.chunk < right.chunk ? -1 : 1);
}
