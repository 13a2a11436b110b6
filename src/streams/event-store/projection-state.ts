/** A projection as a store reads it: its documents, how far it has come, and how it is made anew. */
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { describeValue, MillraceError } from '../../errors.ts';
import { parseWith } from '../../payload.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { createBatch } from '../../redis/batch.ts';
import { checkOptions, durationOption } from '../../schema.ts';
import { askRedis } from './ask-redis.ts';
import type { StoreCore } from './core.ts';
import { checkName } from './names.ts';
import { signalOption } from './options.ts';
import type { CheckedProjection } from './projection.ts';
import { Projector, type Build } from './projector.ts';
import { PAGE } from './reader.ts';
import { startRebuild, swapBuild } from './scripts.ts';

/** How far a projection has come. */
export interface ProjectionProgress {
  /** The position of the last event that counts in its documents. */
  readonly position: number;
  /** The position of the last event of the store. */
  readonly top: number;
  /** How many events it has still to look at. */
  readonly behind: number;
  /** Whether a rebuild is under way, and how far it has come. */
  readonly rebuilding: number | undefined;
}

/** Options of what takes long. */
export interface WaitOptions {
  signal?: AbortSignal | undefined;
}

/** What became of one page. */
interface Advance {
  readonly outcome: 'moved' | 'other' | 'gone';
  readonly at: number;
  /** There was nothing behind it at that moment. */
  readonly isLast: boolean;
  readonly isEmpty: boolean;
}

const SCAN_COUNT = 250;
/** Documents of the build that was replaced stay for those who read them at that moment. */
const KEEP_OLD_MS = 60_000;
const SHORTEST_LOOK_MS = 5;
const LONGEST_LOOK_MS = 100;

const waitSchema = z.strictObject({ signal: signalOption.optional() });
const waitForSchema = z.strictObject({ signal: signalOption.optional(), within: durationOption.default(5_000) });
const rebuildSchema = z.strictObject({ signal: signalOption.optional(), keepOld: durationOption.default(KEEP_OLD_MS) });

/** Reads and makes the documents of one projection. */
export class ProjectionState<Document = unknown> {
  readonly #core: StoreCore;
  readonly #checked: CheckedProjection<Document>;
  readonly #projector: Projector;
  /** Which build was read last; each read looks whether it still is the one. */
  #known = '1';

  constructor(core: StoreCore, checked: CheckedProjection<Document>) {
    this.#core = core;
    this.#checked = checked;
    this.#projector = new Projector(core, checked);
  }

  /** The document; undefined when there is none. */
  async get(key: string): Promise<Document | undefined> {
    return (await this.getMany([key])).get(key);
  }

