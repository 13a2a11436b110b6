/**
 * Tells of keys that have expired, as far as Redis tells.
 *
 * No promise: Redis says it when it deletes the key and not when its time is over, which can be minutes later for a key that nobody
 * touches; once, to whoever listens at that moment; and every process that listens hears it. For what must happen at a time take a
 * delayed job, for who is there take presence.
 */
import { z } from 'zod';
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { checkKeyEvents, keyEvents, type KeyEvents } from '../redis/key-events.ts';
import { checkOptions } from '../schema.ts';
import { Delivery, type OverflowPolicy } from './delivery.ts';
import { concurrencyOption, queueOption, signalOption } from './options.ts';
import type { CloseReason, MessageContext, SubscriptionStats } from './subscription.ts';

/** A key that has expired. */
export interface Expiration {
  readonly key: string;
}

/** Which keys: those that fit a text in which `*` stands for anything, or a regular expression, or a function. */
export type KeyMatch = string | RegExp | ((key: string) => boolean);

/** Options of expirations(). */
export interface ExpirationOptions {
  /** Default: every key of the database, of whomever it is. A function that throws for a key counts as failed, and the key is passed over. */
  match?: KeyMatch | undefined;
  /** How many may wait for the handler. Default 1,000. */
  queue?: number | undefined;
  /** Default `drop-oldest`. */
  onOverflow?: Exclude<OverflowPolicy, 'catch-up'> | undefined;
  /** How many handlers run at once. Default 1. */
  concurrency?: number | undefined;
  /** Some were missed, or may have been. */
  onGap?: ((gap: { readonly reason: 'connection' | 'overflow' }) => unknown) | undefined;
  signal?: AbortSignal | undefined;
}

/** Listens to expirations. */
export interface ExpirationListener {
  readonly isLive: boolean;
  readonly closed: Promise<CloseReason>;
  close(): Promise<void>;
  stats(): Pick<SubscriptionStats, 'queued' | 'running' | 'handled' | 'failed' | 'dropped'>;
}

const expirationSchema = z.strictObject({
  match: z
    .custom<KeyMatch>(
      (value) => typeof value === 'string' || typeof value === 'function' || value instanceof RegExp,
      'expected text, a regular expression or a function',
    )
    .optional(),
  queue: queueOption,
  onOverflow: z.enum(['drop-oldest', 'drop-newest', 'close']).default('drop-oldest'),
  concurrency: concurrencyOption(1),
  onGap: z
    .custom<NonNullable<ExpirationOptions['onGap']>>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  signal: signalOption,
});

type Handler = (expiration: Expiration, context: MessageContext) => unknown;
type Item = Expiration | { readonly gap: 'connection' | 'overflow' };

const CLOSE_WITHIN_MS = 5_000;

/** What they need. */
interface Parts {
  readonly connections: Pick<Connections, 'commands' | 'subscriber'>;
  readonly log: Logger;
  readonly onClose: (expirations: Expirations) => void;
}

