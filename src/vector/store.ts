/** The documents of one index: their manifests read, and written together with the commands of an engine. */
import { createBatch, type Batch } from '../redis/batch.ts';
import type { Guard } from '../redis/guard.ts';
import { explainScriptError, type ScriptClient } from '../redis/script.ts';
import type { ChunkNames } from './engine.ts';
import { chunkOf, shardOf, type Place, type ShardKeys } from './layout.ts';
import { decodeManifest, splitList, type Manifest, type StoredManifest } from './manifest.ts';
import { writeDocuments, type WriteOutcome } from './scripts.ts';
import type { Command } from './search-port.ts';
import type { Version } from './versions.ts';

/** A document that is there. */
export interface StoredDocument {
  readonly id: string;
  readonly manifest: Manifest;
  /** All chunks that may be there. */
  readonly chunkIds: readonly string[];
}

/** One write: what was seen, what shall be there, and the commands that make it so. */
export interface PlannedWrite {
  readonly id: string;
  /** The revision that was seen; empty for none. */
  readonly seen: string;
  /** Undefined removes the document. */
  readonly stored: StoredManifest | undefined;
  readonly steps: readonly Command[];
}

/** How many documents are read in one step of a scan. */
const SCAN_COUNT = 500;
/** Of a number, and of the length of a text. */
const NUMBER_BYTES = 4;
/** How long a dropped version goes on refusing writes of a process that was away. */
const REFUSED_FOR_MS = 30 * 24 * 3_600_000;

export class DocumentStore {
  readonly #commands: () => ScriptClient;
  readonly #guard: Guard;

  constructor(parts: { commands: () => ScriptClient; guard: Guard }) {
    this.#commands = parts.commands;
    this.#guard = parts.guard;
  }

  /** The documents that are there, by id. @throws MillraceError REDIS_* */
  async read(place: Place, ids: readonly string[]): Promise<Map<string, StoredDocument>> {
    const documents = new Map<string, StoredDocument>();
    if (ids.length === 0) return documents;
    const groups = byShard(place, ids, (id) => id);
    const answers = await this.#send((batch) =>
      groups.map(([shard, mine]) => batch.command('HMGET', shard.manifests, ...mine) as Promise<Array<string | null>>),
    );
    const listed: Array<{ shard: ShardKeys; id: string; manifest: Manifest }> = [];
    for (const [group, [shard, mine]] of groups.entries()) {
      for (const [at, id] of mine.entries()) {
        const stored = answers[group]?.[at] ?? undefined;
        if (stored === undefined) continue;
        const manifest = decodeManifest(stored);
        if (manifest.chunkIds) documents.set(id, { id, manifest, chunkIds: manifest.chunkIds });
        else listed.push({ shard, id, manifest });
      }
    }
    const lists = await this.#send((batch) =>
      listed.map(({ shard, id }) => batch.command('HGET', shard.lists, id) as Promise<string | null>),
    );
    for (const [at, { id, manifest }] of listed.entries()) {
      documents.set(id, { id, manifest, chunkIds: splitList(lists[at] ?? '') });
    }
    return documents;
  }

  /**
   * Writes each; what became of it, in the order given. A write that failed has its error in its place. Those of one shard are one call,
   * for the time of which the server does nothing else.
   *
   * @param builder Who builds the version, if it is one that is built; empty for one that is used.
   */
  async write(place: Place, writes: readonly PlannedWrite[], builder: string): Promise<Array<WriteOutcome | Error>> {
    const outcomes = new Map<PlannedWrite, WriteOutcome | Error>();
    const write = async ([shard, mine]: readonly [ShardKeys, PlannedWrite[]]): Promise<void> => {
      const told = await this.#writeShard(shard, mine, builder);
      for (const [at, one] of mine.entries()) outcomes.set(one, told[at] as WriteOutcome | Error);
    };
    await this.#guard.run(() => Promise.all(byShard(place, writes, ({ id }) => id).map(write)));
    return writes.map((one) => outcomes.get(one) as WriteOutcome | Error);
  }

  async #writeShard(
    shard: ShardKeys,
    writes: readonly PlannedWrite[],
    builder: string,
  ): Promise<Array<WriteOutcome | Error>> {
    const { manifests, lists, phase, seal, dirty } = shard;
    const { targets, documents, blobs } = layOut(writes);
    const client = this.#commands();
    try {
      const told = await writeDocuments(
        client,
        { manifests, lists, phase, seal, dirty, targets },
        { builder, documents, blobs },
      );
      return writes.map((_write, at) => {
        const outcome = typeof told === 'string' ? told : (told[at] as WriteOutcome | Error);
        return outcome instanceof Error ? explainScriptError(outcome, writeDocuments.file, client) : outcome;
      });
    } catch (error) {
      return writes.map(() => error as Error);
    }
  }

  /** The ids of all documents, some at a time. Those that come or go meanwhile may be among them. */
  async *scan(place: Place): AsyncGenerator<Array<readonly [id: string, manifest: Manifest]>> {
    for (const shard of place.shards) {
      let cursor = '0';
      do {
        const [next, flat] = await this.#guard.run(
          () =>
            this.#commands().call('HSCAN', shard.manifests, cursor, 'COUNT', SCAN_COUNT) as Promise<[string, string[]]>,
        );
        cursor = next;
        const entries: Array<readonly [string, Manifest]> = [];
        for (let at = 0; at + 1 < flat.length; at += 2) {
          entries.push([flat[at] as string, decodeManifest(flat[at + 1] as string)]);
        }
        if (entries.length > 0) yield entries;
      } while (cursor !== '0');
    }
  }

  /** Removes a version that nobody reads any more. When it is cut off, it can be done again. */
  async drop({ place, engine }: Pick<Version, 'place' | 'engine'>): Promise<void> {
    await this.#send((batch) =>
      place.shards.map(({ phase }) => batch.command('SET', phase, 'closed', 'PX', REFUSED_FOR_MS)),
    );
    await engine.drop(place, this.#chunks(place));
    await this.#send((batch) =>
      place.shards.map(({ manifests, lists, seal, dirty }) => batch.command('UNLINK', manifests, lists, seal, dirty)),
    );
  }

  async *#chunks(place: Place): AsyncGenerator<ChunkNames> {
    for await (const entries of this.scan(place)) {
      const ids = entries.map(([id]) => id);
      for (const { id, chunkIds } of (await this.read(place, ids)).values()) {
        yield { shard: shardOf(place, id), names: chunkIds.map((chunkId) => chunkOf(id, chunkId)) };
      }
    }
  }

  /** How many documents there are. */
  async count(place: Place): Promise<number> {
    const counts = await this.#send((batch) =>
      place.shards.map(({ manifests }) => batch.command('HLEN', manifests) as Promise<number>),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #send<T>(fill: (batch: Batch) => Array<Promise<T>>): Promise<T[]> {
    const batch = createBatch(this.#commands());
    const answers = fill(batch);
    if (answers.length === 0) return [];
    await this.#guard.run(() => batch.send());
    return Promise.all(answers);
  }
}