  /** The documents of these keys, all of one moment; those that are not there are missing from the map. */
  async getMany(keys: readonly string[]): Promise<Map<string, Document>> {
    for (const key of keys) checkName('document key', key);
    if (keys.length === 0) return new Map();
    for (;;) {
      const batch = createBatch(this.#core.connections.commands());
      const live = batch.command('HGET', this.#projector.keys.builds, 'live');
      const found = batch.command('HMGET', this.#projector.keys.documents(this.#known), ...keys);
      await batch.send();
      const build = (await live) as string | null;
      if (build !== null && build !== this.#known) {
        this.#known = build;
        continue;
      }
      const documents = new Map<string, Document>();
      for (const [index, json] of ((await found) as Array<string | null>).entries()) {
        if (json !== null) documents.set(keys[index] ?? '', await this.#parse(json));
      }
      return documents;
    }
  }

  /**
   * All documents, in no order. One that changes meanwhile comes as it was or as it is; so does one that a rebuild changes. When a rebuild has
   * removed the documents that it replaced before they were all read, the others come from the new ones.
   */
  async *entries(): AsyncGenerator<[key: string, document: Document], void, undefined> {
    let { build } = await this.#projector.live();
    const seen = new Set<string>();
    let cursor = '0';
    for (;;) {
      const { next, list, isGone } = await this.#scan(build, cursor);
      for (let at = 0; at < list.length; at += 2) {
        const [key = '', json = ''] = list.slice(at, at + 2);
        if (seen.has(key)) continue; // A scan may give the same one again.
        seen.add(key);
        yield [key, await this.#parse(json)];
      }
      if (isGone) ({ build } = await this.#projector.live());
      else if (next === '0') return;
      cursor = isGone ? '0' : next;
    }
  }

  /** How many documents there are. */
  async count(): Promise<number> {
    const { build } = await this.#projector.live();
    return this.#ask((client) => client.hlen(this.#projector.keys.documents(build)));
  }

  /** How far it has come. */
  async progress(): Promise<ProjectionProgress> {
    const [{ at }, builds, top] = await Promise.all([this.#projector.live(), this.#builds(), this.#core.reader.top()]);
    const { next } = builds;
    return {
      position: at,
      top,
      behind: Math.max(0, top - at),
      rebuilding: next === undefined ? undefined : Number(builds[`at:${next}`] ?? 0),
    };
  }

  /**
   * Makes all events count that are there now, in this process; safe beside others that do the same. For tests, scripts, and who must not wait.
   *
   * @returns the position that it has come to
   * @throws what a handler throws
   */
  async catchUp(options: WaitOptions = {}): Promise<number> {
    const { signal = new AbortController().signal } = checkOptions(waitSchema, options, 'catchUp');
    const target = await this.#core.reader.top();
    let current = await this.#projector.live();
    while (current.at < target) {
      const { outcome, at, isEmpty } = await this.#advance(current, signal);
      if (isEmpty) break; // Redis has lost what was there.
      current = outcome === 'gone' ? await this.#projector.live() : { ...current, at };
    }
    return current.at;
  }

  /**
   * Waits until the event at the position counts, such as the one that was appended a moment ago.
   *
   * @example
   * const { position } = await store.append('order-42', [{ type: 'shipped', data: { carrier: 'post' } }]);
   * if (!(await store.projection(orderList).waitFor(position, { within: '2s' }))) return 'in a moment';
   * @returns whether it did in time
   */
  async waitFor(position: number, options: WaitOptions & { within?: Duration | undefined } = {}): Promise<boolean> {
    const { signal, within } = checkOptions(waitForSchema, options, 'waitFor');
    if (!Number.isSafeInteger(position) || position < 0) {
      const message = `waitFor: position: expected a whole number, 0 or more, got ${describeValue(position)}`;
      throw new MillraceError('OPTIONS_INVALID', message, {});
    }
    const { clock } = this.#core;
    const untilMs = clock.monotonicMs() + within;
    for (let lookMs = SHORTEST_LOOK_MS; ; lookMs = Math.min(lookMs * 2, LONGEST_LOOK_MS)) {
      signal?.throwIfAborted();
      if ((await this.#projector.live()).at >= position) return true;
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) return false;
      await clock.sleep(Math.min(lookMs, leftMs), { signal });
    }
  }

  /**
   * Makes all documents anew from the first event, beside those that are read, and puts them in their place once they have come as far.
   * Readers see the old ones until then. One that was broken off is gone on with by the next call with the same code; several at once share the work.
   *
   * @returns the position that the new documents had come to
   * @throws the signal's reason; what a handler throws; MillraceError LEASE_LOST when a rebuild by other code has taken its place
   */
  async rebuild(options: WaitOptions & { keepOld?: Duration | undefined } = {}): Promise<number> {
    const { signal = new AbortController().signal, keepOld } = checkOptions(rebuildSchema, options, 'rebuild');
    await this.#projector.live();
    const build = await this.#startRebuild();
    let current: Build = { build, at: await this.#atOf(build) };
    for (;;) {
      const { outcome, at, isLast } = await this.#advance(current, signal);
      if (outcome === 'gone') {
        if ((await this.#projector.live()).build === build) return at;
        throw new MillraceError(
          'LEASE_LOST',
          `a rebuild of ${this.#checked.name} by other code has taken the place of this one`,
          {},
        );
      }
      current = { build, at };
      if (isLast && (await this.#swap(build, keepOld))) return at;
    }
  }

  /** Documents of a build from a cursor on; it is gone when a rebuild has taken its place and they were removed, so that the scan ends early. */
  async #scan(build: string, cursor: string): Promise<{ next: string; list: string[]; isGone: boolean }> {
    const { builds, documents } = this.#projector.keys;
    const batch = createBatch(this.#core.connections.commands());
    const scanned = batch.command('HSCAN', documents(build), cursor, 'COUNT', SCAN_COUNT);
    const live = batch.command('HGET', builds, 'live');
    const exists = batch.command('EXISTS', documents(build));
    await batch.send();
    const [next, list] = (await scanned) as [string, string[]];
    return { next, list, isGone: (await live) !== build && (await exists) === 0 };
  }

  /** One page further. */
  async #advance(current: Build, signal: AbortSignal): Promise<Advance> {
    signal.throwIfAborted();
    const refs = await this.#core.reader.refs(current.at + 1, PAGE);
    if (refs.length === 0) {
      const at = await this.#atOf(current.build, Number.NaN);
      const isGone = Number.isNaN(at);
      return { outcome: isGone ? 'gone' : 'other', at: isGone ? current.at : at, isLast: true, isEmpty: true };
    }
    const { outcome, at } = await this.#projector.step(current, refs, signal);
    return { outcome, at, isLast: refs.length < PAGE && at === refs.at(-1)?.position, isEmpty: false };
  }

  async #startRebuild(): Promise<string> {
    const { builds, documents } = this.#projector.keys;
    for (;;) {
      const { next: found = '' } = await this.#builds();
      const abandoned = documents(found || '0');
      const { recipe } = this.#checked;
      const build = await startRebuild(this.#core.connections.commands(), { builds, abandoned }, { found, recipe });
      if (build !== undefined) return build;
    }
  }

  /** @returns whether the new build is the one that is read now */
  async #swap(build: string, keepMs: number): Promise<boolean> {
    const { build: old } = await this.#projector.live();
    if (old === build) return true;
    const { builds, documents } = this.#projector.keys;
    const commands = this.#core.connections.commands();
    const keys = { builds, oldDocuments: documents(old) };
    const swapped = await swapBuild(commands, keys, { old, new: build, keepMs });
    // `changed` is found out by the next step: either somebody else has swapped, or the build is gone.
    if (swapped === 'behind') await this.#core.clock.sleep(SHORTEST_LOOK_MS);
    return swapped === 'swapped';
  }

  async #atOf(build: string, ifNone = 0): Promise<number> {
    const at = await this.#ask((client) => client.hget(this.#projector.keys.builds, `at:${build}`));
    return at === null ? ifNone : Number(at);
  }

  #builds(): Promise<Record<string, string>> {
    return this.#ask((client) => client.hgetall(this.#projector.keys.builds));
  }

  #ask<T>(question: (client: RedisClient) => Promise<T>): Promise<T> {
    return askRedis(this.#core.connections, question);
  }

  async #parse(json: string): Promise<Document> {
    return parseWith(this.#checked.document, JSON.parse(json), this.#checked.rule.what);
  }
}
