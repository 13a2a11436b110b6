/** The options of vectors and of an index, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { Chunker } from './chunker.ts';
import type { Definition, EngineKind, Quantisation } from './definition.ts';
import type { Embedder } from './embedder.ts';
import { compileSchema, type CompiledSchema, type VectorSchema } from './schema.ts';
import type { VectorMetricsRegistry } from './vector-metrics.ts';
import type { Metric } from './vectors.ts';

/** Options of all indexes of a process. */
export interface VectorsOptions {
  /** The first part of every key. Default `millrace`. */
  prefix?: string | undefined;
  /** How long Redis may take for an answer. Default 10 s; a batch of vectors takes it a while. */
  deadline?: Duration | undefined;
  /**
   * How soon a process reads the version that has taken over, at the latest five times as long. Default 1 s. rebuild() waits for it before
   * the old one goes, so all processes should have the same.
   */
  follow?: Duration | undefined;
  /** Of indexes that name neither an embedder nor `dimensions`. Default none; the platform takes it from MILLRACE_EMBEDDINGS_URL. */
  embedder?: Embedder | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: VectorMetricsRegistry | undefined;
}

/** Options of an index. All that shape it are kept on the server, and a process with others is refused. */
export interface IndexOptions<Schema extends VectorSchema = VectorSchema> {
  /** Letters, digits and _ . - */
  name: string;
  /** Numbers of a vector. Default those of the embedder. */
  dimensions?: number | undefined;
  /** Default `cosine`; vector sets know no other. Scores of `ip` tell something of vectors of length 1 only. */
  metric?: Metric | undefined;
  /** Default `auto`: vector sets, or the Query Engine where there are none or where the schema has a `text` or a `geo`. */
  engine?: EngineKind | 'auto' | undefined;
  /** What vector sets keep of each number. Default `q8`, a byte. `bin`, a bit, finds well only with `keepVectors` and `rescore`. */
  quantisation?: Quantisation | undefined;
  /** Of the Query Engine. Default `hnsw`; `flat` compares all, which is exact, and slow beyond some 10,000 chunks. */
  algorithm?: 'hnsw' | 'flat' | undefined;
  /** Links of a node of the graph. Default 16. More finds better and takes more memory. */
  m?: number | undefined;
  /** How far a new vector looks for its neighbours. Default 200. More finds better and makes writing slower, which spends nearly all its time on it. */
  efConstruction?: number | undefined;
  /** The metadata. Default none. */
  schema?: Schema | undefined;
  /** Fields whose chunks are listed by value, so that narrow filters are quick on vector sets. Default every `tag` and `tags`. */
  listed?: ReadonlyArray<keyof Schema & string> | undefined;
  /** Makes vectors of texts. Default that of the vectors. Without one, every item and query brings its vector, and `dimensions` are given. */
  embedder?: Embedder | undefined;
  /** Splits texts. Default: a text is one chunk. */
  chunker?: Chunker | undefined;
  /** Keys, and so nodes of a Cluster, that the documents are spread over. Default 1. */
  shards?: number | undefined;
  /** How the Query Engine's chunks are kept. Default `hash`. */
  documents?: 'hash' | 'json' | undefined;
  /** Keep each vector in full too, on vector sets: for `rescore`, and for a rebuild without loss. Default false. */
  keepVectors?: boolean | undefined;
}

/** The options of an index, as they are worked with. */
export interface ParsedIndexOptions {
  readonly name: string;
  readonly schema: CompiledSchema;
  readonly embedder: Embedder | undefined;
  readonly chunker: Chunker;
  readonly engine: EngineKind | 'auto';
  /** What the index is on an engine. @throws MillraceError OPTIONS_INVALID when the engine cannot be so. */
  definitionFor(engine: EngineKind): Definition;
}

const MOST_DIMENSIONS = 32_768;
const MOST_SHARDS = 256;
const NAME = /^[\w.-]{1,128}$/;

const embedderOption = z.custom<Embedder>(
  (value) => hasMethod(value, 'embed') && isId(value) && isDimensions((value as Embedder).dimensions),
  { error: ({ input }) => `expected an embedder with id, dimensions and embed(), got ${describeValue(input)}` },
);
const chunkerOption = z.custom<Chunker>((value) => hasMethod(value, 'split') && isId(value), {
  error: ({ input }) => `expected a chunker with id and split(), got ${describeValue(input)}`,
});

const vectorsSchema = z.strictObject({
  prefix: z.string().optional(),
  deadline: durationOption.optional(),
  follow: durationOption.optional(),
  embedder: embedderOption.optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
  metrics: z.custom<VectorMetricsRegistry>().optional(),
});

