/**
 * One pub/sub channel of one process, on the shared subscriber.
 *
 *   closed --open()--> subscribing --answer--> live --connection lost--> lost --subscribed again--> live
 *
 * Promise: between onLive and the next onLost every message arrives, in order. What was said in between is missed, and onLive says so:
 * whoever keeps something that messages keep true lets go of it then.
 * A sharded channel keeps its messages on the shard of a Cluster that serves its slot; it is spoken to by publishVerb(). On a single
 * server, or behind Sentinels, it is a channel like any other.
 * Redis down: nothing is heard; it subscribes again by itself as soon as Redis is back. A server that does not let it subscribe, as by an ACL,
 * is told of as a warning, and is asked again with the next connection.
 */
import type { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { plainChannels, type ChannelListener, type Channels } from './channels.ts';
import type { ClusterClient } from './clients.ts';
import type { Connections } from './connect.ts';
import { isOutage } from './guard.ts';
import { shardedChannels } from './sharded-channels.ts';

/** Whoever listens. */
export interface BroadcastListener {
  onMessage(text: string): void;
  /** Subscribed, for the first time or again: what was said before may have been missed. */
  onLive?(): void;
  /** From now on messages are missed. */
  onLost?(): void;
}

/** Options of a channel. */
export interface BroadcastOptions {
  /** On a Cluster: heard and spoken to on one shard only. Default false. */
  sharded?: boolean | undefined;
}

/** The command that reaches sharded channels; their names are keys to a script that calls it, so that it runs where they are. */
export function publishVerb({ topology }: Pick<Connections, 'topology'>): 'PUBLISH' | 'SPUBLISH' {
  return topology === 'cluster' ? 'SPUBLISH' : 'PUBLISH';
}

/** A channel of one process. */
export class Broadcast {
  readonly #name: string;
  readonly #connections: Pick<Connections, 'subscriber'>;
  readonly #log: Logger;
  readonly #listener: BroadcastListener;
  readonly #isSharded: boolean;
  #channels: Channels | undefined;
  #opening: Promise<void> | undefined;
  #isOpened: (() => void) | undefined;
  #isLive = false;
  #isRefusalTold = false;

  constructor(
    name: string,
    connections: Pick<Connections, 'subscriber'>,
    log: Logger,
    listener: BroadcastListener,
    { sharded = false }: BroadcastOptions = {},
  ) {
    this.#name = name;
    this.#connections = connections;
    this.#log = log;
    this.#listener = listener;
    this.#isSharded = sharded;
  }

  /** Whether every message arrives now. */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Subscribes, if it has not yet; resolves once every message arrives, for which it waits as long as Redis is down. Never rejects. */
  open(): Promise<void> {
    this.#opening ??= new Promise((resolve) => {
      this.#isOpened = resolve;
      this.#channels = this.#channelsOf();
      if (this.#channels) this.#channels.add(this.#name, this.#ears);
      else resolve();
    });
    return this.#opening;
  }

  /** Lets go of the subscriber, which stays open for others. */
  close(): void {
    this.#isLive = false;
    this.#isOpened?.();
    this.#channels?.remove(this.#name, this.#ears);
    this.#channels = undefined;
  }

  /** None once the connections are closed: there is nothing to hear any more. */
  #channelsOf(): Channels | undefined {
    try {
      const client = this.#connections.subscriber();
      return this.#isSharded && client.isCluster ? shardedChannels(client as ClusterClient) : plainChannels(client);
    } catch (error) {
      this.#log.debug({ err: error, channel: this.#name }, 'not subscribed');
      return undefined;
    }
  }

  readonly #ears: ChannelListener = {
    onMessage: (text) => this.#listener.onMessage(text),
    onLive: () => {
      if (this.#isLive) return;
      this.#isLive = true;
      this.#isRefusalTold = false;
      this.#listener.onLive?.();
      this.#isOpened?.();
    },
    onLost: () => {
      if (!this.#isLive) return;
      this.#isLive = false;
      this.#listener.onLost?.();
    },
    onRefused: (failure) => this.#onRefused(failure),
  };

  /** The next connection tries again. Of one that was lost its client tells; what the server refuses nobody else would tell of. */
  #onRefused(failure: MillraceError): void {
    const facts = { channel: this.#name, code: failure.code, err: failure };
    if (isOutage(failure) || this.#isRefusalTold) return this.#log.debug(facts, 'not subscribed');
    this.#isRefusalTold = true;
    this.#log.warn(facts, `messages are not heard on ${this.#name}: ${failure.message}`);
  }
}
