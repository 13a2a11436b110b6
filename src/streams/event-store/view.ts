/**
 * What the handlers of a projection see of its documents: those in Redis, and over them what the events of this batch made of them.
 *
 * Nothing is written until the whole batch is. What a handler did that fails is taken back, so that the events before it can be kept.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { MillraceError } from '../../errors.ts';
import { encodePayload, parseWith, type PayloadRule } from '../../payload.ts';
import { checkName } from './names.ts';

/** The documents of a projection, as its handlers read and write them. */
export interface View<Input = unknown, Output = Input> {
  /** The document; undefined when there is none. What is done to it counts only once it is set. */
  get(key: string): Promise<Output | undefined>;
  /** @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, KEY_INVALID */
  set(key: string, document: Input): Promise<void>;
  delete(key: string): void;
}

/** The view of a projection whose documents have this schema. */
export type ViewOf<Doc extends StandardSchemaV1> = View<
  StandardSchemaV1.InferInput<Doc>,
  StandardSchemaV1.InferOutput<Doc>
>;

/** So many documents of one event fit into one script. */
const MOST_OF_EVENT = 1_000;

/** Reads documents as JSON; null where there is none. */
export type DocumentLoader = (keys: readonly string[]) => Promise<ReadonlyArray<string | null>>;

/** The documents of one batch. */
export class BatchView implements View {
  readonly #rule: PayloadRule;
  readonly #load: DocumentLoader;
  readonly #loaded = new Map<string, string | null>();
  /** What events made of documents; null for a removed one. */
  readonly #kept = new Map<string, string | null>();
  #event = new Map<string, string | null>();
  #setting: Array<Promise<void>> = [];
  #bytes = 0;

  constructor(rule: PayloadRule, load: DocumentLoader) {
    this.#rule = rule;
    this.#load = load;
  }

  /** How much the batch has become. */
  get size(): { documents: number; bytes: number } {
    return { documents: this.#kept.size, bytes: this.#bytes };
  }

  /** Loads documents that will be asked for, in one round trip. */
  async prefetch(keys: readonly string[]): Promise<void> {
    const missing = [...new Set(keys)].filter((key) => !this.#loaded.has(key));
    if (missing.length === 0) return;
    const documents = await this.#load(missing);
    for (const [index, key] of missing.entries()) this.#loaded.set(key, documents[index] ?? null);
  }

  async get(key: string): Promise<unknown> {
    checkName('document key', key);
    let json = this.#event.get(key);
    if (json === undefined) json = this.#kept.get(key);
    if (json === undefined) {
      await this.prefetch([key]);
      json = this.#loaded.get(key);
    }
    if (json === undefined || json === null) return undefined;
    return parseWith(this.#rule.schema, JSON.parse(json), this.#rule.what);
  }

  set(key: string, document: unknown): Promise<void> {
    const setting = this.#set(key, document);
    // A handler may return without having awaited it: then keep() does, and meets its failure.
    setting.catch(() => undefined);
    this.#setting.push(setting);
    return setting;
  }

  delete(key: string): void {
    checkName('document key', key);
    this.#event.set(key, null);
    this.#checkRoom();
  }

  /** What the event did counts. @throws what a set() throws that the handler has not awaited */
  async keep(): Promise<void> {
    await Promise.all(this.#setting.splice(0));
    for (const [key, json] of this.#event) {
      this.#kept.set(key, json);
      this.#bytes += json?.length ?? 0;
    }
    this.#event = new Map();
  }

  /** What the event did does not count. A handler that was given up on may still write; it writes to nowhere. */
  drop(): void {
    this.#event = new Map();
    this.#setting = [];
  }

  /** Of each document: key, set or delete, JSON. */
  changes(): string[] {
    return [...this.#kept].flatMap(([key, json]) => (json === null ? [key, 'delete', ''] : [key, 'set', json]));
  }

  async #set(key: string, document: unknown): Promise<void> {
    checkName('document key', key);
    const event = this.#event;
    const json = encodePayload(document, { ...this.#rule, what: `${this.#rule.what} ${key}` });
    // At once where the schema answers at once, so that a get() that follows sees it even if nothing was awaited.
    event.set(key, typeof json === 'string' ? json : await json);
    this.#checkRoom();
  }

  #checkRoom(): void {
    if (this.#event.size <= MOST_OF_EVENT) return;
    const { contract } = this.#rule;
    const message = `${contract}: one event may change ${MOST_OF_EVENT} documents at most`;
    throw new MillraceError('PAYLOAD_TOO_LARGE', message, { contract, documents: this.#event.size });
  }
}
