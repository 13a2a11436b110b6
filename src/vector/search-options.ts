/** What searches of an index are asked, and what they give. */
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import { checkOptions, functionOption } from '../schema.ts';
import type { FilterLike } from './filter.ts';
import type { Metadata, VectorSchema } from './schema.ts';
import type { VectorLike } from './vectors.ts';

/** A part of a document that was found. */
export interface SearchHit<Schema extends VectorSchema = VectorSchema> {
  /** The document. */
  readonly id: string;
  /** Its part; see `index` for where that is. */
  readonly chunk: string;
  /** The place of the part in the document, from 0. Known where the text is asked for. */
  readonly index: number;
  /** How near it is: 1 the same, 0 the opposite. The same on either engine. */
  readonly score: number;
  /** As the metric has it: 0 to 2 for cosine. */
  readonly distance: number;
  /** The text of the part, where the index has it. */
  readonly text: string | undefined;
  readonly metadata: Metadata<Schema>;
  /** What two rankings together, or a reranker, made of it: hits are in the order of this where it is there. */
  readonly rank?: number;
}

/** The filter and the size of a search. */
interface CommonOptions<Schema extends VectorSchema> {
  /** How many to find. Default 10. */
  k?: number | undefined;
  /** Which documents may be found. */
  filter?: FilterLike<Schema> | undefined;
  /** The least score. Default 0. */
  minScore?: number | undefined;
  /** The best part of each document only. Default false; true for similar(), and always with a ranking of documents. */
  groupByDocument?: boolean | undefined;
  /**
   * How far the graph is looked through: more finds better and takes longer. selfTest() tells what it brings. Default by `k`. The Query Engine
   * does not take it for range().
   */
  ef?: number | undefined;
  /** Whether the texts of the parts come too. Default true. */
  withText?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** Ranks hits anew: a number for each, the highest first. */
export type Reranker = (
  hits: readonly SearchHit[],
  query: { text: string | undefined; signal: AbortSignal | undefined },
) => Promise<readonly number[]> | readonly number[];

/** Options of search(). */
export interface SearchOptions<Schema extends VectorSchema = VectorSchema> extends CommonOptions<Schema> {
  /** What is meant; the embedder makes a vector of it. */
  text?: string | undefined;
  /** Or the vector itself. */
  vector?: VectorLike | undefined;
  /**
   * Rank by a second list too (reciprocal rank fusion): by the words of the text (Query Engine), or by a ranking of document ids that
   * another search gave (any engine).
   */
  hybrid?: HybridOptions | undefined;
  /** Finds so many times as many parts, and ranks them by their vectors in full. Vector sets need `keepVectors` for it. Not with `hybrid`. */
  rescore?: number | undefined;
  /** Ranks hits anew, such as by a cross-encoder. */
  rerank?: Reranker | undefined;
  /** How many hits the reranker sees. Default 5 times `k`. */
  rerankFrom?: number | undefined;
}

/** The second list of a hybrid search. */
export interface HybridOptions {
  /** Words to look for. Default the text of the search. */
  text?: string | undefined;
  /** Ids of documents, the best first, instead of words. */
  ranking?: readonly string[] | undefined;
  /** How much of each list counts. Default 50, at least `k`. */
  window?: number | undefined;
  /** How little the first places count more than the others. Default 60. */
  constant?: number | undefined;
}

/** Options of similar(). */
export type SimilarOptions<Schema extends VectorSchema = VectorSchema> = CommonOptions<Schema>;

/** Options of range(). */
export interface RangeOptions<Schema extends VectorSchema = VectorSchema> extends Omit<
  CommonOptions<Schema>,
  'k' | 'minScore'
> {
  text?: string | undefined;
  vector?: VectorLike | undefined;
  /** The least score. */
  minScore: number;
  /** The most that are given. Default 1,000. */
  limit?: number | undefined;
}

/** Options of searchText(). */
export interface TextSearchOptions<Schema extends VectorSchema = VectorSchema> {
  /** How many to find. Default 10. */
  k?: number | undefined;
  /** How many to leave out before. Default 0. */
  offset?: number | undefined;
  filter?: FilterLike<Schema> | undefined;
  /** By a sortable number instead of by how well the words match. */
  sort?: { by: keyof Schema & string; direction?: 'asc' | 'desc' | undefined } | undefined;
  withText?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** What searchText() gives. */
export interface TextSearchResult<Schema extends VectorSchema = VectorSchema> {
  /** How many there are in all. */
  readonly total: number;
  /** Their score is by words: larger is better, and it compares with nothing else. */
  readonly hits: ReadonlyArray<Omit<SearchHit<Schema>, 'distance'>>;
}

const MOST = 10_000;
const LARGEST_EF = 100_000;
const signalOption = z
  .custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal')
  .optional();

const commonShape = {
  k: z.int().min(1).max(MOST).default(10),
  filter: z.custom<FilterLike<VectorSchema>>().optional(),
  minScore: z.number().min(0).max(1).default(0),
  groupByDocument: z.boolean().optional(),
  ef: z.int().min(1).max(LARGEST_EF).optional(),
  withText: z.boolean().default(true),
  signal: signalOption,
};
const querySchema = {
  text: z.string().min(1).optional(),
  vector: z.custom<VectorLike>().optional(),
};
const hybridSchema = z
  .strictObject({
    text: z.string().min(1).optional(),
    ranking: z.array(z.string()).max(MOST).optional(),
    window: z.int().min(1).max(MOST).default(50),
    constant: z.number().min(0).max(MOST).default(60),
  })
  .refine(({ text, ranking }) => text === undefined || ranking === undefined, 'expected a text or a ranking, got both');
const searchSchema = z.strictObject({
  ...commonShape,
  ...querySchema,
  hybrid: hybridSchema.optional(),
  rescore: z.number().min(1).max(100).optional(),
  rerank: functionOption.optional(),
  rerankFrom: z.int().min(1).max(MOST).optional(),
});
const similarSchema = z.strictObject(commonShape);
const rangeSchema = z.strictObject({
  ...querySchema,
  filter: commonShape.filter,
  groupByDocument: commonShape.groupByDocument,
  ef: commonShape.ef,
  withText: commonShape.withText,
  signal: signalOption,
  minScore: z.number().min(0).max(1),
  limit: z.int().min(1).max(MOST).default(1_000),
});
const textSchema = z.strictObject({
  k: commonShape.k,
  offset: z.int().min(0).max(1_000_000).default(0),
  filter: commonShape.filter,
  sort: z.strictObject({ by: z.string(), direction: z.enum(['asc', 'desc']).default('asc') }).optional(),
  withText: commonShape.withText,
  signal: signalOption,
});

/** A search, as it is worked with. */
export type ParsedSearch = Omit<Readonly<z.output<typeof searchSchema>>, 'rerank'> & { rerank?: Reranker | undefined };
export type ParsedSimilar = Readonly<z.output<typeof similarSchema>>;
export type ParsedRange = Readonly<z.output<typeof rangeSchema>>;
export type ParsedTextSearch = Readonly<z.output<typeof textSchema>>;

/** @throws MillraceError OPTIONS_INVALID */
export function parseSearch(options: unknown): ParsedSearch {
  const checked = checkOptions(searchSchema, options, 'search');
  checkQuery('search', checked);
  const { hybrid, rescore, groupByDocument } = checked;
  if (hybrid && rescore !== undefined) throw invalid('search: rescore: expected none beside hybrid');
  if (hybrid?.ranking && groupByDocument === false)
    throw invalid('search: groupByDocument: expected true beside hybrid.ranking, which is of documents');
  return checked;
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseSimilar(options: unknown): ParsedSimilar {
  return checkOptions(similarSchema, options, 'similar');
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseRange(options: unknown): ParsedRange {
  const checked = checkOptions(rangeSchema, options, 'range');
  checkQuery('range', checked);
  return checked;
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseTextSearch(options: unknown): ParsedTextSearch {
  return checkOptions(textSchema, options, 'searchText');
}

function checkQuery(what: string, { text, vector }: { text?: string | undefined; vector?: unknown }): void {
  if (text !== undefined || vector !== undefined) return;
  throw invalid(`${what}: expected a text or a vector, got neither`);
}

function invalid(message: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', message, {});
}
