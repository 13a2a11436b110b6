/**
 * The clients of each role, with every option that matters stated on purpose.
 *
 * - `queue` for BullMQ: a request waits as long as it takes (maxRetriesPerRequest null), as BullMQ asks.
 * - `commands` for the modules: has a deadline, and never sends a command twice. ioredis would send commands again whose
 *   answer was lost with the connection, so that a counter counts twice; here such a command fails with REDIS_UNREACHABLE
 *   at once, and the module that sent it knows whether repeating is safe.
 * - `subscriber` for pub/sub: RESP2, so that it can also be the target of CLIENT TRACKING ... REDIRECT, which ioredis
 *   hears on RESP2 only.
 * - `blocking` for a stream consumer's loop: one each, because a blocking read holds up all that comes after it.
 * - `transaction` for WATCH, MULTI, EXEC: one each, and it never comes back once it is lost. The server forgets what was
 *   watched together with the connection, so on a new one the EXEC would run unguarded.
 * - `search` for vectors and the Query Engine: node-redis, which knows their replies.
 */
import {
  Redis,
  SentinelConnector,
  type Cluster,
  type ClusterOptions,
  type Command,
  type RedisOptions as IoRedisOptions,
  type SentinelConnectionOptions,
} from 'ioredis';
import type { createClient as CreateClient } from 'redis';
import type { ConnectionOptions } from 'node:tls';
import type { Address, HostPort } from './address.ts';
import { reconnectDelayMs } from './backoff.ts';
import { PatientCluster } from './handshake.ts';
import { JoiningRedis } from './joining-redis.ts';
import { giveUpIfSilent } from './silence.ts';
import { SubscriberCluster, SubscriberRedis } from './subscriber.ts';

/** What a connection is used for. */
export type Role = 'queue' | 'commands' | 'subscriber' | 'blocking' | 'transaction' | 'search';

/** The two kinds of ioredis client, for whoever must tell them apart. */
export type { Cluster as ClusterClient, Redis as SingleClient } from 'ioredis';

/** An ioredis client of any topology. */
export type RedisClient = Redis | Cluster;

/**
 * A node-redis client of any topology: what all three kinds have in common. Their full types are not named side by side, because
 * comparing them costs the compiler half a minute.
 */
export type SearchClient = Pick<
  ReturnType<typeof CreateClient>,
  'ft' | 'json' | 'ping' | 'connect' | 'close' | 'destroy' | 'on'
>;

/** How long a hang-up waits for the server to hang up too; a frozen one never does. */
const HANG_UP_WITHIN_MS = 100;

/** How the ioredis roles differ; the rest is common. */
const ROLE_OPTIONS = {
  queue: { protocol: 3, maxRetriesPerRequest: null },
  commands: { protocol: 3, maxRetriesPerRequest: 3, autoResendUnfulfilledCommands: false },
  subscriber: { protocol: 2, maxRetriesPerRequest: null, autoResubscribe: true },
  blocking: { protocol: 3, maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false },
  transaction: { protocol: 3, maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false },
} as const satisfies Record<Exclude<Role, 'search'>, IoRedisOptions>;

/**
 * An ioredis client, not yet connected: it connects with its first command.
 *
 * @param node The node of a Cluster that a `transaction` goes to.
 */
export function createIoRedis(
  address: Address,
  role: Exclude<Role, 'search'>,
  connectionName: string,
  node?: HostPort,
): RedisClient {
  const common = {
    ...signIn(address),
    ...ROLE_OPTIONS[role],
    ...((role === 'commands' || role === 'transaction') && { commandTimeout: address.commandTimeoutMs }),
    connectionName,
    replyMapping: 'legacy',
    connectTimeout: address.connectTimeoutMs,
    disconnectTimeout: HANG_UP_WITHIN_MS,
    lazyConnect: true,
    showFriendlyErrorStack: false,
  } as const satisfies IoRedisOptions;
  const comesBack = role !== 'transaction';
  const retryStrategy = comesBack ? reconnectDelay : neverAgain;
  const single = { ...common, db: address.database, retryStrategy } satisfies IoRedisOptions;
  const mayResend = role === 'queue' || role === 'subscriber';
  const SingleClient = role === 'subscriber' ? SubscriberRedis : mayResend ? JoiningRedis : OneTryRedis;
  const { endpoint } = address;
  switch (endpoint.topology) {
    case 'standalone':
      return new SingleClient({
        ...single,
        // The name may lead to another server by now; the refused command fails, because as a rule it leads to the same replica.
        reconnectOnError: (error) => (comesBack && isDemoted(error) ? 1 : false),
        ...('socketPath' in endpoint ? { path: endpoint.socketPath } : { host: endpoint.host, port: endpoint.port }),
      });
    case 'sentinel':
      return new SingleClient({
        ...single,
        // Leave it, find the new master, and send the refused command there: it has not run.
        reconnectOnError: (error) => (comesBack && isDemoted(error) ? 2 : false),
        Connector: TidySentinelConnector,
        sentinels: endpoint.sentinels,
        name: endpoint.masterName,
        sentinelRetryStrategy: retryStrategy,
        sentinelReconnectStrategy: reconnectDelay,
        sentinelCommandTimeout: address.connectTimeoutMs,
        // Without it a client stays with a master that was frozen, not killed, while the Sentinels promoted another.
        failoverDetector: true,
        enableTLSForSentinelMode: address.tls !== undefined,
        ...(address.tls && { sentinelTLS: tlsConnection(address.tls) }),
        ...(address.sentinelUsername !== undefined && { sentinelUsername: address.sentinelUsername }),
        ...(address.sentinelPassword !== undefined && { sentinelPassword: address.sentinelPassword }),
      });
    case 'cluster': {
      if (node) return new OneTryRedis({ ...common, retryStrategy, ...node });
      const ClusterClient = role === 'subscriber' ? SubscriberCluster : mayResend ? PatientCluster : OneTryCluster;
      return new ClusterClient(endpoint.nodes, {
        lazyConnect: true,
        // Without the delay, a command that was under way on a lost node is not sent again to another one.
        ...(!mayResend && { retryDelayOnFailover: 0 }),
        clusterRetryStrategy: reconnectDelay,
        slotsRefreshTimeout: address.connectTimeoutMs,
        slotsRefreshInterval: 5_000,
        dnsLookup: keepHostName,
        redisOptions: common,
      } satisfies ClusterOptions);
    }
  }
}

