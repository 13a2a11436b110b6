/**
 * Waits for events, on a connection of its own.
 *
 * It always says behind which position it reads, never `$`: what is appended between two reads would be lost. Each read has a short BLOCK and
 * a deadline of its own beyond it, because a connection that died without a word would be waited on for ever.
 */
import { withDeadline } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { hangUp, type Connections } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { refOf, type EventRef, type RawEntry } from './entry.ts';

/** Never longer, so that a half-open connection is noticed soon. */
const BLOCK_MS = 2_000;
const GRACE_MS = 2_000;

/** Reads references as they come. */
export class LiveReader {
  readonly #connections: Pick<Connections, 'blocking' | 'label'>;
  readonly #purpose: string;
  readonly #all: string;
  #client: RedisClient | undefined;

  constructor(connections: Pick<Connections, 'blocking' | 'label'>, purpose: string, all: string) {
    this.#connections = connections;
    this.#purpose = purpose;
    this.#all = all;
  }

  /** What stands behind the position; none when nothing came for two seconds, or when the signal aborts. */
  async read(position: number, count: number, signal: AbortSignal): Promise<EventRef[]> {
    if (signal.aborted) return [];
    let wake: ((refs: EventRef[]) => void) | undefined;
    const aborted = new Promise<EventRef[]>((resolve) => (wake = resolve));
    const listener = (): void => wake?.([]);
    signal.addEventListener('abort', listener, { once: true });
    try {
      return await Promise.race([this.#read(position, count), aborted]);
    } finally {
      signal.removeEventListener('abort', listener);
    }
  }

  /** Hangs up; the next read opens a new connection. */
  close(): void {
    if (this.#client) hangUp(this.#client);
    this.#client = undefined;
  }

  async #read(position: number, count: number): Promise<EventRef[]> {
    const client = (this.#client ??= this.#connections.blocking(this.#purpose));
    try {
      const reading = client.xread('COUNT', count, 'BLOCK', BLOCK_MS, 'STREAMS', this.#all, `${position}-0`);
      const reply = (await withDeadline(reading, BLOCK_MS + GRACE_MS, noAnswer)) as Array<[string, RawEntry[]]> | null;
      return (reply?.[0]?.[1] ?? []).map(refOf);
    } catch (error) {
      if (this.#client === client) this.close();
      throw explainRedisError(error, this.#connections.label);
    }
  }
}

function noAnswer(): Error {
  return new MillraceError('REDIS_TIMEOUT', 'no answer to XREAD', {});
}