/** The options that an app gives, as the platform checks them. */
export const vectorsOptionsSchema = vectorsSchema.omit({ prefix: true, log: true, clock: true, metrics: true });

const indexSchema = z.strictObject({
  name: z.string().regex(NAME, 'expected 1 to 128 letters, digits and _ . -'),
  dimensions: z.int().min(1).max(MOST_DIMENSIONS).optional(),
  metric: z.enum(['cosine', 'l2', 'ip']).default('cosine'),
  engine: z.enum(['auto', 'vector-sets', 'query-engine']).default('auto'),
  quantisation: z.enum(['q8', 'bin', 'none']).optional(),
  algorithm: z.enum(['hnsw', 'flat']).default('hnsw'),
  m: z.int().min(4).max(512).default(16),
  efConstruction: z.int().min(10).max(4_096).default(200),
  schema: z.custom<VectorSchema>().default({}),
  listed: z.array(z.string()).optional(),
  embedder: embedderOption.optional(),
  chunker: chunkerOption.optional(),
  shards: z.int().min(1).max(MOST_SHARDS).default(1),
  documents: z.enum(['hash', 'json']).default('hash'),
  keepVectors: z.boolean().default(false),
});

/** A text is one chunk. */
const WHOLE_TEXT: Chunker = { id: 'whole', split: (text) => [text] };

/** @throws MillraceError OPTIONS_INVALID */
export function parseVectorsOptions(options: VectorsOptions): Readonly<z.output<typeof vectorsSchema>> {
  return checkOptions(vectorsSchema, options, 'createVectors');
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseIndexOptions<Schema extends VectorSchema>(
  options: IndexOptions<Schema>,
  embedderOfAll?: Embedder,
): ParsedIndexOptions {
  const checked = checkOptions(indexSchema, options, 'index');
  const { name, chunker = WHOLE_TEXT, engine } = checked;
  // One that has a size and no embedder is meant to be given its vectors.
  const { embedder = checked.dimensions === undefined ? embedderOfAll : undefined } = checked;
  const owner = `index ${name}`;
  const schema = compileSchema(checked.schema, `${owner}: schema`);
  const dimensions = checked.dimensions ?? embedder?.dimensions;
  if (dimensions === undefined)
    throw invalid(owner, 'dimensions: expected a number, or an embedder that has one, got neither');
  if (embedder && embedder.dimensions !== dimensions) {
    throw invalid(owner, `dimensions: expected the embedder's ${embedder.dimensions}, got ${dimensions}`);
  }
  const listed =
    checked.listed ?? [...schema.fields.values()].filter(({ type }) => isTag(type)).map((field) => field.name);
  for (const field of listed) {
    const type = schema.fields.get(field)?.type;
    if (type !== 'number' && !isTag(type))
      throw invalid(owner, `listed: expected fields of type tag, tags or number, got ${field}`);
  }
  const definitionFor = (kind: EngineKind): Definition => {
    const isSets = kind === 'vector-sets';
    if (isSets && checked.metric !== 'cosine')
      throw invalid(owner, `metric: vector sets know cosine only, got ${checked.metric}`);
    if (isSets && checked.algorithm === 'flat') throw invalid(owner, 'algorithm: vector sets have no flat one');
    const { quantisation = isSets ? 'q8' : 'none' } = checked;
    if (!isSets && quantisation !== 'none') {
      throw invalid(owner, `quantisation: the Query Engine keeps vectors in full (none), got ${quantisation}`);
    }
    return {
      engine: kind,
      dimensions,
      metric: checked.metric,
      quantisation,
      algorithm: checked.algorithm,
      m: checked.m,
      efConstruction: checked.efConstruction,
      schema: schema.plain,
      listed: isSets ? listed.toSorted() : [],
      embedder: embedder?.id ?? '',
      chunker: chunker.id,
      shards: checked.shards,
      documents: isSets ? 'hash' : checked.documents,
      keepsVectors: isSets && checked.keepVectors,
    };
  };
  if (engine !== 'auto') definitionFor(engine);
  return { name, schema, embedder, chunker, engine, definitionFor };
}

function isTag(type: string | undefined): boolean {
  return type === 'tag' || type === 'tags';
}

function hasMethod(value: unknown, method: string): boolean {
  return (
    typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[method] === 'function'
  );
}

function isId(value: unknown): boolean {
  const { id } = value as { id?: unknown };
  return typeof id === 'string' && id !== '';
}

function isDimensions(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function invalid(owner: string, fault: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `${owner}: ${fault}`, { owner });
}
