/**
 * Channels of a Cluster that SPUBLISH reaches: a message stays on the shard that serves the channel's slot.
 *
 *   placed at the slot's master --answer--> live
 *        ^                                   |
 *        '--slots are asked for again--------'  its connection is lost, or the slot has moved
 *
 * One connection to each master that serves a channel which somebody listens to. ioredis has such connections too (shardedSubscribers),
 * but does not say when a channel is heard again after its slot has moved or its master was lost, and asks for it only once; who
 * must not miss anything has to know both.
 */
import { Command, type Cluster } from 'ioredis';
import type { MillraceError } from '../errors.ts';
import { reconnectDelayMs } from './backoff.ts';
import { Channel, ChannelTable, type ChannelListener, type Channels } from './channels.ts';
import { explainRedisError } from './explain.ts';
import { isOutage } from './guard.ts';
import { NodeLinks, type NodeLink } from './node-links.ts';

class ShardedChannel extends Channel {
  readonly slot: number;
  /** Where it is subscribed to, or will be. */
  at: NodeLink | undefined;

  constructor(name: string) {
    super(name);
    this.slot = new Command('ssubscribe', [name]).getSlot() ?? 0;
  }
}

class ShardedChannels implements Channels {
  readonly #cluster: Cluster;
  readonly #table = new ChannelTable((name) => new ShardedChannel(name));
  readonly #links: NodeLinks;
  readonly #placed = new Map<NodeLink, Set<ShardedChannel>>();
  #asking: NodeJS.Timeout | undefined;
  /** How often in a row the slots were asked for without a channel becoming live. */
  #attempts = 0;
  #isOver = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#links = new NodeLinks(cluster, {
      onCreate: (link) => {
        link.redis.on('smessage', this.#table.hear);
        link.redis.on('moved', () => this.#displace(this.#at(link).filter((channel) => !isHeard(channel))));
      },
      onOpen: (link) => this.#at(link).forEach((channel) => this.#subscribe(channel)),
      onEnd: (link) => this.#displace(this.#at(link)),
    });
    cluster.on('refresh', this.#placeAll);
    cluster.once('end', this.#stop);
  }

  add(name: string, listener: ChannelListener): void {
    const channel = this.#table.add(name, listener);
    if (channel) this.#place(channel);
  }

  remove(name: string, listener: ChannelListener): void {
    const channel = this.#table.remove(name, listener);
    if (channel) this.#leave(channel);
  }

  /** Has it subscribed to where its slot is served, as far as is known. */
  #place(channel: ShardedChannel): void {
    if (this.#isOver) return;
    const { slots, status } = this.#cluster;
    const owner = slots[channel.slot]?.[0];
    if (status === 'wait') return void this.#cluster.connect().catch(() => undefined); // It connects again, and tells of the slots.
    if (owner === undefined) return this.#askForSlots();
    if (channel.at?.node === owner) return;
    if (channel.at) this.#leave(channel);
    const link = this.#links.open(owner);
    channel.at = link;
    const others = this.#placed.get(link);
    if (others) others.add(channel);
    else this.#placed.set(link, new Set([channel]));
    if (link.isOpen) this.#subscribe(channel);
  }

  readonly #placeAll = (): void => {
    for (const channel of this.#table.all()) this.#place(channel);
    // What was there has moved away or is not listened to any more.
    for (const link of this.#links.all()) if (!this.#placed.has(link)) this.#links.close(link);
  };

  #subscribe(channel: ShardedChannel): void {
    const { at: link, name } = channel;
    if (!link) return;
    const isCurrent = (): boolean => this.#table.has(channel) && channel.at === link;
    link.redis.ssubscribe(name).then(
      () => isCurrent() && this.#onSubscribed(channel),
      (error: unknown) => isCurrent() && this.#onRefused(channel, explainRedisError(error, `the node ${link.node}`)),
    );
  }

  #onSubscribed(channel: ShardedChannel): void {
    this.#attempts = 0;
    channel.becomeLive();
  }

  #onRefused(channel: ShardedChannel, failure: MillraceError): void {
    const hasMoved = failure.code === 'REDIS_WRONG_TOPOLOGY';
    if (hasMoved || isOutage(failure)) this.#displace([channel]);
    if (!hasMoved) channel.refuse(failure);
  }

  #leave(channel: ShardedChannel): void {
    const { at: link, name } = channel;
    this.#remove(channel);
    if (!link) return;
    if (!this.#placed.has(link)) this.#links.close(link);
    else if (link.isOpen) link.redis.sunsubscribe(name).catch(() => undefined); // Its connection is gone, and so is the subscription.
  }

  /** They are to be placed anew, once it is known where. */
  #displace(channels: ShardedChannel[]): void {
    for (const channel of channels) this.#remove(channel);
    if (channels.length > 0) this.#askForSlots();
  }

  /** Soon, and later each time that it did not help. */
  #askForSlots(): void {
    if (this.#isOver) return;
    this.#asking ??= setTimeout(
      () => {
        this.#asking = undefined;
        this.#cluster.refreshSlotsCache(this.#placeAll);
      },
      reconnectDelayMs(++this.#attempts),
    ).unref();
  }

  #remove(channel: ShardedChannel): void {
    const { at: link } = channel;
    channel.at = undefined;
    channel.becomeLost();
    const others = link && this.#placed.get(link);
    if (others?.delete(channel) && others.size === 0) this.#placed.delete(link as NodeLink);
  }

  #at(link: NodeLink): ShardedChannel[] {
    return [...(this.#placed.get(link) ?? [])];
  }

  readonly #stop = (): void => {
    this.#isOver = true;
    clearTimeout(this.#asking);
    this.#cluster.off('refresh', this.#placeAll);
    for (const link of this.#links.all()) this.#links.close(link);
  };
}

/** Whether its connection still listens to it: a server that hands a slot over says so by ending the subscription. */
function isHeard({ at, name, isLive }: ShardedChannel): boolean {
  if (!at || !isLive) return true;
  const { subscriber } = (at.redis as unknown as Subscribed).condition;
  return subscriber !== false && subscriber.channels('ssubscribe').includes(name);
}

/** What ioredis keeps to itself. */
interface Subscribed {
  condition: { subscriber: false | { channels(kind: 'ssubscribe'): string[] } };
}

const sharded = new WeakMap<Cluster, ShardedChannels>();

/** The channels of a Cluster's `subscriber` that SPUBLISH reaches. */
export function shardedChannels(cluster: Cluster): Channels {
  let channels = sharded.get(cluster);
  if (!channels) {
    channels = new ShardedChannels(cluster);
    sharded.set(cluster, channels);
  }
  return channels;
}
