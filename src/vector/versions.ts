/**
 * Which version of an index is read and written now.
 *
 * A process looks at the record of the index again and again: in the background when it has not for a while, first of all when it has not
 * for long. An old version stays for longer than that after another has taken over, so no search ever comes to one that is gone.
 */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { requireFeature, type Capabilities } from '../redis/capabilities.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { Guard } from '../redis/guard.ts';
import type { ScriptClient } from '../redis/script.ts';
import {
  decodeDefinition,
  differences,
  encodeDefinition,
  mismatch,
  type Definition,
  type EngineKind,
} from './definition.ts';
import type { Engine } from './engine.ts';
import type { Layout, Place } from './layout.ts';
import type { ParsedIndexOptions } from './options.ts';
import { compileSchema, type CompiledSchema } from './schema.ts';
import { openIndex, takeOver } from './scripts.ts';

/** So many times `follow` a process may have missed that another version took over. */
export const FOLLOWS_LATE = 5;

/** A version of an index, ready to be used. */
export interface Version {
  readonly number: number;
  readonly definition: Definition;
  readonly schema: CompiledSchema;
  readonly place: Place;
  readonly engine: Engine;
}

/** What versions are made of. */
export interface VersionParts {
  readonly options: ParsedIndexOptions;
  readonly layout: Layout;
  readonly commands: () => ScriptClient;
  readonly capabilities: () => Promise<Capabilities>;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Logger;
  readonly followMs: number;
  readonly engineFor: (definition: Definition, schema: CompiledSchema, capabilities: Capabilities) => Engine;
}

/** The record of an index: see layout.ts. */
export type IndexRecord = Readonly<Record<string, string>>;

export class Versions {
  readonly #parts: VersionParts;
  #known: { readonly version: Version; readonly atMs: number } | undefined;
  #refreshing: Promise<Version> | undefined;

  constructor(parts: VersionParts) {
    this.#parts = parts;
  }

  get recordKey(): string {
    return this.#parts.layout.record(this.#parts.options.name);
  }

