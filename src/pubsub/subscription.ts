/**
 * A subscription: what was asked for, its queue, and its handler.
 *
 *   opening --heard from now on--> live --close(), its signal, overflow, stop()--> closed
 *
 * Promise: see delivery.ts for what waits, topic-channel.ts for what is heard. A message that is not of the schema is counted and passed
 * over; so is one whose handler fails: pub/sub does not try again.
 */
import type { Clock } from '../clock.ts';
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { parseWith } from '../payload.ts';
import { Delivery } from './delivery.ts';
import { readBody, type Envelope } from './envelope.ts';
import type { ParsedSubscribeOptions } from './options.ts';
import type { GapReason } from './pubsub-metrics.ts';
import type { TopicChannel } from './topic-channel.ts';
import { TopicPart } from './topic-part.ts';
import { valuesOf } from './topic.ts';

/** A message, as a handler gets it. */
export interface TopicMessage<Data = unknown, Values extends readonly string[] = string[]> {
  /** The topic in full; what stood for a `*` is percent-encoded. */
  readonly topic: string;
  /** What stood for each `*`. */
  readonly values: Values;
  readonly data: Data;
  readonly id: string;
  /** The process that published it. */
  readonly origin: string;
  /** When, in ms since 1970 by the publisher's clock. */
  readonly sentAt: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Of a reliable topic: where it stands. Keep that of the last one that was handled, and subscribe `from` it to go on, in any process. */
  readonly position: string | undefined;
}

/** Some messages were missed, or may have been. */
export interface Gap {
  /** The name of the definition. */
  readonly topic: string;
  /** `connection`: a plain topic was not heard for a while. `overflow`: the queue was full. `expired`: the ring of a reliable topic has them no more. */
  readonly reason: GapReason;
  /** How many were dropped; of `overflow` only. */
  readonly count: number | undefined;
  /** The positions between which they stood, if known; of `expired` only. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** What a handler gets beside the message. */
export interface MessageContext {
  /** Aborts when the subscription closes. */
  readonly signal: AbortSignal;
}

/** Why a subscription ended. */
export type CloseReason = 'closed' | 'aborted' | 'overflow' | 'stopped';

/** What a subscription has done. */
export interface SubscriptionStats {
  readonly queued: number;
  readonly running: number;
  readonly handled: number;
  /** Its handler threw. */
  readonly failed: number;
  /** Not of the schema. */
  readonly refused: number;
  readonly dropped: number;
  readonly gaps: number;
}

/** A subscription. */
export interface Subscription {
  /** Whether every message arrives now. */
  readonly isLive: boolean;
  /** Why it ended, once it has. Never rejects. */
  readonly closed: Promise<CloseReason>;
  /** Resolves once all that is said from now on is heard. @throws MillraceError CLOSED when it was closed before. */
  ready(): Promise<void>;
  /** Ends it: what waits is forgotten, the signals of handlers abort. Resolves when none runs any more, or after 5 s. Safe twice. */
  close(): Promise<void>;
  stats(): SubscriptionStats;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What is done with a message. */
export type Handler = (message: TopicMessage, context: MessageContext) => unknown;

type Item = { readonly channel: TopicChannel; readonly message: Envelope } | { readonly gap: Gap };

/** What a subscription needs. */
export interface SubscriptionParts {
  /** What it is called in logs. */
  readonly name: string;
  readonly options: ParsedSubscribeOptions;
  readonly handler: Handler;
  readonly clock: Clock;
  readonly log: Logger;
  /** The channels, and the topics of each. */
  readonly targets: ReadonlyArray<{ readonly channel: TopicChannel; readonly pattern: readonly string[] }>;
  readonly onClose: (subscription: TopicSubscription) => void;
}

const CLOSE_WITHIN_MS = 5_000;

/** Listens to topics. */
export class TopicSubscription implements Subscription {
  readonly closed: Promise<CloseReason>;
  readonly #parts: SubscriptionParts;
  readonly #topicParts: TopicPart[];
  readonly #delivery: Delivery<Item, TopicChannel>;
  readonly #closing = new AbortController();
  readonly #counts = { handled: 0, failed: 0, refused: 0, gaps: 0 };
  readonly #opening: Promise<unknown>;
  #onClosed: (reason: CloseReason) => void = () => undefined;
  #ending: Promise<void> | undefined;
  #isFailing = false;
  #isRefusalTold = false;

