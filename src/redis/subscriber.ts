/**
 * The clients of the `subscriber` role, which tell when messages may have been missed.
 *
 * Pub/sub keeps nothing for whoever is away, so a listener that must not miss anything has to know when it was away. These clients say
 * so with two events of their own, on each topology:
 *
 *   LINK_LOST   the connection that messages come over is gone; from now on they are missed
 *   LINK_OPEN   there is one again; what subscribes now misses nothing from then on
 *
 * A connection that is silent without being closed (a frozen server, a firewall that forgets) would miss messages unnoticed, so it is
 * asked now and then, and given up when it does not answer.
 */
import type { Socket } from 'node:net';
import { Cluster, Redis, type ClusterNode, type ClusterOptions, type RedisOptions } from 'ioredis';

/** Emitted when the connection that messages come over is gone. */
export const LINK_LOST = 'millrace link lost';
/** Emitted when there is a connection again. */
export const LINK_OPEN = 'millrace link open';

/** How often the connection is asked; after as long again without an answer it is given up. */
const ASK_EVERY_MS = 2_000;

type Subscribe = (...args: unknown[]) => Promise<unknown>;

/**
 * On a single server, or the master of a Sentinel set.
 *
 * After a reconnect ioredis subscribes again and leaves the promise to itself. Were the client closed before the answer, as by a
 * process that stops right then, the rejection that nobody handles would end the process.
 */
export class SubscriberRedis extends Redis {
  constructor(options: RedisOptions & { replyMapping: 'legacy' }) {
    super(options);
    watchLink(this, (event) => this.emit(event));
  }

  override subscribe(...args: unknown[]): Promise<unknown> {
    return handled((super.subscribe as Subscribe)(...args));
  }

  override psubscribe(...args: unknown[]): Promise<unknown> {
    return handled((super.psubscribe as Subscribe)(...args));
  }

  override ssubscribe(...args: unknown[]): Promise<unknown> {
    return handled((super.ssubscribe as Subscribe)(...args));
  }
}

/** What ioredis keeps to itself: the connection to whichever node the messages of a Cluster come from. */
interface NodeSelector {
  selectSubscriber: () => void;
  getInstance: () => Redis | null;
}

/** On a Cluster, where messages come from any one node; ioredis chooses another one when that is lost, and tells nobody. */
export class SubscriberCluster extends Cluster {
  constructor(nodes: ClusterNode[], options: ClusterOptions) {
    super(nodes, options as object);
    const { subscriber } = this as unknown as { subscriber: NodeSelector };
    const select = subscriber.selectSubscriber.bind(subscriber);
    let watched: Redis | null = null;
    subscriber.selectSubscriber = () => {
      if (watched) this.emit(LINK_LOST);
      select();
      watched = subscriber.getInstance();
      const link = watched;
      if (link) watchLink(link, (event) => link === watched && this.emit(event));
    };
  }

  override subscribe(...args: unknown[]): Promise<unknown> {
    return handled((super.subscribe as Subscribe)(...args));
  }
}

/** Says when the connection is there and when it is gone, and asks it now and then. */
function watchLink(redis: Redis, tell: (event: string) => void): void {
  let asking: NodeJS.Timeout | undefined;
  redis.on('ready', () => {
    let isAnswered = true;
    let bytesRead = 0;
    clearInterval(asking);
    asking = setInterval(() => {
      const { stream } = redis as unknown as { stream: Socket };
      // Behind many messages an answer takes its time, and whatever comes says that the connection is well.
      const isSilent = stream.bytesRead === bytesRead;
      bytesRead = stream.bytesRead;
      if (!isAnswered) return void (isSilent && stream.destroy(new Error(`no answer for ${ASK_EVERY_MS} ms`)));
      isAnswered = false;
      redis.ping().then(
        () => (isAnswered = true),
        () => undefined, // The connection was lost meanwhile.
      );
    }, ASK_EVERY_MS).unref();
    tell(LINK_OPEN);
  });
  redis.on('close', () => {
    clearInterval(asking);
    tell(LINK_LOST);
  });
}

/** The same promise, whose rejection is no fault of the process if nobody waits for it. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