/** How the error of a silent socket begins; explain.ts knows it. */
const SILENCE = 'Socket timeout';

/**
 * Sends a command once, and only as long as somebody waits for its answer.
 *
 * With autoResendUnfulfilledCommands off, ioredis forgets the commands that were under way when the connection was lost: a
 * blocking read would never end. And it still sends those that timed out while they waited for the connection.
 *
 * The deadline of commands under way is the socket's: when nothing at all has come for that long, the connection is given up, and they
 * with it. A timer for each command would cost a tenth of the throughput, ioredis' own timer for each answer (socketTimeout) still some
 * per cent; so the socket is looked at now and then. Only commands that wait for a connection have a timer.
 */
class OneTryRedis extends JoiningRedis {
  readonly #deadlineMs: number | undefined;
  #stopWatch: (() => void) | undefined;

  constructor({ commandTimeout, ...options }: IoRedisOptions & { replyMapping: 'legacy' }) {
    super(options);
    this.#deadlineMs = commandTimeout;
    if (commandTimeout !== undefined) this.on('connect', () => this.#watch(commandTimeout));
    const { flushQueue } = this as unknown as { flushQueue: (error: Error, of: { offlineQueue: boolean }) => void };
    let timeout: Error | undefined;
    this.on('error', (error: Error) => {
      timeout = error.message.startsWith(SILENCE) ? error : undefined;
    });
    this.on('close', () => {
      this.#stopWatch?.();
      flushQueue.call(this, timeout ?? new Error('Connection is closed.'), { offlineQueue: false });
      timeout = undefined;
    });
  }

  override sendCommand(command: Command, stream?: Parameters<Redis['sendCommand']>[1]): unknown {
    if (command.isSettled) return command.promise;
    if (this.#deadlineMs !== undefined && this.status !== 'ready') command.setTimeout(this.#deadlineMs);
    try {
      return super.sendCommand(command, stream);
    } catch (error) {
      return failed(command, error);
    }
  }

  #watch(deadlineMs: number): void {
    this.#stopWatch?.();
    this.#stopWatch = giveUpIfSilent(this, deadlineMs, `${SILENCE}: nothing came for ${deadlineMs} ms`);
  }
}

/** The same on a Cluster, whose nodes' clients know the deadline, but not the queue in which commands wait for the first node. */
class OneTryCluster extends PatientCluster {
  override sendCommand(...args: Parameters<Cluster['sendCommand']>): unknown {
    const [command] = args;
    const { commandTimeout } = this.options.redisOptions ?? {};
    if (command.isSettled) return command.promise;
    if (commandTimeout !== undefined) command.setTimeout(commandTimeout);
    try {
      return super.sendCommand(...args);
    } catch (error) {
      return failed(command, error);
    }
  }
}

/** A command that ioredis cannot write out fails, instead of throwing past its timer. */
function failed(command: Command, error: unknown): unknown {
  command.reject(error as Error);
  return command.promise;
}

/**
 * Hears of failovers on connections to the Sentinels that live no longer than the connection to the master.
 *
 * ioredis leaves them open after QUIT, so that the process cannot end; opens them even after a disconnect; and listens to none of
 * their errors, so that each attempt to reach a Sentinel that is down is printed to the console.
 */
class TidySentinelConnector extends SentinelConnector {
  readonly #inner = this as unknown as {
    connectToSentinel: (endpoint: unknown, options?: object) => Redis;
    initFailoverDetector: () => Promise<void>;
    failoverDetector: { cleanup: () => void } | null;
  };

  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
    const inner = this.#inner;
    const connectToSentinel = inner.connectToSentinel.bind(this);
    const initFailoverDetector = inner.initFailoverDetector.bind(this);
    inner.connectToSentinel = (endpoint, more) =>
      connectToSentinel(endpoint, { disconnectTimeout: HANG_UP_WITHIN_MS, ...more }).on('error', () => undefined);
    inner.initFailoverDetector = async () => {
      if (this.connecting) await initFailoverDetector();
    };
  }

  override async connect(...args: Parameters<SentinelConnector['connect']>): ReturnType<SentinelConnector['connect']> {
    const stream = await super.connect(...args);
    stream.once('close', () => {
      this.#inner.failoverDetector?.cleanup();
      this.#inner.failoverDetector = null; // Each attempt to connect would hang a listener more on its sockets.
    });
    return stream;
  }
}