/** Delivers expirations to one handler. */
export class Expirations implements ExpirationListener {
  readonly closed: Promise<CloseReason>;
  readonly #parts: Parts;
  readonly #handler: Handler;
  readonly #options: z.output<typeof expirationSchema>;
  readonly #fits: (key: string) => boolean;
  readonly #delivery: Delivery<Item>;
  readonly #closing = new AbortController();
  readonly #counts = { handled: 0, failed: 0 };
  #events: KeyEvents | undefined;
  #onClosed: (reason: CloseReason) => void = () => undefined;
  #ending: Promise<void> | undefined;
  #wasLive = false;
  #isFailing = false;
  #isMatchTold = false;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(parts: Parts, handler: Handler, options: ExpirationOptions) {
    const checked = checkOptions(expirationSchema, options, 'expirations');
    const { queue, concurrency, onOverflow, match, signal } = checked;
    this.#parts = parts;
    this.#handler = handler;
    this.#options = checked;
    this.#fits = matcherOf(match);
    this.closed = new Promise((resolve) => (this.#onClosed = resolve));
    this.#delivery = new Delivery<Item>({
      size: queue,
      concurrency,
      onOverflow,
      handle: (item) => this.#handle(item),
      kindOf: (item) => ('gap' in item ? undefined : 'key'),
      dropped: () => ({ gap: 'overflow' }),
      onClose: () => void this.#end('overflow'),
    });
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** @throws MillraceError KEY_EVENTS_OFF; what Redis says when it cannot be asked; CLOSED */
  async open(): Promise<void> {
    const { connections, log } = this.#parts;
    const { signal } = this.#options;
    try {
      signal?.throwIfAborted();
      await checkKeyEvents('expired', connections.commands(), log);
      if (!this.#ending) {
        this.#events = keyEvents('expired', connections, log, {
          onMessage: (key) => this.#onKey(key),
          onLive: () => this.#onLive(),
        });
        await Promise.race([this.#events.open(), this.closed]);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    if (this.#ending) throw new MillraceError('CLOSED', 'the expirations are not listened to any more', {});
  }

  get isLive(): boolean {
    return !this.#ending && (this.#events?.isLive ?? false);
  }

  close(): Promise<void> {
    return this.#end('closed');
  }

  /** As close(), by whoever made it. */
  stop(): Promise<void> {
    return this.#end('stopped');
  }

  stats(): ReturnType<ExpirationListener['stats']> {
    const { queued, running, dropped } = this.#delivery;
    return { queued, running, dropped, ...this.#counts };
  }

  readonly #onAbort = (): void => void this.#end('aborted');

  #end(reason: CloseReason): Promise<void> {
    this.#ending ??= this.#close(reason);
    return this.#ending;
  }

  async #close(reason: CloseReason): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#events?.close();
    const idle = this.#delivery.close();
    this.#closing.abort(new MillraceError('CLOSED', 'the expirations are not listened to any more', { reason }));
    this.#parts.onClose(this);
    this.#onClosed(reason);
    await withDeadline(idle, CLOSE_WITHIN_MS, () => new MillraceError('CLOSED', 'a handler goes on', {})).catch(
      (error: unknown) => this.#parts.log.warn({ err: error }, 'a handler of expirations goes on'),
    );
  }

  /** In the callback of the socket, where a `match` that throws would end the process. */
  #onKey(key: string): void {
    try {
      if (this.#fits(key)) this.#delivery.push({ key });
    } catch (error) {
      this.#counts.failed++;
      const level = this.#isMatchTold ? 'debug' : 'warn';
      this.#isMatchTold = true;
      this.#parts.log[level](
        { err: error },
        'the match of expirations failed, so the key counts as one that does not fit',
      );
    }
  }

  #onLive(): void {
    if (this.#wasLive) this.#delivery.pushAnyway({ gap: 'connection' });
    this.#wasLive = true;
  }

  /** Never rejects. */
  async #handle(item: Item): Promise<void> {
    try {
      if ('gap' in item) return void (await this.#options.onGap?.({ reason: item.gap }));
      await this.#handler(item, { signal: this.#closing.signal });
      this.#counts.handled++;
      this.#isFailing = false;
    } catch (error) {
      this.#counts.failed++;
      this.#parts.log[this.#isFailing ? 'debug' : 'warn']({ err: error }, 'the handler of an expiration failed');
      this.#isFailing = true;
    }
  }
}

function matcherOf(match: KeyMatch | undefined): (key: string) => boolean {
  if (match === undefined) return () => true;
  if (typeof match === 'function') return match;
  if (typeof match === 'string') return globMatcher(match.split('*'));
  const own = new RegExp(match);
  return (key) => {
    own.lastIndex = 0; // One that is global or sticky would go on where it was.
    return own.test(key);
  };
}

/** Step by step and without a regular expression, which could take for ever over a long key. */
function globMatcher(parts: readonly string[]): (key: string) => boolean {
  const [head = '', ...rest] = parts;
  const tail = rest.pop();
  if (tail === undefined) return (key) => key === head;
  return (key) => {
    if (!key.startsWith(head) || !key.endsWith(tail) || key.length < head.length + tail.length) return false;
    let at = head.length;
    for (const part of rest) {
      at = key.indexOf(part, at);
      if (at < 0) return false;
      at += part.length;
    }
    return at <= key.length - tail.length;
  };
}
