/**
 * What servers say of their keys (notify-keyspace-events): that one has expired, and the like.
 *
 * Such events are not sent on to other nodes of a Cluster, so each master is listened to over a connection of its own. They are said once
 * and kept nowhere: what is said while a connection is away is missed. Servers say nothing of the kind unless they are configured to,
 * which this never does: it costs each write of every user of the server.
 */
import type { Cluster, Redis } from 'ioredis';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { reconnectDelayMs } from './backoff.ts';
import { Broadcast, type BroadcastListener } from './broadcast.ts';
import type { RedisClient } from './clients.ts';
import type { Connections } from './connect.ts';
import { explainRedisError } from './explain.ts';
import { NodeLinks, type NodeLink } from './node-links.ts';

/** The events that are listened to, and the letter of each in notify-keyspace-events. */
const LETTERS = { expired: 'x' } as const;
export type KeyEvent = keyof typeof LETTERS;

/** Hears of an event on every server of a topology. Live while all of them are heard. */
export interface KeyEvents {
  readonly isLive: boolean;
  /** Resolves once all masters are heard, for which it waits as long as one is down. Never rejects. */
  open(): Promise<void>;
  close(): void;
}

/** The events of one kind; a message is the name of a key. */
export function keyEvents(
  event: KeyEvent,
  connections: Pick<Connections, 'subscriber'>,
  log: Logger,
  listener: BroadcastListener,
): KeyEvents {
  const client = connections.subscriber();
  const { db = 0 } = client.isCluster ? {} : (client as Redis).options;
  const channel = `__keyevent@${db}__:${event}`;
  if (client.isCluster) return new ClusterKeyEvents(channel, client as Cluster, log, listener);
  return new Broadcast(channel, connections, log, listener);
}

/**
 * Whether each master says such events.
 *
 * @throws MillraceError KEY_EVENTS_OFF, with how to mend it
 */
export async function checkKeyEvents(event: KeyEvent, client: RedisClient, log: Logger): Promise<void> {
  for (const server of await mastersOf(client)) {
    const { host = '', port = 0 } = server.options;
    const flags = await flagsOf(server, log);
    if (flags === undefined || (flags.includes('E') && (flags.includes('A') || flags.includes(LETTERS[event]))))
      continue;
    throw new MillraceError(
      'KEY_EVENTS_OFF',
      `Redis at ${host}:${port} does not say when keys are ${event}: its notify-keyspace-events is '${flags}'. Set it to 'E${LETTERS[event]}' on every server, in redis.conf or with CONFIG SET`,
      { node: `${host}:${port}`, flags },
    );
  }
}

async function mastersOf(client: RedisClient): Promise<Redis[]> {
  if (!client.isCluster) return [client as Redis];
  const cluster = client as Cluster;
  await cluster.ping(); // A Cluster knows its nodes only once it is connected.
  return cluster.nodes('master');
}

/** Undefined where the server does not tell, as hosted ones may not. */
async function flagsOf(server: Redis, log: Logger): Promise<string | undefined> {
  try {
    const [, flags] = await server.config('GET', 'notify-keyspace-events');
    return flags ?? '';
  } catch (error) {
    const failure = explainRedisError(error, `${server.options.host}:${server.options.port}`);
    if (failure.code !== 'REDIS_FORBIDDEN' && failure.code !== 'REDIS_FAILED') throw failure;
    log.warn({ err: failure }, 'whether the server says when keys expire cannot be asked');
    return undefined;
  }
}

class ClusterKeyEvents implements KeyEvents {
  readonly #channel: string;
  readonly #cluster: Cluster;
  readonly #log: Logger;
  readonly #listener: BroadcastListener;
  readonly #links: NodeLinks;
  /** The masters that are heard. */
  readonly #heard = new Set<NodeLink>();
  #opening: Promise<void> | undefined;
  #onOpened: () => void = () => undefined;
  #looking: NodeJS.Timeout | undefined;
  #attempts = 0;
  #isLive = false;
  #isClosed = false;

  constructor(channel: string, cluster: Cluster, log: Logger, listener: BroadcastListener) {
    this.#channel = channel;
    this.#cluster = cluster;
    this.#log = log;
    this.#listener = listener;
    this.#links = new NodeLinks(cluster, {
      onCreate: ({ redis }) => redis.on('message', (_channel: string, key: string) => listener.onMessage(key)),
      onOpen: (link) => this.#subscribe(link),
      onEnd: (link) => this.#onEnd(link),
    });
  }

  get isLive(): boolean {
    return this.#isLive;
  }

  open(): Promise<void> {
    this.#opening ??= new Promise((resolve) => {
      this.#onOpened = resolve;
      this.#cluster.on('refresh', this.#look);
      this.#cluster.once('end', this.#end);
      if (this.#cluster.status === 'wait') this.#cluster.connect().catch(() => undefined); // It connects again, and tells of its slots.
      this.#look();
    });
    return this.#opening;
  }

  close(): void {
    this.#isClosed = true;
    this.#isLive = false;
    clearTimeout(this.#looking);
    this.#cluster.off('refresh', this.#look);
    this.#cluster.off('end', this.#end);
    for (const link of this.#links.all()) this.#links.close(link);
    this.#onOpened();
  }

  readonly #end = (): void => this.close();

  /** Opens what is missing, and lets go of who is no master any more. */
  readonly #look = (): void => {
    if (this.#isClosed) return;
    const masters = this.#masters();
    for (const link of this.#links.all()) if (!masters.has(link.node)) this.#links.close(link);
    for (const node of masters) this.#links.open(node);
    this.#tell();
  };

  #masters(): Set<string> {
    return new Set(this.#cluster.slots.flatMap((nodes) => nodes[0] ?? []));
  }

  #subscribe(link: NodeLink): void {
    link.redis.subscribe(this.#channel).then(
      () => this.#onHeard(link),
      (error: unknown) => this.#log.warn({ err: explainRedisError(error, link.node) }, 'key events are not heard'),
    );
  }

  #onHeard(link: NodeLink): void {
    if (!this.#links.all().includes(link)) return;
    this.#attempts = 0;
    this.#heard.add(link);
    this.#tell();
  }

  #onEnd(link: NodeLink): void {
    this.#heard.delete(link);
    this.#tell();
    if (this.#isClosed) return;
    this.#looking ??= setTimeout(
      () => {
        this.#looking = undefined;
        this.#cluster.refreshSlotsCache(this.#look);
      },
      reconnectDelayMs(++this.#attempts),
    ).unref();
  }

  #tell(): void {
    const masters = this.#masters();
    const isLive = !this.#isClosed && masters.size > 0 && this.#heard.size === masters.size;
    if (isLive === this.#isLive) return;
    this.#isLive = isLive;
    if (isLive) {
      this.#listener.onLive?.();
      this.#onOpened();
    } else {
      this.#listener.onLost?.();
    }
  }
}
