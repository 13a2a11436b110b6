/** The documents of one index: their manifests read, and written together with the commands of an engine. */
import { createBatch, type Batch } from '../redis/batch.ts';
import type { Guard } from '../redis/guard.ts';
import type { ScriptClient } from '../redis/script.ts';
import type { ChunkNames } from './engine.ts';
import { chunkOf, shardOf, type Place, type ShardKeys } from './layout.ts';
import { decodeManifest, splitList, type Manifest, type StoredManifest } from './manifest.ts';
import { writeDocument, type WriteOutcome } from './scripts.ts';
import type { Argument, Command } from './search-port.ts';
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
/** Of what stands before each value of a step. */
const LENGTH_BYTES = 4;
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
    const groups = byShard(place, ids);
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
   * Writes each; what became of it, in the order given. A write that failed has its error in its place.
   *
   * @param builder Who builds the version, if it is one that is built; empty for one that is used.
   */
  async write(place: Place, writes: readonly PlannedWrite[], builder: string): Promise<Array<WriteOutcome | Error>> {
    const batch = createBatch(this.#commands());
    const answers = writes.map(({ id, seen, stored, steps }) => {
      const { manifests, lists, phase, seal, dirty } = shardOf(place, id);
      const { targets, bytes } = layOut(steps);
      const { manifest = '', list = '' } = stored ?? {};
      return batch.run(
        writeDocument,
        { manifests, lists, phase, seal, dirty, targets },
        { id, seen, manifest, list, builder, steps: bytes },
      );
    });
    await this.#guard.run(() => batch.send());
    const settled = await Promise.allSettled(answers);
    return settled.map((result) => (result.status === 'fulfilled' ? result.value : (result.reason as Error)));
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

function byShard(place: Place, ids: readonly string[]): Array<readonly [ShardKeys, string[]]> {
  const groups = new Map<ShardKeys, string[]>();
  for (const id of ids) {
    const shard = shardOf(place, id);
    const group = groups.get(shard);
    if (group) group.push(id);
    else groups.set(shard, [id]);
  }
  return [...groups];
}

/** Steps as write-document.lua takes them, and the keys that they work on. */
function layOut(steps: readonly Command[]): { targets: string[]; bytes: Buffer } {
  const targets: string[] = [];
  const values: Argument[] = [];
  for (const [name, key, ...rest] of steps) {
    let target = targets.indexOf(key as string) + 1;
    if (target === 0) target = targets.push(key as string);
    values.push(name as string, String(target), String(rest.length), ...rest);
  }
  const bytes = Buffer.allocUnsafe(values.reduce((sum, value) => sum + LENGTH_BYTES + Buffer.byteLength(value), 0));
  let at = 0;
  for (const value of values) {
    at = bytes.writeUInt32LE(Buffer.byteLength(value), at);
    at += typeof value === 'string' ? bytes.write(value, at) : value.copy(bytes, at);
  }
  return { targets, bytes };
}
