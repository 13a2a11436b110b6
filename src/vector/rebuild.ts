/**
 * A new version of an index, built beside the one that is used, until it takes over.
 *
 *   begin --> copy all --> copy what changed meanwhile, again and again --> seal --> copy the rest --> close --> take over --> drop
 *
 * From the begin on, each write notes the document that it changes. The seal stops writes for the moment that the last notes take; whoever
 * writes waits. A shard is closed for good only while it is sealed and nothing is noted, so no write is lost, whoever dies when. What is cut
 * off before the take-over is begun again by the next rebuild(), which finds most of it done; an old version that was not dropped goes then.
 */
import { randomBytes } from 'node:crypto';
import { MillraceError } from '../errors.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { ScriptClient } from '../redis/script.ts';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { decodeDefinition, encodeDefinition } from './definition.ts';
import { VersionCopy } from './version-copy.ts';
import type { VectorItem } from './documents.ts';
import type { ShardKeys } from './layout.ts';
import { keepLease, nextVersion, sealShard, takeOver } from './scripts.ts';
import type { VectorSchema } from './schema.ts';
import { selfTest } from './self-test.ts';
import type { IndexParts } from './vector-index.ts';
import { FOLLOWS_LATE, type Version } from './versions.ts';

/** How far a rebuild is. */
export interface RebuildProgress {
  /** Documents that were copied or found to be there. */
  readonly documents: number;
  readonly phase: 'copying' | 'catching up' | 'taking over' | 'dropping';
}

