/**
 * An aggregate: the state of one stream, as a function makes it of the stream's events.
 *
 * Promise: update() decides on the state of a version, and its events are appended only behind that version; whoever was overtaken decides anew.
 * A snapshot only saves reading: one that was made by other code, or cannot be read, is as if it were not there.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { describeValue, MillraceError } from '../../errors.ts';
import { checkOptions, faultsError } from '../../schema.ts';
import { streamNameOption } from '../contract.ts';
import type { AppendResult } from './event-store.ts';
import { formsOf, type EventsContract, type EventSchemas, type NewEvent, type RecordedEvent } from './contract.ts';
import type { StoreCore } from './core.ts';
import { decodeEvent } from './decode.ts';
import { storedEventOf, type StoredEvent } from './entry.ts';
import { checkName } from './names.ts';
import { signalOption, type ExpectedVersion } from './options.ts';
import { PAGE } from './reader.ts';
import { load, saveSnapshot } from './scripts.ts';

/** How the state of a stream is made. */
export interface AggregateOptions<Schemas extends EventSchemas, State> {
  /** Tells its snapshots from those of other aggregates of the store. */
  name: string;
  /** The state before the first event. */
  initial: () => State;
  /** The state after an event. May change the state that it is given, and return it. Events that it does not know it must pass over. */
  apply: (state: State, event: RecordedEvent<Schemas>) => State;
  /** After how many events a snapshot is kept; the state must be plain JSON then. Default: never. 100 or more, because a snapshot costs as much as some events. */
  snapshotEvery?: number | undefined;
  /** Raise it when the same state is made otherwise. What `initial` and `apply` say themselves is seen without it, what functions say that they call, and transforms of schemas, is not. Default 1. */
  schemaVersion?: number | undefined;
}

/** The state of a stream. */
export interface Loaded<State> {
  readonly state: State;
  /** Of its last event; 0 when it has never had one. */
  readonly version: number;
}

/** Options of update(). */
export interface UpdateOptions {
  /** How often it is decided anew when others were quicker. Default 5. */
  attempts?: number | undefined;
  /** Makes it safe to ask for the same again: a command of this id counts once in the stream. */
  commandId?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** What came of an update. */
export type UpdateResult =
  | AppendResult
  /** The function gave no events. */
  | { readonly status: 'unchanged'; readonly version: number };

const DEFAULT_ATTEMPTS = 5;
/** Those who were overtaken by the same one should not meet again. */
const APART_MS = 10;

const functionOption = z.custom<(...args: never[]) => unknown>((value) => typeof value === 'function', {
  error: 'expected a function',
});
const aggregateSchema = z.strictObject({
  name: streamNameOption,
  initial: functionOption,
  apply: functionOption,
  snapshotEvery: z.number().int().min(1).optional(),
  schemaVersion: z.number().int().min(1).default(1),
});
const updateSchema = z.strictObject({
  attempts: z.number().int().min(1).max(1_000).default(DEFAULT_ATTEMPTS),
  commandId: z.string().min(1).max(500).optional(),
  signal: signalOption.optional(),
});

type Append<Schemas extends EventSchemas> = (
  streamId: string,
  events: ReadonlyArray<NewEvent<Schemas>>,
  options: { expected: ExpectedVersion },
) => Promise<AppendResult>;

/** Loads and updates the streams of one kind. */
export class Aggregate<Schemas extends EventSchemas, State> {
  readonly #core: StoreCore<Schemas>;
  readonly #options: AggregateOptions<Schemas, State>;
  /** Of the code that makes its snapshots. */
  readonly #hash: string;
  readonly #append: Append<Schemas>;
  #hasWarned = false;

  constructor(core: StoreCore<Schemas>, options: AggregateOptions<Schemas, State>, append: Append<Schemas>) {
    checkOptions(aggregateSchema, options, 'aggregate');
    this.#core = core;
    this.#options = options;
    this.#append = append;
    this.#hash = options.snapshotEvery === undefined ? '-' : hashOf(core.contract, options as never);
  }

  /**
   * The state of a stream now.
   *
   * @throws MillraceError EVENT_UNREADABLE; what `apply` throws
   */
  async load(streamId: string): Promise<Loaded<State>> {
    checkName('stream id', streamId);
    const { state, version } = await this.#load(streamId, '');
    return { state, version };
  }

  /**
   * Decides on the state what shall happen, and appends it, if nothing else has happened meanwhile; else it decides anew.
   *
   * @example
   * const result = await orders.update('order-42', (state) => {
   *   if (state.status !== 'placed') throw new Error(`order is ${state.status}`);
   *   return [{ type: 'shipped', data: { carrier: 'post' } }];
   * }, { commandId: request.id });
   * if (result.status === 'conflict') return 'too many at once, try again';
   * @throws what the function throws; the signal's reason; as append() does
   */
  async update(
    streamId: string,
    decide: (
      state: State,
      at: { readonly version: number },
    ) => ReadonlyArray<NewEvent<Schemas>> | Promise<ReadonlyArray<NewEvent<Schemas>>>,
    options: UpdateOptions = {},
  ): Promise<UpdateResult> {
    checkName('stream id', streamId);
    const { attempts, commandId, signal } = checkOptions(updateSchema, options, 'update');
    if (typeof decide !== 'function')
      throw new MillraceError('OPTIONS_INVALID', 'update: expected a function that gives events', {});
    if (commandId !== undefined) checkName('command id', commandId);
    let wasTaken = false;
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      const { state, version, doneAt } = await this.#load(streamId, commandId ?? '');
      if (doneAt > 0)
        return { status: 'duplicate', version: doneAt, position: await this.#positionOf(streamId, doneAt) };
      const given = await decide(state, { version });
      if (!Array.isArray(given)) throw noList(given);
      if (given.length === 0) return { status: 'unchanged', version };
      const events =
        commandId === undefined ? given : given.map((event, index) => ({ ...event, id: eventIdOf(commandId, index) }));
      let result: AppendResult;
      try {
        result = await this.#append(streamId, events, { expected: version });
      } catch (error) {
        // The same command was carried out meanwhile, with another number of events; the next load finds it.
        if (commandId === undefined || wasTaken || !isIdTaken(error)) throw error;
        wasTaken = true;
        continue;
      }
      if (result.status !== 'conflict' || attempt >= attempts) return result;
      await this.#core.clock.sleep(APART_MS * attempt * Math.random(), { signal });
    }
  }

