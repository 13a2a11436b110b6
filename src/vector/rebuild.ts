/**
 * A new version of an index, built beside the one that is used, until it takes over.
 *
 *   begin --> copy all --> copy what changed meanwhile, again and again --> seal --> copy the rest --> close --> take over --> drop
 *
 * From the begin on, each write notes the document that it changes. The seal stops writes for the moment that the last notes take; whoever
 * writes waits. A shard is closed for good only while it is sealed and nothing is noted, so no write is lost, whoever dies when. Who builds
 * stands in the shards of both versions: whoever built before, and was away for longer than its lease, can neither write the new version
 * nor close the old one any more. What is cut off before the take-over is begun again by the next rebuild(), which finds most of it done;
 * when all shards are closed, the next one who writes lets the new version take over. A version that goes has its name in the record until
 * nothing of it is left, so a drop that was cut off is done by the next rebuild().
 */
import { randomBytes } from 'node:crypto';
import { MillraceError } from '../errors.ts';
import { checkOptions, durationOption, functionOption } from '../schema.ts';
import type { ScriptClient } from '../redis/script.ts';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { decodeDefinition, encodeDefinition } from './definition.ts';
import { VersionCopy } from './version-copy.ts';
import type { VectorItem } from './documents.ts';
import { indexFailed } from './engine.ts';
import type { ShardKeys } from './layout.ts';
import { buildShard, keepLease, nextVersion, retireVersion, takeNoted } from './scripts.ts';
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
  load: functionOption.optional(),
  keepOld: durationOption.optional(),
  minRecall: z.number().min(0).max(1).optional(),
  onProgress: functionOption.optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
});

type ParsedOptions = Readonly<Omit<z.output<typeof optionsSchema>, 'load' | 'onProgress'>> &
  Pick<RebuildOptions, 'load' | 'onProgress'>;

const KEEP_OLD_MS = 10_000;
/** Renewed all the while; a process that is away for longer has lost it. */
const LEASE_MS = 60_000;
const RENEW_MS = LEASE_MS / 3;
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
  return new Rebuild(parts, checked).run();
}

class Rebuild {
  readonly #parts: IndexParts;
  readonly #options: ParsedOptions;
  readonly #who = randomBytes(9).toString('base64url');
  /** Aborted when another process builds instead. */
  readonly #lost = new AbortController();
  readonly #signal: AbortSignal;
  #documents = 0;

  constructor(parts: IndexParts, options: ParsedOptions) {
    this.#parts = parts;
    this.#options = options;
    const { signal } = this.#lost;
    this.#signal = options.signal ? AbortSignal.any([options.signal, signal]) : signal;
  }

  async run(): Promise<RebuildReport> {
    await this.#keepLease();
    const done = new AbortController();
    const renewing = this.#renewLease(done.signal);
    try {
      const { old, fresh } = await this.#begin();
      await this.#dropOthers(old, fresh);
      const copy = new VersionCopy(this.#parts, { old, fresh, builder: this.#who, load: this.#options.load });
      await this.#copyAll(copy, old);
      await this.#catchUp(copy, old);
      await this.#checkWhole(fresh);
      await this.#checkRecall(fresh);
      await this.#close(copy, old, fresh);
      await this.#takeOver(old, fresh);
      await this.#dropOld(old);
      return { version: fresh.number, documents: await this.#parts.store.count(fresh.place), embedded: copy.embedded };
    } finally {
      done.abort();
      await renewing;
      await this.#run((commands) => keepLease(commands, { lease: this.#leaseKey }, { who: this.#who, ttlMs: 0 }));
    }
  }

  get #leaseKey(): string {
    return this.#parts.leaseKey;
  }

  /** The version that is used notes from now on what changes, and the one that is built takes the writes of this process alone. */
  async #begin(): Promise<{ old: Version; fresh: Version }> {
    const { versions, options } = this.#parts;
    await versions.replace(await this.#current());
    const old = await this.#current();
    const wanted = options.definitionFor(options.engine === 'auto' ? old.engine.kind : options.engine);
    const definition = encodeDefinition(wanted);
    const number = await this.#run((commands) => nextVersion(commands, { record: versions.recordKey }, { definition }));
    const fresh = await versions.make(number, wanted);
    // With one shard that is not closed, nobody else can let another version take over.
    const begun = await this.#everyShard(old, fresh, 'begin');
    if (!begun.includes(true)) throw this.#busy(`another version takes over from version ${old.number}`);
    for (const { seal } of fresh.place.shards) await this.#run((commands) => commands.set(seal, this.#who));
    await fresh.engine.create(fresh.place);
    return { old, fresh };
  }

  async #current(): Promise<Version> {
    const record = await this.#parts.versions.record();
    const number = Number(record['current']);
    return this.#versionOf(number, record[`version:${number}`]);
  }

