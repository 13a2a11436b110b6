/**
 * Puts entries into streams.
 *
 * Promise: an entry whose publish resolves is in the stream, after all whose publish had been called before on this connection. Under an
 * idempotency key it is there once for as long as the key is kept, however often and from wherever it is published. What does not match its schema
 * is refused before anything is sent.
 * Redis down: it rejects. Whether the entry was added is then unknown where the answer was lost (REDIS_TIMEOUT, REDIS_UNREACHABLE); with a key
 * it can be published again without harm. Nothing is sent twice by itself.
 *
 * An entry without a key costs one XADD and the look of its schema; there is no script in between.
 */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import { encodePayload, type PayloadRule } from '../payload.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { checkStream, type StreamContract } from './contract.ts';
import { ENTRY_FIELDS, type Headers } from './entry.ts';
import type { StreamKeys } from './keys.ts';
import { publishScript, type Published } from './scripts.ts';
import type { PublishMeter } from './streams-metrics.ts';

/** Options of publish(). */
export interface PublishOptions {
  /** An idempotency key, such as the id of the request that it comes from: while it is kept, the entry is added once. Default: none. */
  key?: string | undefined;
  /** How long the key is kept. Default `1d`. Too short, and a publisher that repeats itself later adds a second entry. */
  keepKeyFor?: Duration | undefined;
  /** Texts that travel beside the data, 8 KB at most. Default: none. */
  headers?: Headers | undefined;
}

const LONGEST_KEY = 512;
const MAX_HEADERS_BYTES = 8_192;
const KEPT_FOR_MS = 86_400_000;
/** Entries of one round trip, and the characters after which it is full too. */
const CHUNK = 1_000;
const CHUNK_CHARS = 4_000_000;

const publishSchema = z.strictObject({
  key: z.string().min(1).max(LONGEST_KEY).optional(),
  keepKeyFor: durationOption.refine((ms) => ms >= 1, 'expected at least 1 ms').default(KEPT_FOR_MS),
  headers: z
    .record(z.string().min(1), z.string())
    .transform((headers) => (Object.keys(headers).length === 0 ? '' : JSON.stringify(headers)))
    .refine((json) => Buffer.byteLength(json) <= MAX_HEADERS_BYTES, 'expected at most 8192 bytes as JSON')
    .default(''),
});

type CheckedOptions = Readonly<z.output<typeof publishSchema>>;
const NO_OPTIONS: CheckedOptions = checkOptions(publishSchema, {}, 'publish');

/** What a publisher works with. */
export interface PublisherParts {
  readonly connections: Pick<Connections, 'commands' | 'label'>;
  readonly keys: (stream: string) => StreamKeys;
  readonly meter: (stream: string) => PublishMeter;
  /** Told of each contract when it is first seen. */
  readonly onContract: (contract: StreamContract) => void;
}

/** What is found out once for a contract. */
interface Route {
  readonly rule: PayloadRule;
  readonly keys: StreamKeys;
  readonly entries: string;
  readonly meter: PublishMeter;
  readonly added: (id: string | null) => Published;
  readonly failed: (error: unknown) => never;
}

interface Item {
  readonly json: string;
  readonly options: CheckedOptions;
}