  async #load(streamId: string, commandId: string): Promise<Loaded<State> & { doneAt: number }> {
    for (;;) {
      const loaded = await this.#tryLoad(streamId, commandId);
      if (loaded) return loaded;
    }
  }

  /** @returns undefined when the stream was erased meanwhile, so that what was read is to be forgotten */
  async #tryLoad(streamId: string, commandId: string): Promise<(Loaded<State> & { doneAt: number }) | undefined> {
    const { connections, keys, reader } = this.#core;
    const { name, initial, snapshotEvery } = this.#options;
    const { stream, snapshots, ids } = keys.of(streamId);
    const {
      version,
      from,
      state: kept,
      doneAt,
      entries,
    } = await load(
      connections.commands(),
      { versions: keys.versions, stream, snapshots, ids },
      { streamId, aggregate: name, hash: this.#hash, commandId, count: PAGE },
    );
    const snapshot = from > 0 ? this.#parse(streamId, kept) : undefined;
    // One that cannot be read is as if it were not there; then what was read is not from the first event on.
    const isBroken = from > 0 && snapshot === undefined;
    let state = snapshot ? snapshot.state : initial();
    const begun = isBroken ? 0 : from;
    let last = begun;
    let page = isBroken
      ? await reader.stream(streamId, { from: 1, count: PAGE, backwards: false })
      : entries.map((entry) => storedEventOf(streamId, entry));
    const first = page[0]?.version ?? 0;
    for (;;) {
      for (const stored of page) state = await this.#apply(state, stored);
      last = page.at(-1)?.version ?? last;
      if (page.length < PAGE || last >= version) break;
      page = await reader.stream(streamId, { from: last + 1, count: PAGE, backwards: false });
      if (page[0]?.version !== last + 1 && !(await this.#isThere(streamId, first))) return undefined;
    }
    if (snapshotEvery !== undefined && last - begun >= snapshotEvery)
      await this.#keepSnapshot(streamId, { first, last }, state);
    // A stream whose last events were erased still has their versions.
    return { state, version: Math.max(version, last), doneAt };
  }

  async #apply(state: State, stored: StoredEvent): Promise<State> {
    return this.#options.apply(state, await decodeEvent(this.#core.contract, stored));
  }

  #parse(streamId: string, json: string): { state: State } | undefined {
    try {
      return { state: JSON.parse(json) as State };
    } catch (error) {
      this.#core.log.warn(
        { err: error, streamId, aggregate: this.#options.name },
        'a snapshot cannot be read; it is made anew',
      );
      return undefined;
    }
  }

  /** Best effort: without it, the next load reads more events. */
  async #keepSnapshot(streamId: string, read: { first: number; last: number }, state: State): Promise<void> {
    const { connections, keys, log } = this.#core;
    const { name } = this.#options;
    if (!isPlain(state)) {
      if (!this.#hasWarned)
        log.warn({ aggregate: name }, 'the state of an aggregate is not plain JSON, so it has no snapshots');
      this.#hasWarned = true;
      return;
    }
    const { snapshots, stream } = keys.of(streamId);
    try {
      const { first, last: version } = read;
      const args = { aggregate: name, first, version, hash: this.#hash, state: JSON.stringify(state) };
      await saveSnapshot(connections.commands(), { snapshots, stream }, args);
    } catch (error) {
      log.warn({ err: error, streamId, aggregate: name }, 'a snapshot could not be kept');
    }
  }

  async #isThere(streamId: string, version: number): Promise<boolean> {
    return (await this.#positionOf(streamId, version)) > 0;
  }

  async #positionOf(streamId: string, version: number): Promise<number> {
    const [event] = await this.#core.reader.stream(streamId, { from: version, count: 1, backwards: false });
    return event?.version === version ? event.position : 0;
  }
}

function noList(given: unknown): MillraceError {
  const reason = `expected a list of events, got ${describeValue(given)}`;
  return faultsError('INPUT_INVALID', 'update', [{ path: 'decide', reason }]);
}

function isIdTaken(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'EVENT_ID_TAKEN';
}

/** load.lua looks for these. */
function eventIdOf(commandId: string, index: number): string {
  return `${commandId}/${index}`;
}

/** Of all that is seen from here of how the state is made. */
function hashOf(contract: EventsContract, options: AggregateOptions<EventSchemas, unknown>): string {
  const { schemaVersion = 1, initial, apply } = options;
  const parts = [schemaVersion, String(initial), String(apply), formsOf(contract)];
  return createHash('sha1').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Whether the state comes back from JSON as it is; a property that is undefined may be lost on the way. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null)
    return ['string', 'boolean'].includes(typeof value) || value === null;
  if (Array.isArray(value)) return value.every(isPlain);
  const prototype: unknown = Object.getPrototypeOf(value);
  if ((prototype !== Object.prototype && prototype !== null) || 'toJSON' in value) return false;
  return Object.values(value).every((inner) => inner === undefined || isPlain(inner));
}
