/**
 * The clients of each role, with every option that matters stated on purpose.
 *
 * - `queue` for BullMQ: a request waits as long as it takes (maxRetriesPerRequest null), as BullMQ asks.
 * - `commands` for the modules: has a deadline, and never sends a command twice. ioredis would send commands again whose
 *   answer was lost with the connection, so that a counter counts twice; here such a command fails with REDIS_TIMEOUT,
 *   and the module that sent it knows whether repeating is safe.
 * - `subscriber` for pub/sub: RESP2, so that it can also be the target of CLIENT TRACKING ... REDIRECT, which ioredis
 *   hears on RESP2 only.
 * - `blocking` for a stream consumer's loop: one each, because a blocking read holds up all that comes after it.
 * - `search` for vectors and the Query Engine: node-redis, which knows their replies.
 */
import { Cluster, Redis, type ClusterOptions, type RedisOptions as IoRedisOptions } from 'ioredis';
import { createClient, createCluster, createSentinel } from 'redis';
import type { ConnectionOptions } from 'node:tls';
import type { Address, HostPort } from './address.ts';
import { reconnectDelayMs } from './backoff.ts';

/** What a connection is used for. */
export type Role = 'queue' | 'commands' | 'subscriber' | 'blocking' | 'search';

/** An ioredis client of any topology. */
export type RedisClient = Redis | Cluster;

/**
 * A node-redis client of any topology: what all three kinds have in common. Their full types are not named side by side, because
 * comparing them costs the compiler half a minute.
 */
export type SearchClient = Pick<
  ReturnType<typeof createClient>,
  'ft' | 'json' | 'ping' | 'connect' | 'close' | 'destroy' | 'on'
>;

/** How the ioredis roles differ; the rest is common. */
const ROLE_OPTIONS = {
  queue: { protocol: 3, maxRetriesPerRequest: null },
  commands: { protocol: 3, maxRetriesPerRequest: 3, autoResendUnfulfilledCommands: false },
  subscriber: { protocol: 2, maxRetriesPerRequest: null, autoResubscribe: true },
  blocking: { protocol: 3, maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false },
} as const satisfies Record<Exclude<Role, 'search'>, IoRedisOptions>;

/** An ioredis client, not yet connected: it connects with its first command. */
export function createIoRedis(address: Address, role: Exclude<Role, 'search'>, connectionName: string): RedisClient {
  const common = {
    ...signIn(address),
    ...ROLE_OPTIONS[role],
    ...(role === 'commands' && { commandTimeout: address.commandTimeoutMs }),
    connectionName,
    replyMapping: 'legacy',
    connectTimeout: address.connectTimeoutMs,
    lazyConnect: true,
    showFriendlyErrorStack: false,
  } as const satisfies IoRedisOptions;
  const standalone = {
    ...common,
    db: address.database,
    retryStrategy: reconnectDelay,
    reconnectOnError,
  } satisfies IoRedisOptions;
  const { endpoint } = address;
  switch (endpoint.topology) {
    case 'standalone':
      return new Redis({
        ...standalone,
        ...('socketPath' in endpoint ? { path: endpoint.socketPath } : { host: endpoint.host, port: endpoint.port }),
      });
    case 'sentinel':
      return new Redis({
        ...standalone,
        sentinels: endpoint.sentinels,
        name: endpoint.masterName,
        sentinelRetryStrategy: reconnectDelay,
        sentinelReconnectStrategy: reconnectDelay,
        sentinelCommandTimeout: address.connectTimeoutMs,
        // Without it a client stays with a master that was frozen, not killed, while the Sentinels promoted another.
        failoverDetector: true,
        enableTLSForSentinelMode: address.tls !== undefined,
        ...(address.tls && { sentinelTLS: tlsConnection(address.tls) }),
        ...(address.sentinelUsername !== undefined && { sentinelUsername: address.sentinelUsername }),
        ...(address.sentinelPassword !== undefined && { sentinelPassword: address.sentinelPassword }),
      });
    case 'cluster':
      return new Cluster(endpoint.nodes, {
        lazyConnect: true,
        clusterRetryStrategy: reconnectDelay,
        // A command that was under way on a lost node is not sent again to another one, see above.
        ...(role === 'commands' && { retryDelayOnFailover: 0 }),
        slotsRefreshTimeout: address.connectTimeoutMs,
        slotsRefreshInterval: 5_000,
        dnsLookup: keepHostName,
        redisOptions: common,
      } satisfies ClusterOptions);
  }
}

/** A node-redis client, not yet connected. Until it was ready once, a failure is final, so that connect() rejects with its cause. */
export function createNodeRedis(address: Address, connectionName: string): SearchClient {
  const { endpoint, connectTimeoutMs, database } = address;
  const tls = address.tls && { tls: true as const, ...tlsConnection(address.tls) };
  const node = {
    ...signIn(address),
    RESP: 3 as const,
    name: connectionName,
    commandOptions: { timeout: address.commandTimeoutMs },
    socket: { ...tls, connectTimeout: connectTimeoutMs },
  };
  switch (endpoint.topology) {
    case 'standalone': {
      let wasReady = false;
      const socket = {
        ...node.socket,
        reconnectStrategy: (retries: number, cause: Error) => (wasReady ? reconnectDelayMs(retries + 1) : cause),
        ...('socketPath' in endpoint ? { path: endpoint.socketPath } : { host: endpoint.host, port: endpoint.port }),
      };
      const client = createClient({ ...node, database, socket });
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
          socket: node.socket,
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

/** A master that was demoted answers READONLY: leave it, find the new one, and send the refused command there. It has not run. */
function reconnectOnError(error: Error): false | 2 {
  return error.message.startsWith('READONLY') ? 2 : false;
}

/** Leaves host names to the connection itself, so that TLS checks the name and not the number. */
function keepHostName(host: string, callback: (error: null, address: string) => void): void {
  callback(null, host);
}
