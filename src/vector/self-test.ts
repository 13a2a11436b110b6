/** How much of what an exact search finds the usual one finds too: measured on the index as it is, with queries near to its own vectors. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { checkOptions } from '../schema.ts';
import { chunkOf, shardOf } from './layout.ts';
import type { DocumentStore } from './store.ts';
import { normalise } from './vectors.ts';
import type { Version } from './versions.ts';

/** What a self-test found. */
export interface SelfTestReport {
  /** Of the nearest that there are, how many were found: 0 to 1, over all queries. Undefined where there is nothing to find. */
  readonly recall: number | undefined;
  /** Of the query that fared worst. */
  readonly worst: number | undefined;
  /** How many queries were made; fewer than asked for where the index is small. */
  readonly queries: number;
  readonly k: number;
  readonly ef: number | undefined;
  /** The middle time of a search, and of an exact one. */
  readonly searchMs: number;
  readonly exactMs: number;
}

/** What is tested. */
export interface SelfTestOptions {
  /** How many queries to make. Default 100; up to 10,000. */
  sample?: number | undefined;
  /** How many are to be found by each. Default 10; up to 1,000. */
  k?: number | undefined;
  /** How far the graph is looked through. Default what search() does. */
  ef?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** How far from a vector of the index a query is: a third of its length. */
const NOISE = 0.33;
/** Documents from which the sample is drawn. */
const MOST_SEEN = 20_000;
/** Scores come rounded; what scores like the last one is as good as it. */
const SAME_SCORE = 1e-6;

const optionsSchema = z.strictObject({
  sample: z.int().min(1).max(10_000).default(100),
  k: z.int().min(1).max(1_000).default(10),
  ef: z.int().min(1).max(100_000).optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
});

/** @throws MillraceError OPTIONS_INVALID */
export async function selfTest(
  version: Version,
  store: DocumentStore,
  clock: Clock,
  options: SelfTestOptions,
): Promise<SelfTestReport> {
  const { sample, k, ef, signal } = checkOptions(optionsSchema, options, 'selfTest');
  const recalls: number[] = [];
  const searchMs: number[] = [];
  const exactMs: number[] = [];
  for (const vector of await drawVectors(version, store, sample)) {
    signal?.throwIfAborted();
    const query = { vector, take: k, filter: undefined, minScore: 0, isRange: false, withText: false };
    const timed = async (isExact: boolean, times: number[]): ReturnType<typeof version.engine.search> => {
      const startMs = clock.monotonicMs();
      const found = await version.engine.search(version.place, { ...query, ef, isExact });
      times.push(clock.monotonicMs() - startMs);
      return found;
    };
    const exact = await timed(true, exactMs);
    const found = await timed(false, searchMs);
    const least = (exact.at(-1)?.score ?? 0) - SAME_SCORE;
    const right = found.filter(({ score }) => score >= least).length;
    if (exact.length > 0) recalls.push(Math.min(1, right / exact.length));
  }
  return {
    recall: recalls.length === 0 ? undefined : recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length,
    worst: recalls.length === 0 ? undefined : Math.min(...recalls),
    queries: recalls.length,
    k,
    ef,
    searchMs: middle(searchMs),
    exactMs: middle(exactMs),
  };
}

/** Vectors near to those of documents that are drawn at random. */
async function drawVectors(version: Version, store: DocumentStore, sample: number): Promise<Float32Array[]> {
  const drawn: string[] = [];
  let seen = 0;
  for await (const entries of store.scan(version.place)) {
    for (const [id] of entries) {
      const at = Math.floor(Math.random() * ++seen);
      if (drawn.length < sample) drawn.push(id);
      else if (at < sample) drawn[at] = id;
    }
    if (seen >= MOST_SEEN) break;
  }
  const vectors: Float32Array[] = [];
  for (const { id, chunkIds } of (await store.read(version.place, drawn)).values()) {
    const [chunkId] = chunkIds;
    if (chunkId === undefined) continue;
    const [vector] = await version.engine.vectors(shardOf(version.place, id), [chunkOf(id, chunkId)]);
    if (vector) vectors.push(moved(vector, version.definition.metric === 'cosine'));
  }
  return vectors;
}

function moved(vector: Float32Array, isCosine: boolean): Float32Array {
  const size = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const step = (NOISE * size) / Math.sqrt(vector.length);
  const near = vector.map((value) => value + step * normalRandom());
  return isCosine ? normalise(near) : near;
}

function normalRandom(): number {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function middle(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? 0;
}
