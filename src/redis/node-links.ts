/**
 * Connections of a subscriber to single nodes of a Cluster, each opened when it is asked for and ended when its node is.
 *
 * A link never comes back by itself: its node may be gone, or a replica by now, so its owner looks again who is there.
 */
import type { Cluster } from 'ioredis';
import { LINK_OPEN, SubscriberRedis } from './subscriber.ts';

/** A connection to one node. */
export interface NodeLink {
  /** `host:port`. */
  readonly node: string;
  readonly redis: SubscriberRedis;
  /** Whether what is sent now arrives. */
  isOpen: boolean;
}

/** What the owner of links does. */
export interface NodeLinkOwner {
  /** A link was made, and has no connection yet. */
  onCreate(link: NodeLink): void;
  onOpen(link: NodeLink): void;
  /** It is gone for good, whether it ever was open or not. */
  onEnd(link: NodeLink): void;
}

/** The links of one owner. */
export class NodeLinks {
  readonly #cluster: Cluster;
  readonly #owner: NodeLinkOwner;
  readonly #byNode = new Map<string, NodeLink>();

  constructor(cluster: Cluster, owner: NodeLinkOwner) {
    this.#cluster = cluster;
    this.#owner = owner;
  }

  /** The link to the node, which is made if there is none. */
  open(node: string): NodeLink {
    const known = this.#byNode.get(node);
    if (known) return known;
    const colon = node.lastIndexOf(':');
    const redis = new SubscriberRedis({
      ...this.#cluster.options.redisOptions,
      host: node.slice(0, colon),
      port: Number(node.slice(colon + 1)),
      // Of a server that leaves a channel of its own accord RESP3 tells apart from the answers to commands.
      protocol: 3,
      replyMapping: 'legacy',
      retryStrategy: () => null,
      lazyConnect: true,
    });
    const link: NodeLink = { node, redis, isOpen: false };
    this.#byNode.set(node, link);
    redis.on('error', (error) => this.#cluster.emit('node error', error, node));
    redis.once(LINK_OPEN, () => {
      link.isOpen = true;
      this.#owner.onOpen(link);
    });
    redis.once('end', () => {
      link.isOpen = false;
      if (this.#byNode.get(node) === link) this.#byNode.delete(node);
      this.#owner.onEnd(link);
    });
    this.#owner.onCreate(link);
    redis.connect().catch(() => undefined); // Its end tells.
    return link;
  }

  all(): NodeLink[] {
    return [...this.#byNode.values()];
  }

  close(link: NodeLink): void {
    this.#byNode.delete(link.node);
    link.redis.disconnect();
  }
}