  /**
   * The version to work with.
   *
   * @throws MillraceError INDEX_MISMATCH when the server has another one than the options say; CAPABILITY_MISSING
   */
  async current(): Promise<Version> {
    const { clock, followMs } = this.#parts;
    if (!this.#known || this.#known.version.engine.isGone) return this.refresh();
    const ageMs = clock.monotonicMs() - this.#known.atMs;
    if (ageMs > followMs * FOLLOWS_LATE) return this.refresh();
    if (ageMs > followMs) {
      this.refresh().catch((error: unknown) => {
        this.#parts.log.debug({ err: error }, 'the version of a vector index could not be looked up');
      });
    }
    return this.#known.version;
  }

  /** What is done with the version to work with; again, if it turns out that the server has lost what that version was made of. */
  async use<T>(work: (version: Version) => Promise<T>): Promise<T> {
    const version = await this.current();
    try {
      return await work(version);
    } catch (error) {
      if (!version.engine.isGone) throw error;
      return work(await this.current());
    }
  }

  /** As current(), once the server was asked. */
  refresh(): Promise<Version> {
    this.#refreshing ??= this.#look().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  /** The version that writes go to after this one has refused them. @throws MillraceError INDEX_MISMATCH */
  async after(closed: Version): Promise<Version> {
    await this.replace(closed);
    const version = await this.refresh();
    if (version.number !== closed.number) return version;
    const record = await this.record();
    const number = Number(record['current']);
    const json = record[`version:${number}`];
    if (json !== undefined && number !== closed.number) {
      const there = decodeDefinition(json);
      throw mismatch(this.#parts.options.name, number, differences(there, this.#own(there.engine)));
    }
    return version;
  }

  /**
   * Lets the version take over that this one is closed for, if all of its shards are. Whoever finds it so does it, since the process that
   * closed them may have died.
   */
  async replace(closed: Version): Promise<void> {
    const { commands, guard } = this.#parts;
    const phases = await Promise.all(closed.place.shards.map(({ phase }) => guard.run(() => commands().get(phase))));
    const [closedFor, ...others] = new Set(phases.map((phase) => /^closed (\d+)$/.exec(phase ?? '')?.[1]));
    if (closedFor === undefined || others.length > 0) return;
    const record = await this.record();
    const definition = record[`version:${closedFor}`];
    if (definition === undefined || record['current'] !== String(closed.number)) return;
    const { place, engine } = await this.make(Number(closedFor), decodeDefinition(definition));
    await Promise.all(place.shards.map(({ seal }) => guard.run(() => commands().del(seal))));
    const numbers = { old: closed.number, new: closedFor };
    await guard.run(() => takeOver(commands(), { record: this.recordKey }, numbers));
    await engine.announce(place);
  }

  /** The record of the index, as the server has it. */
  async record(): Promise<IndexRecord> {
    const { commands, guard } = this.#parts;
    return guard.run(() => commands().hgetall(this.recordKey));
  }

  /** A version of a definition. @throws MillraceError CAPABILITY_MISSING */
  async make(number: number, definition: Definition): Promise<Version> {
    const { options, layout, engineFor } = this.#parts;
    const capabilities = await this.#capabilities();
    requireFeature(capabilities, definition.engine === 'vector-sets' ? 'vectorSets' : 'queryEngine');
    if (definition.documents === 'json') requireFeature(capabilities, 'json');
    const schema = compileSchema(definition.schema, `index ${options.name}: schema`);
    const place = layout.place(options.name, number, definition.shards);
    return { number, definition, schema, place, engine: engineFor(definition, schema, capabilities) };
  }

  /** What the options say, on the engine that they name or that suits best. @throws MillraceError CAPABILITY_MISSING */
  async wanted(): Promise<Definition> {
    const { options } = this.#parts;
    if (options.engine !== 'auto') return options.definitionFor(options.engine);
    const { features } = await this.#capabilities();
    const looksForWords = [...options.schema.fields.values()].some(({ type }) => type === 'text' || type === 'geo');
    const takesQueryEngine = features.queryEngine && (looksForWords || !features.vectorSets);
    return options.definitionFor(takesQueryEngine ? 'query-engine' : 'vector-sets');
  }

  async #look(): Promise<Version> {
    const { clock, options } = this.#parts;
    const atMs = clock.monotonicMs();
    const record = await this.record();
    const { version: number, definition } = record['current'] ? readRecord(record) : await this.#begin();
    const known = this.#known?.version;
    // A server that lost the index may have another one under the same name and number by now.
    const there = known && isIn(record, known) ? known : undefined;
    if (there?.number === number && !there.engine.isGone) return this.#know(there, atMs);
    const faults = differences(definition, this.#own(definition.engine));
    if (faults.length > 0) {
      const error = mismatch(options.name, number, faults);
      if (!there) throw error;
      this.#parts.log.warn({ index: options.name, version: number }, `${error.message}; the old version is still read`);
      return this.#know(there, atMs);
    }
    const version = await this.make(number, definition);
    await version.engine.create(version.place);
    if (!record['current']) await version.engine.announce(version.place);
    return this.#know(version, atMs);
  }

  #know(version: Version, atMs: number): Version {
    this.#known = { version, atMs };
    return version;
  }

  async #begin(): Promise<{ version: number; definition: Definition }> {
    const { commands, guard } = this.#parts;
    const wanted = await this.wanted();
    await this.make(1, wanted); // Before anything is written for an engine that is not there.
    const definition = encodeDefinition(wanted);
    const opened = await guard.run(() => openIndex(commands(), { record: this.recordKey }, { definition }));
    return { version: opened.version, definition: decodeDefinition(opened.definition) };
  }

  /** What the options say, on the engine that is there where they leave it open. */
  #own(there: EngineKind): Definition {
    const { options } = this.#parts;
    return options.definitionFor(options.engine === 'auto' ? there : options.engine);
  }

  async #capabilities(): Promise<Capabilities> {
    try {
      return await this.#parts.capabilities();
    } catch (error) {
      throw explainRedisError(error, 'the server');
    }
  }
}

function isIn(record: IndexRecord, { number, definition }: Version): boolean {
  const json = record[`version:${number}`];
  return json !== undefined && encodeDefinition(decodeDefinition(json)) === encodeDefinition(definition);
}

function readRecord(record: IndexRecord): { version: number; definition: Definition } {
  const version = Number(record['current']);
  const json = record[`version:${version}`];
  if (json === undefined)
    throw new MillraceError('INDEX_MISMATCH', 'the record of the index names a version that it lacks', { version });
  return { version, definition: decodeDefinition(json) };
}