/** Options of rebuild(). */
export interface RebuildOptions<Schema extends VectorSchema = VectorSchema> {
  /**
   * Gives documents anew, where the index has not what it takes: another chunker needs whole texts, another embedder the texts of documents
   * that came as vectors. Those that it leaves out are left out of the new version.
   */
  load?: ((ids: readonly string[]) => Promise<ReadonlyArray<VectorItem<Schema>>>) | undefined;
  /** How long the old version stays for processes with the old options. Default 10 s. */
  keepOld?: Duration | undefined;
  /** The recall that selfTest() must find before the new version takes over. Default: it is not measured. */
  minRecall?: number | undefined;
  onProgress?: ((progress: RebuildProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** What a rebuild did. */
export interface RebuildReport {
  /** The version that is used now. */
  readonly version: number;
  readonly documents: number;
  /** Chunks that were embedded for it. */
  readonly embedded: number;
}

const optionsSchema = z.strictObject({
  load: z
    .custom<NonNullable<RebuildOptions['load']>>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  keepOld: durationOption.optional(),
  minRecall: z.number().min(0).max(1).optional(),
  onProgress: z
    .custom<NonNullable<RebuildOptions['onProgress']>>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
});

const KEEP_OLD_MS = 10_000;
/** Renewed with each batch; a process that is away for longer has lost it. */
const LEASE_MS = 60_000;
const SEAL_MS = 10_000;
/** So few changes are waited for under seal. */
const FEW = 50;
/** How often the rest is caught up with before the seal comes all the same. */
const MOST_ROUNDS = 20;
/** How often a seal is tried whose time was not enough. */
const MOST_SEALS = 5;

/** @throws MillraceError OPTIONS_INVALID, INDEX_BUSY, INDEX_FAILED */
export async function rebuildIndex(parts: IndexParts, options: RebuildOptions): Promise<RebuildReport> {
  const checked = checkOptions(optionsSchema, options, 'rebuild');
  const { versions } = parts;
  const record = await versions.record();
  if (record['current'] === undefined) {
    const { number } = await versions.current();
    return { version: number, documents: 0, embedded: 0 };
  }
  const rebuild = new Rebuild(parts, checked);
  return rebuild.run(Number(record['current']), record);
}

class Rebuild {
  readonly #parts: IndexParts;
  readonly #options: Readonly<z.output<typeof optionsSchema>>;
  readonly #who = randomBytes(9).toString('base64url');
  #documents = 0;

  constructor(parts: IndexParts, options: Readonly<z.output<typeof optionsSchema>>) {
    this.#parts = parts;
    this.#options = options;
  }

  async run(current: number, record: Readonly<Record<string, string>>): Promise<RebuildReport> {
    await this.#keepLease();
    try {
      const old = await this.#versionOf(current, record[`version:${current}`]);
      const fresh = await this.#begin(old);
      await this.#dropOthers(old, fresh);
      const copy = new VersionCopy(this.#parts, old, fresh, this.#options.load);
      await this.#copyAll(copy, old);
      await this.#catchUp(copy, old);
      await fresh.engine.settle(fresh.place, this.#options.signal);
      await this.#checkRecall(fresh);
      await this.#close(copy, old);
      await this.#takeOver(old, fresh);
      await this.#drop(old);
      return { version: fresh.number, documents: await this.#parts.store.count(fresh.place), embedded: copy.embedded };
    } finally {
      await this.#run((commands) => keepLease(commands, { lease: this.#leaseKey }, { who: this.#who, ttlMs: 0 }));
    }
  }

  get #leaseKey(): string {
    return this.#parts.leaseKey;
  }

  async #begin(old: Version): Promise<Version> {
    const { versions, options } = this.#parts;
    const kind = options.engine === 'auto' ? old.engine.kind : options.engine;
    const wanted = options.definitionFor(kind);
    const definition = encodeDefinition(wanted);
    const number = await this.#run((commands) => nextVersion(commands, { record: versions.recordKey }, { definition }));
    const fresh = await versions.make(number, wanted);
    await fresh.engine.create(fresh.place);
    for (const { phase } of old.place.shards) await this.#run((commands) => commands.set(phase, 'building', 'NX'));
    return fresh;
  }

  async #copyAll(copy: VersionCopy, old: Version): Promise<void> {
    for await (const entries of this.#parts.store.scan(old.place)) {
      await this.#copy(
        copy,
        entries.map(([id]) => id),
        'copying',
      );
    }
    await copy.removeStrays(() => this.#keepLease());
  }

  /** Until hardly anything is noted any more. */
  async #catchUp(copy: VersionCopy, old: Version): Promise<void> {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      let noted = 0;
      for (const shard of old.place.shards) noted += await this.#copyNoted(copy, shard, 'catching up');
      if (noted < FEW) return;
    }
  }

  async #close(copy: VersionCopy, old: Version): Promise<void> {
    for (let attempt = 0; attempt < MOST_SEALS; attempt++) {
      const isSealed = await this.#everyShard(old, 'seal');
      if (isSealed) {
        for (const shard of old.place.shards) await this.#copyNoted(copy, shard, 'taking over');
        if (await this.#everyShard(old, 'close')) return;
      }
      await this.#everyShard(old, 'unseal');
      await this.#catchUp(copy, old);
    }
    const { name } = this.#parts.options;
    throw new MillraceError(
      'INDEX_BUSY',
      `vector index ${name}: too much is written to copy it within the seal; call rebuild() again`,
      { name },
    );
  }

  async #takeOver(old: Version, fresh: Version): Promise<void> {
    const { versions, options } = this.#parts;
    const versionNumbers = { old: old.number, new: fresh.number };
    const isSo = await this.#run((commands) => takeOver(commands, { record: versions.recordKey }, versionNumbers));
    if (!isSo) throw this.#busy(`vector index ${options.name}: another version has taken over meanwhile`);
    await fresh.engine.announce(fresh.place);
    await versions.refresh();
  }

