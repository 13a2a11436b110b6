/** Options of the search jobs, and how they are checked. */
import {
  checkOptions,
  createVectors,
  durationOption,
  isMillraceError,
  textChunker,
  unrecoverable,
  type Chunker,
  type Duration,
  type Embedder,
  type IndexOptions,
  type TextChunkerOptions,
  type VectorItem,
} from 'millrace';
import { z } from 'zod';
import { limitSchema, type LimitOption } from '../limit-option.ts';
import type { Source } from '../pages.ts';

/** A document as a source has it: a text, or a vector, or both. */
export interface SearchDocument {
  id: string;
  text?: string | undefined;
  vector?: VectorItem['vector'];
  /** In the fields of the index' schema. */
  metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** Gives the documents of these ids as they are now; those that there are no more are left out. */
export type LoadDocuments = (
  ids: readonly string[],
  context: { signal: AbortSignal },
) => Promise<readonly SearchDocument[]> | readonly SearchDocument[];

/** An index, with the options that it has in all processes, and where its documents come from. */
export interface SearchIndex extends Omit<IndexOptions, 'name' | 'dimensions' | 'chunker'> {
  /** How texts are cut, or the options of `textChunker()`. Default: a text is one chunk. */
  chunker?: Chunker | TextChunkerOptions | undefined;
  /** For jobs without a text, and for rebuilds. */
  load?: LoadDocuments | undefined;
  /**
   * The ids of all documents, bit by bit where there are many. For rebuilds; each part asks for it. What it does not list is removed, so it must
   * fail where it cannot list all.
   */
  ids?: ((context: { signal: AbortSignal }) => Source<string>) | undefined;
}

/** Options of createSearchIndexHandler() and createSearchRebuildHandlers(). */
export interface SearchOptions {
  /** The indexes, by name. */
  indexes: Readonly<Record<string, SearchIndex>>;
  /** Of indexes that name none. Each index has one: texts are embedded here, within the limit. */
  embedder?: Embedder | undefined;
  /**
   * How many texts an embedder is asked for, over all workers; chunks count. Default `{ limit: 3_000, per: '1m' }`; false for no limit. A call of
   * more texts than the burst counts as the burst.
   */
  perProvider?: LimitOption | false | undefined;
  /** How old a job may be for waits that use up no attempt, when the embedder asks for time. Default `1d`. */
  patience?: Duration | undefined;
  /** Documents that a rebuild loads and embeds together. Default 32. */
  batch?: number | undefined;
  /** How long vectors of a rebuild that is under way are kept, 8 KB each at 1,536 dimensions. Default `6h`; longer than a rebuild takes. */
  keepEmbeddings?: Duration | undefined;
  /** How long the former version stays for processes with the former options. Default 10 s. */
  keepOld?: Duration | undefined;
  /** The recall that a new version must have before it takes over. Default: it is not measured. */
  minRecall?: number | undefined;
}

/** An index after the check. */
export interface CheckedIndex {
  readonly options: IndexOptions & { embedder: Embedder };
  readonly load: ((ids: readonly string[], signal: AbortSignal) => Promise<VectorItem[]>) | undefined;
  readonly ids: SearchIndex['ids'];
}

/** Options after their check. */
export interface CheckedSearch {
  readonly indexes: ReadonlyMap<string, CheckedIndex>;
  readonly perProvider: LimitOption | false;
  readonly patienceMs: number;
  readonly batch: number;
  readonly keepEmbeddingsMs: number;
  readonly keepOldMs: number;
  readonly minRecall: number | undefined;
}

/** How often a document that changes all the while is written by one job; each change has a job of its own. */
export const MOST_ROUNDS = 5;

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const optionsSchema = z.strictObject({
  indexes: z.record(z.string(), z.custom<SearchIndex>(isObject, 'expected an object')),
  embedder: z
    .custom<Embedder>(
      (value) => isObject(value) && typeof (value as Embedder).embed === 'function',
      'expected an embedder',
    )
    .optional(),
  perProvider: limitSchema.default({ limit: 3_000, per: '1m' }),
  patience: durationOption.prefault('1d'),
  batch: z.int().min(1).max(1_000).default(32),
  keepEmbeddings: durationOption.refine((ms) => ms >= 60_000, 'expected at least 1 min').prefault('6h'),
  keepOld: durationOption.prefault('10s'),
  minRecall: z.number().min(0).max(1).optional(),
});

/** @throws MillraceError OPTIONS_INVALID */
export function checkSearch(options: SearchOptions, owner: string): CheckedSearch {
  const all = new Map<string, CheckedIndex>();
  const schema = optionsSchema.superRefine(({ indexes, embedder }, context) => {
    if (Object.keys(indexes).length === 0)
      context.addIssue({ code: 'custom', path: ['indexes'], message: 'expected at least one index' });
    for (const [name, index] of Object.entries(indexes)) {
      const checked = checkIndex(name, index, embedder);
      if (typeof checked === 'string') context.addIssue({ code: 'custom', path: ['indexes', name], message: checked });
      else all.set(name, checked);
    }
  });
  const { perProvider, patience, batch, keepEmbeddings, keepOld, minRecall } = checkOptions(schema, options, owner);
  return {
    indexes: all,
    perProvider,
    patienceMs: patience,
    batch,
    keepEmbeddingsMs: keepEmbeddings,
    keepOldMs: keepOld,
    minRecall,
  };
}

/** @throws MillraceError JOB_UNRECOVERABLE */
export function indexNamed({ indexes }: CheckedSearch, name: string): CheckedIndex {
  const index = indexes.get(name);
  if (index) return index;
  throw unrecoverable(`there is no index ${name}; this worker has: ${[...indexes.keys()].join(', ')}`);
}

/** The index, or what is wrong with it. One is made that nobody uses: that checks its options and asks nothing of Redis. */
function checkIndex(name: string, index: SearchIndex, embedderOfAll: Embedder | undefined): CheckedIndex | string {
  const { load, ids, chunker: cut, embedder = embedderOfAll, ...rest } = index;
  if (!embedder) return 'expected an embedder, of the index or of all';
  for (const [what, value] of Object.entries({ load, ids }))
    if (value !== undefined && typeof value !== 'function') return `${what}: expected a function`;
  const none = {
    label: 'none',
    topology: 'standalone',
    commands: unused,
    search: unused,
    capabilities: unused,
    outage: () => undefined,
  } as const;
  try {
    const chunker = cut === undefined || 'split' in cut ? cut : textChunker(cut);
    const options = { ...rest, name, embedder, ...(chunker && { chunker }) };
    createVectors(none).index(options);
    return {
      options,
      // Metadata is of a schema that is known at run time; the index checks it.
      load: load && (async (some, signal) => [...(await load(some, { signal }))] as VectorItem[]),
      ids,
    };
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error.message;
    throw error;
  }
}

function unused(): never {
  throw unrecoverable('an index that is made for its check was used');
}
