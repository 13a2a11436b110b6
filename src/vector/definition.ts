/** What a version of an index is: kept on the server, so that a process with other options learns of it before it spoils anything. */
import { describeValue, MillraceError } from '../errors.ts';
import type { IndexSchema } from './schema.ts';
import type { Metric } from './vectors.ts';

/** The kinds of engine. */
export type EngineKind = 'vector-sets' | 'query-engine';

/** How much of each number a vector set keeps: a byte, a bit, or all of it. */
export type Quantisation = 'q8' | 'bin' | 'none';

/** A version of an index. */
export interface Definition {
  readonly engine: EngineKind;
  readonly dimensions: number;
  readonly metric: Metric;
  readonly quantisation: Quantisation;
  readonly algorithm: 'hnsw' | 'flat';
  /** Links of a node of the graph. */
  readonly m: number;
  /** How far a new vector looks for its neighbours. */
  readonly efConstruction: number;
  readonly schema: IndexSchema;
  /** The fields by whose values chunks are listed for filters that few pass. */
  readonly listed: readonly string[];
  /** The id of the embedder; empty where vectors are given. */
  readonly embedder: string;
  readonly chunker: string;
  readonly shards: number;
  readonly documents: 'hash' | 'json';
  readonly keepsVectors: boolean;
}

/** The order in which it is written, so that the same definition is always the same text. */
const FIELDS = [
  'engine',
  'dimensions',
  'metric',
  'quantisation',
  'algorithm',
  'm',
  'efConstruction',
  'listed',
  'embedder',
  'chunker',
  'shards',
  'documents',
  'keepsVectors',
] as const satisfies ReadonlyArray<keyof Definition>;

export function encodeDefinition(definition: Definition): string {
  const schema = Object.fromEntries(
    Object.entries(definition.schema).toSorted(([left], [right]) => (left < right ? -1 : 1)),
  );
  return JSON.stringify(
    Object.fromEntries([...FIELDS.map((field) => [field, definition[field]] as const), ['schema', schema]]),
  );
}

export function decodeDefinition(json: string): Definition {
  return JSON.parse(json) as Definition;
}

/** What differs, in words, such as `dimensions: 384 there, 768 here`; nothing when both are the same. */
export function differences(there: Definition, here: Definition): string[] {
  const faults: string[] = [];
  for (const field of FIELDS) {
    const [left, right] = [there[field], here[field]].map((value) => JSON.stringify(value));
    if (left !== right)
      faults.push(`${field}: ${describeValue(there[field])} there, ${describeValue(here[field])} here`);
  }
  for (const field of new Set([...Object.keys(there.schema), ...Object.keys(here.schema)])) {
    const [left, right] = [there.schema[field], here.schema[field]];
    if (JSON.stringify(left) === JSON.stringify(right)) continue;
    faults.push(
      `schema.${field}: ${left === undefined ? 'not' : describeValue(left)} there, ${right === undefined ? 'not' : describeValue(right)} here`,
    );
  }
  return faults;
}

/** The error of a process whose options differ from the index on the server. */
export function mismatch(name: string, version: number, faults: readonly string[]): MillraceError {
  return new MillraceError(
    'INDEX_MISMATCH',
    `vector index ${name}: version ${version} on the server is another one than the options say: ${faults.join('; ')}. ` +
      'Give it the same options, or call rebuild() to make a new version of these',
    { name, version, differences: faults },
  );
}