export class Publisher {
  readonly #parts: PublisherParts;
  readonly #routes = new WeakMap<StreamContract, Route>();

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  /** @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, OPTIONS_INVALID, or what Redis met. */
  publish(contract: StreamContract, data: unknown, options: PublishOptions | undefined): Promise<Published> {
    try {
      const route = this.#routeOf(contract);
      const checked = options === undefined ? NO_OPTIONS : checkPublish(options, contract);
      const json = encodePayload(data, route.rule);
      if (typeof json === 'string') return this.#publish(route, json, checked);
      return json.then((settled) => this.#publish(route, settled, checked));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Likewise, for many: all are checked before the first is sent. */
  async publishMany<Input>(
    contract: StreamContract<Input, unknown>,
    list: readonly Input[],
    options: PublishOptions | ((data: Input, index: number) => PublishOptions) | undefined,
  ): Promise<Published[]> {
    const route = this.#routeOf(contract);
    const items = await layOut(contract, route.rule, list, options);
    const results: Published[] = [];
    for (const chunk of chunksOf(items)) {
      try {
        results.push(...(await this.#send(route, chunk)));
      } catch (error) {
        throw partly(error, results, chunk.length, items.length);
      }
    }
    return results;
  }

  #publish(route: Route, json: string, { key, headers, keepKeyFor }: CheckedOptions): Promise<Published> {
    if (key !== undefined) {
      return this.#send(route, [{ json, options: { key, headers, keepKeyFor } }]).then(
        ([published]) => published as Published,
      );
    }
    const client = this.#parts.connections.commands();
    const answer =
      headers === ''
        ? client.xadd(route.entries, '*', ENTRY_FIELDS.data, json)
        : client.xadd(route.entries, '*', ENTRY_FIELDS.data, json, ENTRY_FIELDS.headers, headers);
    return answer.then(route.added, route.failed);
  }

  async #send({ entries, keys, meter }: Route, chunk: readonly Item[]): Promise<Published[]> {
    const sent: string[] = [];
    const items: Array<string | number> = [];
    for (const { json, options } of chunk) {
      if (options.key !== undefined) sent.push(keys.sent(options.key));
      items.push(json, options.headers, options.key ?? '', options.keepKeyFor);
    }
    try {
      const published = await publishScript(this.#parts.connections.commands(), { entries, sent }, { items });
      for (const { status } of published) meter.count(status);
      return published;
    } catch (error) {
      meter.count('failed', chunk.length);
      throw error;
    }
  }

  #routeOf(contract: StreamContract): Route {
    return this.#routes.get(contract) ?? this.#createRoute(contract);
  }

  #createRoute(contract: StreamContract): Route {
    checkStream(contract);
    const { name, schema, maxBytes } = contract;
    const { keys, connections, onContract } = this.#parts;
    const meter = this.#parts.meter(name);
    const { label } = connections;
    const route: Route = {
      rule: { schema, contract: name, what: `an entry of ${name}`, maxBytes },
      keys: keys(name),
      entries: keys(name).entries,
      meter,
      added: (id) => {
        meter.count('added');
        return { id: id as string, status: 'added' };
      },
      failed: (error) => {
        meter.count('failed');
        throw explainRedisError(error, label);
      },
    };
    this.#routes.set(contract, route);
    onContract(contract);
    return route;
  }
}

function checkPublish(options: PublishOptions, contract: StreamContract): CheckedOptions {
  return checkOptions(publishSchema, options, `publish to ${contract.name}`);
}

/** Every entry as it travels; what is wrong with one names its place. */
async function layOut<Input>(
  contract: StreamContract,
  rule: PayloadRule,
  list: readonly Input[],
  options: PublishOptions | ((data: Input, index: number) => PublishOptions) | undefined,
): Promise<Item[]> {
  if (!Array.isArray(list))
    throw new MillraceError('OPTIONS_INVALID', `publishMany to ${contract.name}: expected a list of data`, {});
  const same = typeof options === 'function' || options === undefined ? NO_OPTIONS : checkPublish(options, contract);
  if (same.key !== undefined && list.length > 1) {
    const reason = 'expected none for all of them, or only the first would be added; give a function of the data';
    throw new MillraceError('OPTIONS_INVALID', `publishMany to ${contract.name}: key: ${reason}`, {});
  }
  const items: Item[] = [];
  for (const [index, data] of list.entries()) {
    try {
      const checked = typeof options === 'function' ? checkPublish(options(data as Input, index), contract) : same;
      const encoded = encodePayload(data, rule);
      items.push({ json: typeof encoded === 'string' ? encoded : await encoded, options: checked });
    } catch (error) {
      if (!isMillraceError(error)) throw error;
      const message = `entry ${index} of ${list.length}: ${error.message}; nothing was published`;
      throw new MillraceError(error.code, message, { ...error.facts, index, cause: error });
    }
  }
  return items;
}

function* chunksOf(items: readonly Item[]): Generator<Item[]> {
  let chunk: Item[] = [];
  let chars = 0;
  for (const item of items) {
    if (chunk.length === CHUNK || (chunk.length > 0 && chars + item.json.length > CHUNK_CHARS)) {
      yield chunk;
      chunk = [];
      chars = 0;
    }
    chunk.push(item);
    chars += item.json.length;
  }
  if (chunk.length > 0) yield chunk;
}

/** A round trip is added as a whole or not at all, so only one of them can be in doubt. */
function partly(failure: unknown, published: readonly Published[], sent: number, total: number): unknown {
  if (!isMillraceError(failure)) return failure;
  const isLost = failure.code === 'REDIS_TIMEOUT' || failure.code === 'REDIS_UNREACHABLE';
  const unknown = isLost ? sent : 0;
  const doubt = unknown === 0 ? '' : `, of the next ${unknown} it is not known`;
  const message = `${published.length} of ${total} entries were published${doubt}: ${failure.message}`;
  return new MillraceError(failure.code, message, { ...failure.facts, published, unknown, cause: failure.cause });
}