  constructor(parts: SubscriptionParts) {
    const { options, targets, clock, log } = parts;
    const { signal, queue, concurrency, from } = options;
    const isReliable = targets.every(({ channel }) => channel.ring);
    this.#parts = parts;
    this.closed = new Promise((resolve) => (this.#onClosed = resolve));
    this.#delivery = new Delivery<Item, TopicChannel>({
      size: queue,
      concurrency,
      onOverflow: options.onOverflow ?? (isReliable ? 'catch-up' : 'drop-oldest'),
      handle: (item) => ('gap' in item ? this.#tellGap(item.gap) : this.#handle(item.channel, item.message)),
      kindOf: (item) => ('gap' in item ? undefined : item.channel),
      dropped: (count, channel) => ({ gap: this.#gapOf(channel, 'overflow', { count }) }),
      onClose: () => void this.#end('overflow'),
    });
    this.#topicParts = targets.map(
      ({ channel, pattern }) =>
        new TopicPart({
          channel,
          pattern,
          from,
          clock,
          log,
          signal: this.#closing.signal,
          push: (message) => this.#delivery.push({ channel, message }),
          hasRoom: () => this.#delivery.hasRoom(),
          room: () => this.#delivery.room,
          onGap: (reason, facts) => this.#delivery.pushAnyway({ gap: this.#gapOf(channel, reason, facts) }),
        }),
    );
    this.#opening = Promise.all(this.#topicParts.map((part) => part.open()));
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) void this.#end('aborted');
  }

  get isLive(): boolean {
    return !this.#ending && this.#parts.targets.every(({ channel }) => channel.isLive);
  }

  get isEnded(): boolean {
    return this.#ending !== undefined;
  }

  async ready(): Promise<void> {
    await Promise.race([this.#opening, this.closed]);
    if (this.#ending) throw new MillraceError('CLOSED', `the subscription to ${this.#parts.name} is closed`, {});
  }

  close(): Promise<void> {
    return this.#end('closed');
  }

  /** As close(), by whoever made it. */
  stop(): Promise<void> {
    return this.#end('stopped');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stats(): SubscriptionStats {
    const { queued, running, dropped } = this.#delivery;
    return { queued, running, dropped, ...this.#counts };
  }

  readonly #onAbort = (): void => void this.#end('aborted');

  #end(reason: CloseReason): Promise<void> {
    this.#ending ??= this.#close(reason);
    return this.#ending;
  }

  async #close(reason: CloseReason): Promise<void> {
    const { options, name, log, onClose } = this.#parts;
    options.signal?.removeEventListener('abort', this.#onAbort);
    if (reason === 'overflow')
      log.warn({ topic: name, queue: options.queue }, 'a subscription overflowed and is closed');
    for (const part of this.#topicParts) part.close();
    const idle = this.#delivery.close();
    this.#closing.abort(new MillraceError('CLOSED', `the subscription to ${name} is closed`, { reason }));
    onClose(this);
    this.#onClosed(reason);
    // A handler that goes on all the same is its author's concern.
    await withDeadline(idle, CLOSE_WITHIN_MS, () => new MillraceError('CLOSED', 'a handler goes on', {})).catch(
      (error: unknown) => log.warn({ err: error, topic: name }, 'a handler runs on though its subscription is closed'),
    );
  }

  #handle(channel: TopicChannel, envelope: Envelope): void | Promise<void> {
    let message: TopicMessage | Promise<TopicMessage>;
    try {
      message = this.#read(channel, envelope);
    } catch (error) {
      return this.#onRefused(channel, error);
    }
    if (!isPromise(message)) return this.#run(channel, message);
    return message.then(
      (read) => this.#run(channel, read),
      (error: unknown) => this.#onRefused(channel, error),
    );
  }

  #read({ contract }: TopicChannel, { topic, position, body }: Envelope): TopicMessage | Promise<TopicMessage> {
    const { meta, data } = readBody(body);
    const { id, origin, sentAt, headers } = meta;
    const head = { topic, values: valuesOf(contract, topic), id, origin, sentAt, headers, position };
    const read = parseWith(contract.schema, data, `a message of ${contract.name}`);
    return isPromise(read) ? read.then((parsed) => ({ ...head, data: parsed })) : { ...head, data: read };
  }

  #run(channel: TopicChannel, message: TopicMessage): void | Promise<void> {
    channel.meter.lag(this.#parts.clock.wallMs() - message.sentAt);
    try {
      const outcome = this.#parts.handler(message, { signal: this.#closing.signal });
      if (!isPromise(outcome)) return this.#onHandled(channel);
      return outcome.then(
        () => this.#onHandled(channel),
        (error: unknown) => this.#onFailed(channel, message, error),
      );
    } catch (error) {
      return this.#onFailed(channel, message, error);
    }
  }

  #onHandled({ meter }: TopicChannel): void {
    this.#counts.handled++;
    this.#isFailing = false;
    meter.handled(true);
  }

  /** Of the first of a row people are told; a handler that fails at every message would fill the log. */
  #onFailed({ meter }: TopicChannel, { topic, id }: TopicMessage, error: unknown): void {
    this.#counts.failed++;
    meter.handled(false);
    if (this.#closing.signal.aborted) return;
    this.#parts.log[this.#isFailing ? 'debug' : 'warn']({ err: error, topic, id }, 'the handler of a message failed');
    this.#isFailing = true;
  }

  #onRefused({ meter, contract }: TopicChannel, error: unknown): void {
    this.#counts.refused++;
    meter.refused('input');
    const level = this.#isRefusalTold ? 'debug' : 'warn';
    this.#isRefusalTold = true;
    this.#parts.log[level]({ err: error, topic: contract.name }, 'a message was refused');
  }

  #gapOf(
    channel: TopicChannel,
    reason: GapReason,
    { count, from, to }: { count?: number; from?: string | undefined; to?: string | undefined } = {},
  ): Gap {
    this.#counts.gaps++;
    channel.meter.gap(reason);
    if (count !== undefined) channel.meter.dropped(count);
    return { topic: channel.contract.name, reason, count, from, to };
  }

  #tellGap(gap: Gap): void | Promise<void> {
    const { onGap } = this.#parts.options;
    if (!onGap) return this.#parts.log.debug({ gap }, 'messages were missed');
    const onError = (error: unknown): void => this.#parts.log.warn({ err: error, gap }, 'onGap failed');
    try {
      const told = onGap(gap);
      return isPromise(told) ? told.then(() => undefined, onError) : undefined;
    } catch (error) {
      return onError(error);
    }
  }
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function';
}