  async #copyAll(copy: VersionCopy, old: Version): Promise<void> {
    for await (const entries of this.#parts.store.scan(old.place)) {
      await this.#copy(
        copy,
        entries.map(([id]) => id),
        'copying',
      );
    }
    await copy.removeStrays(this.#signal);
  }

  /** Until hardly anything is noted any more. */
  async #catchUp(copy: VersionCopy, old: Version): Promise<void> {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      let noted = 0;
      for (const shard of old.place.shards) noted += await this.#copyNoted(copy, shard, 'catching up');
      if (noted < FEW) return;
    }
  }

  async #close(copy: VersionCopy, old: Version, fresh: Version): Promise<void> {
    for (let attempt = 0; attempt < MOST_SEALS; attempt++) {
      const sealed = await this.#everyShard(old, fresh, 'seal');
      if (!sealed.includes(false)) {
        for (const shard of old.place.shards) await this.#copyNoted(copy, shard, 'taking over');
        const closed = await this.#everyShard(old, fresh, 'close');
        if (!closed.includes(false)) return;
      }
      await this.#everyShard(old, fresh, 'unseal');
      await this.#catchUp(copy, old);
    }
    throw this.#busy('too much is written to copy it within the seal; call rebuild() again');
  }

  async #takeOver(old: Version, fresh: Version): Promise<void> {
    const { versions } = this.#parts;
    await versions.replace(old);
    const { current } = await versions.record();
    if (current !== String(fresh.number)) throw this.#busy('another version has taken over meanwhile');
    await versions.refresh();
  }

  /** The new version is used by now, so nothing of this is a failure of the rebuild. */
  async #dropOld({ number }: Version): Promise<void> {
    const { clock, log, options } = this.#parts;
    try {
      this.#tell('dropping');
      await clock.sleep(this.#options.keepOld ?? KEEP_OLD_MS, { signal: this.#signal });
      await this.#drop([number]);
    } catch (error) {
      const { name } = options;
      log.warn({ err: error, index: name, version: number }, 'an old version is left for the next rebuild() to drop');
    }
  }

  /** Versions that were begun and given up, or replaced and not dropped. */
  async #dropOthers(old: Version, fresh: Version): Promise<void> {
    const numbers = Object.keys(await this.#parts.versions.record()).flatMap((field) => {
      const number = /^(?:version|dropping):(\d+)$/.exec(field)?.[1];
      return number === undefined ? [] : [Number(number)];
    });
    await this.#drop(numbers.filter((number) => number !== old.number && number !== fresh.number));
  }

  /** First for processes with other options, then for those that look seldom. */
  async #drop(numbers: readonly number[]): Promise<void> {
    if (numbers.length === 0) return;
    const { versions, store, clock, followMs } = this.#parts;
    const record = versions.recordKey;
    for (const number of numbers) await this.#run((commands) => retireVersion(commands, { record }, { number }));
    await clock.sleep(followMs * FOLLOWS_LATE, { signal: this.#signal });
    const fields = await versions.record();
    for (const number of numbers) {
      const field = `dropping:${number}`;
      await store.drop(await this.#versionOf(number, fields[field]));
      await this.#run((commands) => commands.hdel(record, field));
    }
  }

  /** Copies what is noted now; what is noted meanwhile is left to the next time, or this would have no end. */
  async #copyNoted(copy: VersionCopy, shard: ShardKeys, told: RebuildProgress['phase']): Promise<number> {
    const { phase, dirty } = shard;
    const noted = await this.#run((commands) => commands.scard(dirty));
    for (let left = noted; left > 0; left -= VersionCopy.BATCH) {
      const args = { who: this.#who, most: Math.min(left, VersionCopy.BATCH) };
      const ids = await this.#run((commands) => takeNoted(commands, { phase, dirty }, args));
      if (!ids) throw this.#busy('another process rebuilds it');
      try {
        await this.#copy(copy, ids, told);
      } catch (error) {
        if (ids.length > 0) await this.#run((commands) => commands.sadd(dirty, ...ids));
        throw error;
      }
    }
    return noted;
  }

  async #copy(copy: VersionCopy, ids: readonly string[], phase: RebuildProgress['phase']): Promise<void> {
    for (let at = 0; at < ids.length; at += VersionCopy.BATCH) {
      this.#signal.throwIfAborted();
      const batch = ids.slice(at, at + VersionCopy.BATCH);
      await copy.copy(batch, this.#signal);
      if (phase === 'copying') this.#documents += batch.length;
      this.#tell(phase);
    }
  }

  /** A version in which something cannot be found is given up: the server never takes its count of failures back. */
  async #checkWhole({ engine, place }: Version): Promise<void> {
    await engine.settle(place, this.#signal);
    if (!engine.lastFailure) return;
    await this.#run((commands) => commands.hdel(this.#parts.versions.recordKey, 'building'));
    throw indexFailed(place.searchIndex, engine.lastFailure);
  }

  async #checkRecall(fresh: Version): Promise<void> {
    const { minRecall } = this.#options;
    if (minRecall === undefined) return;
    const { store, clock, options } = this.#parts;
    const { recall } = await selfTest(fresh, store, clock, { signal: this.#signal });
    if (recall === undefined && (await store.count(fresh.place)) === 0) return;
    if (recall !== undefined && recall >= minRecall) return;
    const { name } = options;
    const shown = recall?.toFixed(3) ?? 'an unknown part';
    throw new MillraceError(
      'INDEX_FAILED',
      `vector index ${name}: the new version finds ${shown} of what is near, expected ${minRecall}. Raise m and efConstruction; the old version is still used`,
      { name, recall, minRecall },
    );
  }

  /** What became of the act, shard by shard. */
  async #everyShard(old: Version, fresh: Version, act: 'begin' | 'seal' | 'unseal' | 'close'): Promise<boolean[]> {
    const args = { act, who: this.#who, number: fresh.number, ttlMs: SEAL_MS };
    const done: boolean[] = [];
    for (const { phase, seal, dirty } of old.place.shards) {
      done.push(await this.#run((commands) => buildShard(commands, { phase, seal, dirty }, args)));
    }
    return done;
  }

  async #keepLease(): Promise<void> {
    const args = { who: this.#who, ttlMs: LEASE_MS };
    const isHeld = await this.#run((commands) => keepLease(commands, { lease: this.#leaseKey }, args));
    if (!isHeld) throw this.#busy('another process rebuilds it');
  }

  async #renewLease(done: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#parts.clock.sleep(RENEW_MS, { signal: done });
        await this.#keepLease();
      }
    } catch (error) {
      this.#lost.abort(error);
    }
  }

  async #versionOf(number: number, definition: string | undefined): Promise<Version> {
    if (definition === undefined) throw this.#busy(`version ${number} is gone`);
    return this.#parts.versions.make(number, decodeDefinition(definition));
  }

  #run<T>(call: (commands: ScriptClient) => Promise<T>): Promise<T> {
    const { guard, commands } = this.#parts;
    return guard.run(() => call(commands()));
  }

  #tell(phase: RebuildProgress['phase']): void {
    this.#options.onProgress?.({ documents: this.#documents, phase });
  }

  #busy(why: string): MillraceError {
    const { name } = this.#parts.options;
    return new MillraceError('INDEX_BUSY', `vector index ${name}: ${why}`, { name });
  }
}
