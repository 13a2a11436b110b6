/**
 * Where the data of an index is. All keys of a shard share a slot, so that one script can write them; an index has no expiry.
 *
 *   P:vector:{NAME}:index                    HASH    current, last, building: versions; version:N, dropping:N: definitions  open-index.lua
 *   P:vector:{NAME}:rebuilding               STRING  who rebuilds it, for a minute at a time                           keep-lease.lua
 *   P:vector:{NAME}:answer:ID                STRING  an answer, which expires                                          semantic-cache.ts
 *   P:vector:{NAME:VERSION:SHARD}:vectors    VSET    chunk -> vector, attributes                                     write-documents.lua
 *     :manifests                             HASH    document -> manifest; see manifest.ts
 *     :lists                                 HASH    document -> its chunks, where they are many
 *     :texts                                 HASH    chunk -> its place in the document, its text
 *     :originals                             HASH    chunk -> its vector in FP32, where vectors are kept
 *     :tag:FIELD  :number:FIELD              ZSET    the chunks by a value, for filters that few pass
 *     :chunk:CHUNK                           HASH or JSON  a chunk, for the Query Engine
 *     :phase  :seal  :dirty                          a new version is built; see rebuild.ts
 *
 * A chunk is `DOCUMENT#ID`. The ID is made of its text, so a chunk that has moved within its document is still the same.
 */
import { createHash } from 'node:crypto';
import { createKeySpace, type KeySpace } from '../redis/keys.ts';

/** The keys of one shard of one version. */
export interface ShardKeys {
  readonly vectors: string;
  readonly manifests: string;
  readonly lists: string;
  readonly texts: string;
  readonly originals: string;
  readonly phase: string;
  readonly seal: string;
  readonly dirty: string;
  tag(field: string): string;
  number(field: string): string;
  chunk(chunk: string): string;
  /** What the keys of all its chunks begin with. */
  readonly chunkPrefix: string;
}

/** One version of an index, and where it is. */
export interface Place {
  readonly name: string;
  readonly version: number;
  readonly shards: readonly ShardKeys[];
  /** What the Query Engine calls it. */
  readonly searchIndex: string;
  /** What the Query Engine calls whichever version is used. */
  readonly alias: string;
}

/** Where indexes are, under a prefix. */
export class Layout {
  readonly #keys: KeySpace;
  readonly #head: string;

  constructor(prefix: string) {
    this.#keys = createKeySpace(prefix, 'vector');
    this.#head = `${prefix}:vector:`;
  }

  record(name: string): string {
    return this.#keys(name, 'index');
  }

  /** The key of something beside the index itself, in the slot of its record. */
  beside(name: string, ...rest: string[]): string {
    return this.#keys(name, ...rest);
  }

  place(name: string, version: number, shards: number): Place {
    return {
      name,
      version,
      shards: Array.from({ length: shards }, (_none, shard) => this.#shard(`${name}:${version}:${shard}`)),
      searchIndex: `${this.#head}${name}:${version}`,
      alias: `${this.#head}${name}`,
    };
  }

  #shard(tag: string): ShardKeys {
    const key = (part: string): string => this.#keys(tag, part);
    return {
      vectors: key('vectors'),
      manifests: key('manifests'),
      lists: key('lists'),
      texts: key('texts'),
      originals: key('originals'),
      phase: key('phase'),
      seal: key('seal'),
      dirty: key('dirty'),
      tag: (field) => this.#keys(tag, 'tag', field),
      number: (field) => this.#keys(tag, 'number', field),
      chunk: (chunk) => this.#keys(tag, 'chunk', chunk),
      chunkPrefix: `${key('chunk')}:`,
    };
  }
}

/** The shard that a document is in. */
export function shardOf(place: Place, id: string): ShardKeys {
  const { shards } = place;
  const at = shards.length === 1 ? 0 : createHash('sha1').update(id).digest().readUInt32BE() % shards.length;
  return shards[at] as ShardKeys;
}

/** The name of a chunk. */
export function chunkOf(documentId: string, chunkId: string): string {
  return `${documentId}#${chunkId}`;
}

/** The document that a chunk is of. */
export function documentOf(chunk: string): string {
  return chunk.slice(0, chunk.lastIndexOf('#'));
}
