/**
 * An embedder without a model: hashed words and parts of words.
 *
 * It is lexical and not semantic: it finds what shares words, forms of words and misspellings with the question, and knows of no synonym.
 * It needs no download and no service, and gives the same numbers on every machine whose Node knows the text's characters: only hashes,
 * additions and square roots go in, which are exact everywhere. For development, tests, and names and codes that no model knows.
 */
import { z } from 'zod';
import { checkOptions } from '../../schema.ts';
import type { Embedder } from '../embedder.ts';

/** Options of localEmbedder(). */
export interface LocalEmbedderOptions {
  /** Size of the vectors. Default 512; 64 to 4,096. In small ones unrelated words fall together. */
  dimensions?: number | undefined;
}

const DEFAULT_DIMENSIONS = 512;
/** Another way to reckon is another version: old vectors and new ones do not compare. */
const VERSION = 1;

const localOptions = z.strictObject({ dimensions: z.number().int().min(64).max(4_096).optional() });

/**
 * The local embedder.
 *
 * @example
 * const embedder = localEmbedder({ dimensions: 256 });
 * const [vector] = await embedder.embed(['A fox saw grapes.'], { kind: 'document' });
 * @throws MillraceError OPTIONS_INVALID
 */
export function localEmbedder(options: LocalEmbedderOptions = {}): Embedder {
  const { dimensions = DEFAULT_DIMENSIONS } = checkOptions(localOptions, options, 'localEmbedder');
  return Object.freeze({
    id: `local-${VERSION}:${dimensions}`,
    dimensions,
    // eslint-disable-next-line typescript/require-await -- an embedder is asynchronous, this one has nothing to wait for.
    async embed(texts: readonly string[], { signal }: { signal?: AbortSignal | undefined }) {
      return texts.map((text) => {
        signal?.throwIfAborted();
        return vectorOf(text, dimensions);
      });
    },
  });
}

/** What a whole word counts for, and all of its parts together; a pair of neighbours. */
const WORD = 1;
const PARTS = 0.9;
const PAIR = 0.35;
/** Words that stand in every text tell little. */
const COMMON_PART = 0.12;
const SHORTEST_PART = 3;
const LONGEST_PART = 5;
const SEED = 0x811c9dc5;
/** Other than of words, so that a word and a part that read the same are two things. */
const PART_SEED = 0x2545f491;
/** Of one run of letters, so that base64 of megabytes costs no more than a book's page. */
const LONGEST_WORD = 64;

const COMMON = new Set(
  (
    'a about after again all am an and any are as at be because been before being but by can could did do does for from had has ' +
    'have he her here him his how i if in into is it its just me more most my no not now of off on one only or other our out over ' +
    'own same she so some such than that the their them then there these they this those through to too under until up upon very ' +
    'was we were what when where which while who whom whose why will with would you your'
  ).split(' '),
);

/** What a text without any letter or digit is known by. */
const NOTHING = '\u0000';

function vectorOf(text: string, dimensions: number): Float32Array {
  const features = new Map<number, number>();
  let before: string | undefined;
  for (const word of wordsIn(text)) {
    const importance = COMMON.has(word) ? COMMON_PART : 1;
    count(features, hashOf(`w${word}`), WORD * importance);
    countParts(features, word, importance);
    if (before !== undefined) count(features, hashOf(`p${before} ${word}`), PAIR * importance);
    before = COMMON.has(word) ? undefined : word;
  }
  if (features.size === 0) count(features, hashOf(NOTHING + text.trim()), 1);
  return folded(features, dimensions);
}

function count(features: Map<number, number>, hash: number, weight: number): void {
  features.set(hash, (features.get(hash) ?? 0) + weight);
}

/** Lower case, without accents. What is no word in any script (signs, emoji) is one by itself. */
function wordsIn(text: string): string[] {
  const plain = text.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase();
  return (plain.match(/[\p{L}\p{N}]+|[^\p{L}\p{N}\s\p{P}]/gu) ?? []).map((word) => word.slice(0, LONGEST_WORD));
}

/** `fox` has the parts <fo, fox, ox>, <fox and so on: forms of one word share most of them. */
function countParts(features: Map<number, number>, word: string, importance: number): void {
  const edged = `<${word}>`;
  const { length } = edged;
  let parts = 0;
  for (let size = SHORTEST_PART; size <= LONGEST_PART; size++) parts += Math.max(0, length - size + 1);
  // By its square root, so that a long word is worth more than a short one, but not by its length.
  const weight = (PARTS * importance) / Math.sqrt(Math.max(1, parts));
  for (let from = 0; from + SHORTEST_PART <= length; from++) {
    const end = Math.min(length, from + LONGEST_PART);
    let hash = PART_SEED;
    for (let at = from; at < end; at++) {
      hash = step(hash, edged.charCodeAt(at));
      if (at - from + 1 >= SHORTEST_PART) count(features, mixed(hash), weight);
    }
  }
}

/** Each feature adds to one place with one sign. A second mention counts for less than the first. */
function folded(features: ReadonlyMap<number, number>, dimensions: number): Float32Array {
  const sums = new Float64Array(dimensions);
  for (const [hash, weight] of features) {
    const place = (hash >>> 1) % dimensions;
    sums[place] = (sums[place] ?? 0) + (hash & 1 ? 1 : -1) * Math.sqrt(weight);
  }
  let squares = 0;
  for (const sum of sums) squares += sum * sum;
  // All that there was may have cancelled out.
  if (squares === 0) return Float32Array.from({ length: dimensions }, (_, at) => (at === 0 ? 1 : 0));
  const norm = Math.sqrt(squares);
  return Float32Array.from(sums, (sum) => sum / norm);
}

/** FNV-1a over UTF-16 units, then mixed, so that the low bits depend on all of it. */
function hashOf(text: string): number {
  let hash = SEED;
  for (let index = 0; index < text.length; index++) hash = step(hash, text.charCodeAt(index));
  return mixed(hash);
}

function step(hash: number, unit: number): number {
  return Math.imul(hash ^ unit, 0x01000193);
}

function mixed(hash: number): number {
  let mix = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35);
  return (mix ^ (mix >>> 16)) >>> 0;
}
