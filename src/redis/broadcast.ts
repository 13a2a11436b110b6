/**
 * One pub/sub channel of one process, on the shared subscriber.
 *
 *   closed --open()--> subscribing --answer--> live --connection lost--> lost --subscribed again--> live
 *
 * Promise: between onLive and the next onLost every message arrives, in order. What was said in between is missed, and onLive says so:
 * whoever keeps something that messages keep true lets go of it then.
 * Redis down: nothing is heard; it subscribes again by itself as soon as Redis is back.
 */
import type { Logger } from '../log.ts';
import type { RedisClient } from './clients.ts';
import type { Connections } from './connect.ts';
import { LINK_LOST, LINK_OPEN } from './subscriber.ts';

/** Whoever listens. */
export interface BroadcastListener {
  onMessage(text: string): void;
  /** Subscribed, for the first time or again: what was said before may have been missed. */
  onLive?(): void;
  /** From now on messages are missed. */
  onLost?(): void;
}

/** A channel of one process. */
export class Broadcast {
  readonly #name: string;
  readonly #connections: Pick<Connections, 'subscriber'>;
  readonly #log: Logger;
  readonly #listener: BroadcastListener;
  #subscriber: RedisClient | undefined;
  #opening: Promise<void> | undefined;
  #isOpened: (() => void) | undefined;
  #isLive = false;
  /** Counts connections, so that the answer of an earlier one is not taken for that of this one. */
  #link = 0;

  constructor(name: string, connections: Pick<Connections, 'subscriber'>, log: Logger, listener: BroadcastListener) {
    this.#name = name;
    this.#connections = connections;
    this.#log = log;
    this.#listener = listener;
  }

  /** Whether every message arrives now. */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Subscribes, if it has not yet; resolves once every message arrives, for which it waits as long as Redis is down. Never rejects. */
  open(): Promise<void> {
    this.#opening ??= new Promise((resolve) => {
      this.#isOpened = resolve;
      const subscriber = this.#subscriberOf(resolve);
      if (!subscriber) return;
      this.#subscriber = subscriber;
      subscriber.on('message', this.#onMessage);
      subscriber.on(LINK_LOST, this.#onLost);
      subscriber.on(LINK_OPEN, this.#subscribe);
      this.#subscribe();
    });
    return this.#opening;
  }

  /** Lets go of the subscriber, which stays open for others. */
  close(): void {
    const subscriber = this.#subscriber;
    this.#subscriber = undefined;
    this.#isLive = false;
    this.#isOpened?.();
    if (!subscriber) return;
    subscriber.off('message', this.#onMessage);
    subscriber.off(LINK_LOST, this.#onLost);
    subscriber.off(LINK_OPEN, this.#subscribe);
    if (subscriber.status === 'ready') subscriber.unsubscribe(this.#name).catch(() => undefined); // It is being closed.
  }

  readonly #subscribe = (): void => {
    const link = ++this.#link;
    this.#subscriber?.subscribe(this.#name).then(
      () => this.#onSubscribed(link),
      // The next connection tries again.
      (error: unknown) => this.#log.debug({ err: error, channel: this.#name }, 'not subscribed'),
    );
  };

  /** None once the connections are closed: there is nothing to hear any more. */
  #subscriberOf(resolve: () => void): RedisClient | undefined {
    try {
      return this.#connections.subscriber();
    } catch (error) {
      this.#log.debug({ err: error, channel: this.#name }, 'not subscribed');
      resolve();
      return undefined;
    }
  }

  #onSubscribed(link: number): void {
    if (link !== this.#link || !this.#subscriber) return;
    this.#isLive = true;
    this.#listener.onLive?.();
    this.#isOpened?.();
  }

  readonly #onLost = (): void => {
    this.#link++;
    if (!this.#isLive) return;
    this.#isLive = false;
    this.#listener.onLost?.();
  };

  readonly #onMessage = (channel: string, text: string): void => {
    if (channel === this.#name) this.#listener.onMessage(text);
  };
}