  /** First for processes with other options, then for those that look seldom. */
  async #drop(old: Version): Promise<void> {
    const { versions, clock, followMs } = this.#parts;
    const { signal, keepOld = KEEP_OLD_MS } = this.#options;
    this.#tell('dropping');
    await clock.sleep(keepOld, { signal });
    await this.#run((commands) => commands.hdel(versions.recordKey, `version:${old.number}`));
    await clock.sleep(followMs * FOLLOWS_LATE, { signal });
    await old.engine.drop(old.place);
  }

  /** Versions that were begun and given up, or replaced and not dropped. */
  async #dropOthers(old: Version, fresh: Version): Promise<void> {
    const { versions } = this.#parts;
    for (const [field, definition] of Object.entries(await versions.record())) {
      const number = Number(/^version:(\d+)$/.exec(field)?.[1]);
      if (!Number.isSafeInteger(number) || number === old.number || number === fresh.number) continue;
      const other = await this.#versionOf(number, definition);
      await this.#run((commands) => commands.hdel(versions.recordKey, field));
      await other.engine.drop(other.place);
    }
  }

  /** Copies what is noted now; what is noted meanwhile is left to the next time, or this would have no end. */
  async #copyNoted(copy: VersionCopy, { dirty }: ShardKeys, phase: RebuildProgress['phase']): Promise<number> {
    const noted = await this.#run((commands) => commands.scard(dirty));
    for (let left = noted; left > 0; left -= VersionCopy.BATCH) {
      const ids = await this.#run((commands) => commands.spop(dirty, Math.min(left, VersionCopy.BATCH)));
      try {
        await this.#copy(copy, ids, phase);
      } catch (error) {
        if (ids.length > 0) await this.#run((commands) => commands.sadd(dirty, ...ids));
        throw error;
      }
    }
    return noted;
  }

  async #copy(copy: VersionCopy, ids: readonly string[], phase: RebuildProgress['phase']): Promise<void> {
    const { signal } = this.#options;
    for (let at = 0; at < ids.length; at += VersionCopy.BATCH) {
      signal?.throwIfAborted();
      await this.#keepLease();
      const batch = ids.slice(at, at + VersionCopy.BATCH);
      await copy.copy(batch, signal);
      if (phase === 'copying') this.#documents += batch.length;
      this.#tell(phase);
    }
  }

  async #checkRecall(fresh: Version): Promise<void> {
    const { minRecall, signal } = this.#options;
    if (minRecall === undefined) return;
    const { store, clock, options } = this.#parts;
    const { recall } = await selfTest(fresh, store, clock, { signal });
    if (recall >= minRecall) return;
    const { name } = options;
    const shown = recall.toFixed(3);
    throw new MillraceError(
      'INDEX_FAILED',
      `vector index ${name}: the new version finds ${shown} of what is near, expected ${minRecall}. Raise m and efConstruction; the old version is still used`,
      { name, recall, minRecall },
    );
  }

  async #everyShard(old: Version, act: 'seal' | 'unseal' | 'close'): Promise<boolean> {
    let isSo = true;
    for (const { phase, seal, dirty } of old.place.shards) {
      const args = { act, who: this.#who, ttlMs: SEAL_MS };
      isSo = (await this.#run((commands) => sealShard(commands, { phase, seal, dirty }, args))) && isSo;
    }
    return isSo;
  }

  async #keepLease(): Promise<void> {
    const args = { who: this.#who, ttlMs: LEASE_MS };
    const isHeld = await this.#run((commands) => keepLease(commands, { lease: this.#leaseKey }, args));
    if (!isHeld) throw this.#busy(`vector index ${this.#parts.options.name}: another process rebuilds it`);
  }

  async #versionOf(number: number, definition: string | undefined): Promise<Version> {
    const { versions, options } = this.#parts;
    if (definition === undefined) throw this.#busy(`vector index ${options.name}: version ${number} is gone`);
    return versions.make(number, decodeDefinition(definition));
  }

  #run<T>(call: (commands: ScriptClient) => Promise<T>): Promise<T> {
    const { guard, commands } = this.#parts;
    return guard.run(() => call(commands()));
  }

  #tell(phase: RebuildProgress['phase']): void {
    this.#options.onProgress?.({ documents: this.#documents, phase });
  }

  #busy(message: string): MillraceError {
    return new MillraceError('INDEX_BUSY', message, { name: this.#parts.options.name });
  }
}