/** How often the search client asks within the silence that ends its connection. */
const ASKS = 4;

/** A node-redis client, not yet connected. Until it was ready once, a failure is final, so that connect() rejects with its cause. */
export async function createNodeRedis(address: Address, connectionName: string): Promise<SearchClient> {
  // Loaded by whoever searches: it takes a quarter of a second, which every other start would pay too.
  const { createClient, createCluster, createSentinel } = await import('redis');
  const { endpoint, connectTimeoutMs, commandTimeoutMs, database } = address;
  // node-redis has no deadline for a handshake alone. This one is for every silence, so a connection on which nothing is asked is asked in time.
  const socketTimeout = Math.max(connectTimeoutMs, commandTimeoutMs);
  const tls = address.tls && { tls: true as const, ...tlsConnection(address.tls) };
  const socket = { ...tls, connectTimeout: connectTimeoutMs };
  const node = {
    ...signIn(address),
    RESP: 3 as const,
    name: connectionName,
    commandOptions: { timeout: commandTimeoutMs },
    pingInterval: socketTimeout / ASKS,
    socket: { ...socket, socketTimeout, reconnectStrategy: (retries: number) => reconnectDelayMs(retries + 1) },
  };
  switch (endpoint.topology) {
    case 'standalone': {
      let wasReady = false;
      const toServer = {
        ...node.socket,
        reconnectStrategy: (retries: number, cause: Error) => (wasReady ? reconnectDelayMs(retries + 1) : cause),
        ...('socketPath' in endpoint ? { path: endpoint.socketPath } : { host: endpoint.host, port: endpoint.port }),
      };
      const client = createClient({ ...node, database, socket: toServer });
      client.once('ready', () => (wasReady = true));
      return client as unknown as SearchClient;
    }
    case 'sentinel': {
      const { sentinelUsername: username, sentinelPassword: password } = address;
      return createSentinel({
        name: endpoint.masterName,
        sentinelRootNodes: endpoint.sentinels,
        nodeClientOptions: { ...node, database },
        sentinelClientOptions: {
          ...(username !== undefined && { username }),
          ...(password !== undefined && { password }),
          socket,
        },
      }) as unknown as SearchClient;
    }
    case 'cluster':
      return createCluster({
        rootNodes: endpoint.nodes.map((root) => ({ socket: root })),
        defaults: node,
      }) as unknown as SearchClient;
  }
}

/** One connection to one node that never retries: to look, to say what is wrong, and to go. */
export function createOneShot(
  address: Address,
  target: HostPort | { socketPath: string },
  as: 'server' | 'sentinel',
): Redis {
  const user =
    as === 'server'
      ? signIn(address)
      : signIn({ ...address, username: address.sentinelUsername, password: address.sentinelPassword });
  return new Redis({
    ...user,
    ...('socketPath' in target ? { path: target.socketPath } : target),
    ...(as === 'server' && { db: address.database }),
    protocol: 2,
    connectionName: `${address.name}:verify`,
    connectTimeout: address.connectTimeoutMs,
    disconnectTimeout: HANG_UP_WITHIN_MS,
    lazyConnect: true,
    enableReadyCheck: false,
    maxRetriesPerRequest: null,
    retryStrategy: () => null,
    disableClientInfo: true,
  });
}

function signIn(address: Address): { username?: string; password?: string; tls?: ConnectionOptions } {
  return {
    ...(address.username !== undefined && { username: address.username }),
    ...(address.password !== undefined && { password: address.password }),
    ...(address.tls && { tls: tlsConnection(address.tls) }),
  };
}

function tlsConnection(tls: NonNullable<Address['tls']>): ConnectionOptions {
  return Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
}

function reconnectDelay(attempt: number): number {
  return reconnectDelayMs(attempt);
}

function neverAgain(): null {
  return null;
}

/** A master that was demoted answers so; the command has not run. */
function isDemoted(error: Error): boolean {
  return error.message.startsWith('READONLY');
}

/** Leaves host names to the connection itself, so that TLS checks the name and not the number. */
function keepHostName(host: string, callback: (error: null, address: string) => void): void {
  callback(null, host);
}
