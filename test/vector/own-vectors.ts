/** Vectors of several processes, as far as Redis can tell, in one test; and embedders that count what they are asked. */
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { createVectors, type Vectors } from '../../src/vector/create-vectors.ts';
import type { Embedder } from '../../src/vector/embedder.ts';
import type { VectorsOptions } from '../../src/vector/options.ts';
import { ownedByTest } from '../support/owned.ts';

/** The vectors of one pretended process. */
export interface OwnedVectors {
  vectors: Vectors;
  connections: Connections;
}

/** A function that makes vectors which end with the test. */
export function ownedVectors(): (redis: RedisOptions, options?: VectorsOptions) => OwnedVectors {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    const vectors = own(createVectors(connections, { follow: 50, ...options }));
    return { vectors, connections };
  };
}

/** An embedder whose vectors tell which words a text has; it counts the texts that it was asked for. */
export interface CountingEmbedder extends Embedder {
  readonly asked: string[];
}

/** Words have a place each; texts that share words are near to each other. */
export function wordEmbedder(dimensions = 64, id = `words-${dimensions}`): CountingEmbedder {
  const asked: string[] = [];
  return {
    id,
    dimensions,
    asked,
    async embed(texts) {
      asked.push(...texts);
      return texts.map((text) => vectorOfWords(text, dimensions));
    },
  };
}

/** The vector that wordEmbedder() gives. */
export function vectorOfWords(text: string, dimensions = 64): Float32Array {
  const vector = new Float32Array(dimensions);
  for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
    let hash = 7;
    for (const char of word) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0;
    vector[hash % dimensions] = (vector[hash % dimensions] ?? 0) + 1;
  }
  if (vector.every((value) => value === 0)) vector[0] = 1;
  return vector;
}

/** Numbers that look random and are the same each time. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) >>> 0;
    state = Math.imul(state ^ (state >>> 12), 0x297a2d39) >>> 0;
    return ((state ^ (state >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Vectors round some centres. */
export function clusteredVectors(count: number, dimensions: number, seed = 1): Float32Array[] {
  const random = randomNumbers(seed);
  const spread = (): number => random() + random() + random() - 1.5;
  const centres = Array.from({ length: Math.ceil(count / 50) }, () =>
    Float32Array.from({ length: dimensions }, spread),
  );
  return Array.from({ length: count }, (_none, at) =>
    (centres[at % centres.length] as Float32Array).map((value) => value + 0.4 * spread()),
  );
}
