/**
 * Waits for the next change of a store, on a connection of its own.
 *
 * It reads the stream with a short BLOCK and an own deadline beyond it, because a connection that died without a word would be waited on for
 * ever. What it reads is not used: the change is taken by a script, together with all others.
 */
import { withDeadline, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { Connections } from '../../redis/connect.ts';

/** Never longer, so that a half-open connection is noticed soon. */
const LONGEST_BLOCK_MS = 2_000;
const GRACE_MS = 2_000;
/** After a failure; the connection comes back by itself. */
const PAUSE_MS = 250;

/** Waits for changes of one store. */
export class Waker {
  readonly #connections: Pick<Connections, 'blocking'>;
  readonly #purpose: string;
  readonly #stream: string;
  readonly #clock: Clock;
  #client: RedisClient | undefined;

  constructor(connections: Pick<Connections, 'blocking'>, store: string, stream: string, clock: Clock) {
    this.#connections = connections;
    this.#purpose = `store ${store}`;
    this.#stream = stream;
    this.#clock = clock;
  }

  /** Resolves when an entry stands behind `after`, when the time has passed, when Redis does not answer, or when the signal aborts. */
  async wait(after: string, waitMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    let wake: (() => void) | undefined;
    const aborted = new Promise<void>((resolve) => (wake = resolve));
    const listener = (): void => wake?.();
    signal.addEventListener('abort', listener, { once: true });
    try {
      await Promise.race([this.#read(after, waitMs, signal), aborted]);
    } finally {
      signal.removeEventListener('abort', listener);
    }
  }

  /** Hangs up. */
  close(): void {
    this.#client?.disconnect();
    this.#client = undefined;
  }

  async #read(after: string, waitMs: number, signal: AbortSignal): Promise<void> {
    const blockMs = Math.max(1, Math.min(Math.ceil(waitMs), LONGEST_BLOCK_MS));
    try {
      this.#client ??= this.#connections.blocking(this.#purpose);
      const reading = this.#client.xread('COUNT', 1, 'BLOCK', blockMs, 'STREAMS', this.#stream, after);
      await withDeadline(
        reading,
        blockMs + GRACE_MS,
        () => new MillraceError('REDIS_TIMEOUT', 'no answer to XREAD', {}),
      );
    } catch {
      // The next take tells what is wrong, if anything still is. A new connection is opened for the next wait.
      this.close();
      await this.#clock.sleep(PAUSE_MS, { signal }).catch(() => undefined);
    }
  }
}
