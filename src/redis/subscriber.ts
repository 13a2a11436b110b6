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
import { Redis, type ClusterNode, type ClusterOptions, type RedisOptions } from 'ioredis';
import { PatientCluster, watchHandshake } from './handshake.ts';
import { giveUpIfSilent } from './silence.ts';

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
export class SubscriberCluster extends PatientCluster {
  constructor(nodes: ClusterNode[], options: ClusterOptions) {
    super(nodes, options);
    const { subscriber } = this as unknown as { subscriber: NodeSelector };
    const select = subscriber.selectSubscriber.bind(subscriber);
    let watched: Redis | null = null;
    subscriber.selectSubscriber = () => {
      if (watched) this.emit(LINK_LOST);
      select();
      watched = subscriber.getInstance();
      const link = watched;
      if (!link) return;
      // ioredis does not pass it on, and reads it when there is a socket, which there is not yet.
      link.options.connectTimeout = options.redisOptions?.connectTimeout;
      watchLink(link, (event) => link === watched && this.emit(event));
      // With each choice ioredis disconnects the last one that was subscribed, and hangs one more listener on its dead socket.
      link.once('end', () => (link.disconnect = () => undefined));
    };
  }

  override subscribe(...args: unknown[]): Promise<unknown> {
    return handled((super.subscribe as Subscribe)(...args));
  }
}

/** Says when the connection is there and when it is gone, and asks it now and then. */
function watchLink(redis: Redis, tell: (event: string) => void): void {
  let asking: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  const end = (): void => {
    clearInterval(asking);
    stop?.();
  };
  watchHandshake(redis);
  redis.on('ready', () => {
    let isAnswered = true;
    end();
    asking = setInterval(() => {
      if (!isAnswered) return;
      isAnswered = false;
      redis.ping().then(
        () => (isAnswered = true),
        () => undefined, // The connection was lost meanwhile.
      );
    }, ASK_EVERY_MS).unref();
    stop = giveUpIfSilent(redis, ASK_EVERY_MS, `no answer for ${ASK_EVERY_MS} ms`);
    tell(LINK_OPEN);
  });
  redis.on('close', () => {
    end();
    tell(LINK_LOST);
  });
}

/** The same promise, whose rejection is no fault of the process if nobody waits for it. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
