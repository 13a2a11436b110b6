/**
 * Which channels one client listens to, and who hears each: a channel is subscribed to once, however many listen.
 *
 *   wanted --answer--> live --connection lost, or the channel has moved--> wanted
 *
 * Messages find their listeners by the channel's name, so a thousand channels cost a message no more than one does.
 */
import type { MillraceError } from '../errors.ts';
import type { RedisClient } from './clients.ts';
import { explainRedisError } from './explain.ts';
import { isOutage } from './guard.ts';
import { clientLabel } from './script.ts';
import { LINK_LOST, LINK_OPEN } from './subscriber.ts';

/** Whoever listens to a channel. */
export interface ChannelListener {
  onMessage(text: string): void;
  /** From now on every message arrives; what was said before may have been missed. */
  onLive(): void;
  /** From now on messages are missed. */
  onLost(): void;
  /** The server does not let it subscribe. It is asked again with the next connection. */
  onRefused(failure: MillraceError): void;
}

/** The channels of one client. */
export interface Channels {
  add(name: string, listener: ChannelListener): void;
  remove(name: string, listener: ChannelListener): void;
}

/** One channel. */
export class Channel {
  readonly name: string;
  readonly listeners = new Set<ChannelListener>();
  isLive = false;

  constructor(name: string) {
    this.name = name;
  }

  becomeLive(): void {
    if (this.isLive) return;
    this.isLive = true;
    for (const listener of this.listeners) listener.onLive();
  }

  becomeLost(): void {
    if (!this.isLive) return;
    this.isLive = false;
    for (const listener of this.listeners) listener.onLost();
  }

  refuse(failure: MillraceError): void {
    for (const listener of this.listeners) listener.onRefused(failure);
  }
}

/** Channels by name. */
export class ChannelTable<C extends Channel> {
  readonly #byName = new Map<string, C>();
  readonly #create: (name: string) => C;

  constructor(create: (name: string) => C) {
    this.#create = create;
  }

  /** @returns the channel if nobody has listened to it until now. */
  add(name: string, listener: ChannelListener): C | undefined {
    const known = this.#byName.get(name);
    const channel = known ?? this.#create(name);
    channel.listeners.add(listener);
    if (!known) {
      this.#byName.set(name, channel);
      return channel;
    }
    // Not at once, so that nobody hears of it before add() has returned.
    queueMicrotask(() => channel.isLive && channel.listeners.has(listener) && listener.onLive());
    return undefined;
  }

  /** @returns the channel if nobody listens to it any more. */
  remove(name: string, listener: ChannelListener): C | undefined {
    const channel = this.#byName.get(name);
    if (!channel?.listeners.delete(listener) || channel.listeners.size > 0) return undefined;
    this.#byName.delete(name);
    channel.isLive = false;
    return channel;
  }

  readonly hear = (name: string, text: string): void => {
    const listeners = this.#byName.get(name)?.listeners;
    if (!listeners) return;
    for (const listener of listeners) listener.onMessage(text);
  };

  /** Whether it is still the one of its name. */
  has(channel: C): boolean {
    return this.#byName.get(channel.name) === channel;
  }

  hasName(name: string): boolean {
    return this.#byName.has(name);
  }

  all(): C[] {
    return [...this.#byName.values()];
  }
}

/** How many channels one SUBSCRIBE names, so that thousands of them come back in a few pieces. */
const MOST_AT_ONCE = 500;

/** What PUBLISH reaches, on the one connection of the subscriber. */
class PlainChannels implements Channels {
  readonly #client: RedisClient;
  readonly #table = new ChannelTable((name) => new Channel(name));
  /** Wanted since the last tick. */
  #fresh: Channel[] = [];
  /** Left while there was no connection, which ioredis will subscribe to all the same. */
  readonly #left = new Set<string>();
  /** Counts connections, so that the answer of an earlier one is not taken for that of this one. */
  #link = 0;

  constructor(client: RedisClient) {
    this.#client = client;
    client.on('message', this.#table.hear);
    client.on(LINK_LOST, this.#onLost);
    client.on(LINK_OPEN, this.#onOpen);
  }

  add(name: string, listener: ChannelListener): void {
    const channel = this.#table.add(name, listener);
    if (!channel) return;
    if (this.#fresh.length === 0) queueMicrotask(this.#subscribeFresh);
    this.#fresh.push(channel);
  }

  remove(name: string, listener: ChannelListener): void {
    if (!this.#table.remove(name, listener)) return;
    if (this.#client.status === 'ready') this.#client.unsubscribe(name).catch(() => undefined); // It is being closed.
    else this.#left.add(name);
  }

  readonly #subscribeFresh = (): void => {
    const wanted = this.#fresh.filter((channel) => this.#table.has(channel));
    this.#fresh = [];
    this.#subscribeAll(wanted);
  };

  #subscribeAll(wanted: Channel[]): void {
    for (let from = 0; from < wanted.length; from += MOST_AT_ONCE) {
      this.#subscribe(wanted.slice(from, from + MOST_AT_ONCE));
    }
  }

  #subscribe(wanted: Channel[]): void {
    const link = this.#link;
    this.#client.subscribe(...wanted.map(({ name }) => name)).then(
      () => link === this.#link && this.#onSubscribed(wanted),
      (error: unknown) => this.#onRefused(wanted, explainRedisError(error, clientLabel(this.#client))),
    );
  }

  #onSubscribed(wanted: Channel[]): void {
    for (const channel of wanted) if (this.#table.has(channel)) channel.becomeLive();
  }

  #onRefused(wanted: Channel[], failure: MillraceError): void {
    // One that an ACL forbids must not keep the others from being heard.
    if (wanted.length > 1 && !isOutage(failure)) for (const channel of wanted) this.#subscribe([channel]);
    else for (const channel of wanted) channel.refuse(failure);
  }

  readonly #onOpen = (): void => {
    this.#link++;
    this.#subscribeAll(this.#table.all());
    const left = [...this.#left].filter((name) => !this.#table.hasName(name));
    this.#left.clear();
    if (left.length > 0) this.#client.unsubscribe(...left).catch(() => undefined); // The next message of one is heard by nobody.
  };

  readonly #onLost = (): void => {
    this.#link++;
    for (const channel of this.#table.all()) channel.becomeLost();
  };
}

const plain = new WeakMap<RedisClient, PlainChannels>();

/** The channels of a client of the `subscriber` role that PUBLISH reaches. */
export function plainChannels(client: RedisClient): Channels {
  let channels = plain.get(client);
  if (!channels) {
    channels = new PlainChannels(client);
    plain.set(client, channels);
  }
  return channels;
}
