/** What the benches of vectors work on: vectors round centres, ours, and what others send. */
import { RESP_TYPES, createClient } from 'redis';
import type * as ConnectModule from '../../src/redis/connect.ts';
import type { Connections } from '../../src/redis/connect.ts';
import type * as VectorsModule from '../../src/vector/create-vectors.ts';
import type { Vectors } from '../../src/vector/create-vectors.ts';
import { importCompiled } from './compiled.ts';

const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
const { createVectors } = await importCompiled<typeof VectorsModule>('vector/create-vectors.ts');

/** Vectors round 200 centres, spread along some directions plus a little noise; the same each time. */
export function clustered(count: number, dimensions: number, seed = 1): Float32Array[] {
  const random = numbers(seed);
  const gauss = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const make = (): Float32Array => Float32Array.from({ length: dimensions }, gauss);
  const centres = Array.from({ length: 200 }, make);
  const directions = Array.from({ length: 24 }, make);
  return Array.from({ length: count }, () => {
    const vector = (centres[Math.floor(random() * centres.length)] as Float32Array).slice();
    for (const direction of directions) {
      const step = gauss() * 0.2;
      for (let at = 0; at < dimensions; at++) vector[at] = (vector[at] as number) + step * (direction[at] as number);
    }
    return moved(vector, 0.1, gauss);
  });
}

/** Queries: vectors that are there, moved by a third of their length. */
export function queriesNear(vectors: readonly Float32Array[], count: number, seed = 2): Float32Array[] {
  const random = numbers(seed);
  const gauss = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Array.from({ length: count }, () =>
    moved(vectors[Math.floor(random() * vectors.length)] as Float32Array, 0.3, gauss),
  );
}

/** The places of the nearest, by comparing all that pass. */
export function nearest(
  vectors: readonly Float32Array[],
  query: Float32Array,
  k: number,
  passes: (at: number) => boolean = () => true,
): number[] {
  const scores: Array<readonly [at: number, score: number]> = [];
  for (const [at, vector] of vectors.entries()) if (passes(at)) scores.push([at, dot(vector, query)]);
  return scores
    .toSorted(([, left], [, right]) => right - left)
    .slice(0, k)
    .map(([at]) => at);
}

/** How many of the right ones were found, of all that there are. */
export function recallOf(found: readonly string[], right: readonly number[]): number {
  const names = new Set(right.map(String));
  return found.filter((id) => names.has(id)).length / right.length;
}

/** Ours, on a server. */
export function oursOn(url: string): { vectors: Vectors; connections: Connections; close: () => Promise<void> } {
  const connections = createConnections({ url });
  const vectors = createVectors(connections, { deadline: '60s' });
  return {
    vectors,
    connections,
    async close() {
      await vectors.stop();
      await connections.close();
    },
  };
}

/** node-redis as anybody would use it, and its plain commands. */
export async function nodeRedisOn(url: string): Promise<{
  add: (key: string, vector: Float32Array, element: string, attributes: string) => Promise<unknown>;
  send: <T>(command: ReadonlyArray<string | Buffer>) => Promise<T>;
  close: () => Promise<void>;
}> {
  const client = createClient({ socket: { path: url.slice('unix://'.length), tls: false }, RESP: 3 });
  await client.connect();
  return {
    add: (key, vector, element, attributes) =>
      client.vAdd(key, Array.from(vector), element, {
        SETATTR: JSON.parse(attributes) as Record<string, unknown>,
        M: 16,
        EF: 200,
      }),
    send: <T>(command: ReadonlyArray<string | Buffer>) =>
      client.sendCommand<T>(command, { typeMapping: { [RESP_TYPES.MAP]: Array } }),
    close: async () => client.destroy(),
  };
}

function moved(vector: Float32Array, by: number, gauss: () => number): Float32Array {
  const size = Math.sqrt(dot(vector, vector));
  const step = (by * size) / Math.sqrt(vector.length);
  const there = vector.map((value) => value + step * gauss());
  const norm = Math.sqrt(dot(there, there));
  return there.map((value) => value / norm);
}

function dot(left: Float32Array, right: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < left.length; at++) sum += (left[at] as number) * (right[at] as number);
  return sum;
}

function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
