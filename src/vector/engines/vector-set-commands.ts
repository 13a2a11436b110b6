/** The commands of vector sets, as they are sent. */
import type { Definition, Quantisation } from '../definition.ts';
import { tagMember } from '../filter-pass.ts';
import type { Command } from '../search-port.ts';

/** What the server calls each. */
const QUANTISATION_WORDS = { q8: 'Q8', bin: 'BIN', none: 'NOQUANT' } as const satisfies Record<Quantisation, string>;

/** Adds a vector, or puts it in the place of the one that is there. The settings come each time: the set may have to begin anew. */
export function addVector(
  key: string,
  chunk: string,
  vector: Buffer,
  attributes: string,
  definition: Definition,
): Command {
  const { quantisation, efConstruction, m } = definition;
  return [
    'VADD',
    key,
    'FP32',
    vector,
    chunk,
    QUANTISATION_WORDS[quantisation],
    'EF',
    String(efConstruction),
    'SETATTR',
    attributes,
    'M',
    String(m),
  ];
}

/** What a search of a vector set is made of. */
export interface SimilarityArguments {
  readonly vector: Buffer;
  readonly count: number;
  readonly ef: number;
  /** Anything below need not come. */
  readonly minScore: number;
  readonly filter: string | undefined;
  /** How many nodes a filter may look at. */
  readonly filterEf: number | undefined;
  readonly isExact: boolean;
}

/** Scores come rounded; what is just at the border is left to whoever reads them. */
const SCORE_SLACK = 1e-5;

/**
 * Releases differ in whether they compare EPSILON with 1 - score or with twice of that. The larger one is right for both, since whoever reads
 * the scores leaves out what is below.
 */
function epsilonOf(minScore: number): string[] {
  const epsilon = 2 * (1 - minScore) + SCORE_SLACK;
  return epsilon < 1 ? ['EPSILON', String(epsilon)] : [];
}

export function searchVectors(key: string, query: SimilarityArguments): Command {
  const { vector, count, ef, minScore, filter, filterEf, isExact } = query;
  return [
    'VSIM',
    key,
    'FP32',
    vector,
    'WITHSCORES',
    'COUNT',
    String(count),
    ...epsilonOf(minScore),
    'EF',
    String(ef),
    ...(filter === undefined ? [] : ['FILTER', filter]),
    ...(filterEf === undefined ? [] : ['FILTER-EF', String(filterEf)]),
    ...(isExact ? ['TRUTH'] : []),
  ];
}

export function removeVector(key: string, chunk: string): Command {
  return ['VREM', key, chunk];
}

export function setAttributes(key: string, chunk: string, attributes: string): Command {
  return ['VSETATTR', key, chunk, attributes];
}

export function readVector(key: string, chunk: string): Command {
  return ['VEMB', key, chunk, 'RAW'];
}

/** Lists a chunk under a tag. */
export function listTag(key: string, tag: string, chunk: string): Command {
  return ['ZADD', key, '0', tagMember(tag, chunk)];
}

export function unlistTag(key: string, tag: string, chunk: string): Command {
  return ['ZREM', key, tagMember(tag, chunk)];
}

/** Lists a chunk by a number. */
export function listNumber(key: string, value: number, chunk: string): Command {
  return ['ZADD', key, String(value), chunk];
}

export function unlistNumber(key: string, chunk: string): Command {
  return ['ZREM', key, chunk];
}
