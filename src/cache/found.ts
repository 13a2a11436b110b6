/**
 * What Redis has for a key, made of the bytes that it answered.
 *
 * The server decides what is fresh: its clock wrote the times and its clock says how much of them remains. What cannot be read is a miss
 * that is told of, never a failure.
 */
import { jsonCodec, structuredCodec, type Codec } from './codec.ts';
import type { ReadAnswer } from './second-level-scripts.ts';
import { idOf, isJson, readHeader, readPayload, type StoredHeader } from './stored-value.ts';

/** What Redis has for a key. Times are what remains, by the server's clock, at the moment when it answered. */
export interface Found {
  readonly status: 'fresh' | 'stale' | 'missing';
  /** undefined when missing. */
  readonly value: StoredValue | undefined;
  /** Until it is stale; 0 or less when it is. */
  readonly freshMs: number;
  /** Until it is gone (freshness and grace). */
  readonly staleMs: number;
  /** How long the load of this value took. */
  readonly deltaMs: number;
  readonly tags: readonly string[];
  /** Tells this stored value from every other; empty when missing. lease() takes it as `seen`. */
  readonly id: string;
}

/** A value that was read. */
export interface StoredValue {
  /** Decoded; null for a kept "nothing". */
  readonly payload: unknown;
  /** As encoded, before compression. */
  readonly sizeBytes: number;
  readonly isNegative: boolean;
  /** Whether JSON.parse() has made the payload. */
  readonly isJson: boolean;
}

/** Told when a value could not be read (cut short, of another codec, not decodable) and was taken for a miss. */
export type OnUnreadable = (namespace: string, key: string, reason: string) => void;

/** Nothing that counts. */
export const MISSING: Found = Object.freeze({
  status: 'missing',
  value: undefined,
  freshMs: 0,
  staleMs: 0,
  deltaMs: 0,
  tags: Object.freeze([]),
  id: '',
});

/** Reads what the scripts answer. */
export class FoundReader {
  readonly #codecs: ReadonlyMap<number, Codec>;
  readonly #onUnreadable: OnUnreadable | undefined;

  constructor(codec: Codec, onUnreadable: OnUnreadable | undefined) {
    this.#codecs = new Map([jsonCodec, structuredCodec, codec].map((known) => [known.id, known]));
    this.#onUnreadable = onUnreadable;
  }

  /** A promise only for a large compressed value. */
  read(answer: ReadAnswer, nowUs: number, namespace: string, key: string): Found | Promise<Found> {
    if (answer === null) return MISSING;
    if (typeof answer === 'number') return this.#unreadable(namespace, key, 'no value of the cache');
    const header = readHeader(answer);
    if (typeof header === 'string') return this.#unreadable(namespace, key, header);
    if (header.staleUntilUs <= nowUs) return MISSING;
    try {
      const payload = readPayload(header, this.#codecs);
      if (!(payload instanceof Promise)) return new FoundValue(header, payload, nowUs);
      return payload.then(
        (read) => new FoundValue(header, read, nowUs),
        (error: unknown) => this.#unreadable(namespace, key, reasonOf(error)),
      );
    } catch (error) {
      return this.#unreadable(namespace, key, reasonOf(error));
    }
  }

  #unreadable(namespace: string, key: string, reason: string): Found {
    this.#onUnreadable?.(namespace, key, reason);
    return MISSING;
  }
}

/** What was found in the bytes of a value. */
class FoundValue implements Found {
  readonly status: 'fresh' | 'stale';
  readonly value: StoredValue;
  readonly freshMs: number;
  readonly staleMs: number;
  readonly deltaMs: number;
  readonly tags: readonly string[];
  readonly #raw: Buffer;

  constructor(header: StoredHeader, payload: unknown, nowUs: number) {
    this.freshMs = (header.freshUntilUs - nowUs) / 1000;
    this.status = this.freshMs > 0 ? 'fresh' : 'stale';
    const { sizeBytes, isNegative } = header;
    this.value = { payload, sizeBytes, isNegative, isJson: isJson(header) };
    this.staleMs = (header.staleUntilUs - nowUs) / 1000;
    this.deltaMs = header.deltaMs;
    this.tags = header.tags;
    this.#raw = header.raw;
  }

  /** Few ask for it. */
  get id(): string {
    return idOf(this.#raw);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