function byShard<T>(place: Place, all: readonly T[], idOf: (one: T) => string): Array<readonly [ShardKeys, T[]]> {
  const groups = new Map<ShardKeys, T[]>();
  for (const one of all) {
    const shard = shardOf(place, idOf(one));
    const group = groups.get(shard);
    if (group) group.push(one);
    else groups.set(shard, [one]);
  }
  return [...groups];
}

/** Writes as write-documents.lua takes them, the keys that they work on, and the blobs that they put in. */
function layOut(writes: readonly PlannedWrite[]): { targets: string[]; documents: Buffer; blobs: Buffer[] } {
  const targets = new Map<string, number>();
  const blobs = new Map<Buffer, number>();
  const documents: Part[][] = [];
  for (const { id, seen, stored, steps } of writes) {
    const { manifest = '', list = '' } = stored ?? {};
    const parts: Part[] = [];
    for (const [name, key, ...rest] of steps) {
      const place = rest.findIndex((value) => typeof value !== 'string');
      const blob = place === -1 ? 0 : numberOf(blobs, rest[place] as Buffer);
      parts.push(name as string, numberOf(targets, key as string), rest.length, place + 1, blob);
      for (const value of rest) parts.push(typeof value === 'string' ? value : '');
    }
    documents.push([id, seen, manifest, list, sizeOf(parts)], parts);
  }
  return { targets: [...targets.keys()], documents: join(documents.flat()), blobs: [...blobs.keys()] };
}

/** Which of all it is; one that is new is the next. */
function numberOf<T>(all: Map<T, number>, one: T): number {
  const known = all.get(one);
  if (known !== undefined) return known;
  all.set(one, all.size + 1);
  return all.size;
}

/** A number takes 4 bytes; before a text stands its length. */
type Part = number | string;

function sizeOf(parts: readonly Part[]): number {
  let bytes = parts.length * NUMBER_BYTES;
  for (const part of parts) if (typeof part === 'string') bytes += Buffer.byteLength(part);
  return bytes;
}

function join(parts: readonly Part[]): Buffer {
  const bytes = Buffer.allocUnsafe(sizeOf(parts));
  let at = 0;
  for (const part of parts) {
    if (typeof part === 'number') {
      at = bytes.writeUInt32LE(part, at);
    } else {
      const start = at + NUMBER_BYTES;
      const size = bytes.write(part, start);
      bytes.writeUInt32LE(size, at);
      at = start + size;
    }
  }
  return bytes;
}
