/**
 * Looks at the server before anything relies on it, and says in one error what is wrong.
 *
 * The long-lived clients retry by design, so a refused password would show as a silent wait or as a page of retries. This
 * look uses connections of its own that never retry, and leaves nothing open.
 */
import type { Redis } from 'ioredis';
import type { Logger } from '../log.ts';
import { withDeadline } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError, type ErrorCode } from '../errors.ts';
import { formatHostPort, type Address, type HostPort } from './address.ts';
import { createOneShot } from './clients.ts';
import { clusterDown, parseClusterState } from './cluster-state.ts';
import { explainRedisError } from './explain.ts';
import { isAtLeast, OLDEST_SUPPORTED, parseInfo, serverName, type ServerInfo } from './server-info.ts';

type Target = HostPort | { socketPath: string };

/**
 * INFO of the server (of a Sentinel set the master's, of a Cluster that of the first node which answers), once all is well.
 *
 * @throws MillraceError with the code of what is wrong: REDIS_UNREACHABLE, REDIS_AUTH_FAILED, REDIS_NOT_REDIS, REDIS_TOO_OLD ...
 */
export async function verifyServer(
  address: Address,
  log: Logger,
  options: { oldest?: string | undefined } = {},
): Promise<ServerInfo> {
  const info = await look(address, log);
  const oldest = options.oldest ?? OLDEST_SUPPORTED[info.kind];
  if (!isAtLeast(info.version, oldest)) {
    throw new MillraceError(
      'REDIS_TOO_OLD',
      `Redis at ${address.label}: ${serverName(info)} is too old; Redis ${OLDEST_SUPPORTED.redis}, Valkey ${OLDEST_SUPPORTED.valkey} or newer is needed`,
      { address: address.label, version: info.version, oldest },
    );
  }
  const policy = info.fields.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    log.warn(
      { policy },
      `the server's maxmemory-policy is ${policy}: when memory runs short it may evict jobs; set it to noeviction`,
    );
  }
  return info;
}

function look(address: Address, log: Logger): Promise<ServerInfo> {
  const { endpoint } = address;
  switch (endpoint.topology) {
    case 'standalone':
      return lookAtStandalone(address, endpoint);
    case 'sentinel':
      return lookThroughSentinels(address, endpoint, log);
    case 'cluster':
      return lookAtCluster(address, endpoint.nodes, log);
  }
}

async function lookAtStandalone(address: Address, target: Target): Promise<ServerInfo> {
  const info = await ask(address, target, async (client) => parseInfo(await client.info()));
  if (info.mode === 'cluster') throw wrongTopology(address, 'a Cluster node', 'list the nodes in REDIS_CLUSTER_NODES');
  if (info.mode === 'sentinel') throw wrongTopology(address, 'a Sentinel', 'set REDIS_SENTINELS and REDIS_MASTER_NAME');
  if (info.role === 'slave') throw explainRedisError(new Error('READONLY it follows a master'), address.label);
  return info;
}

async function lookAtCluster(address: Address, nodes: readonly HostPort[], log: Logger): Promise<ServerInfo> {
  const answers = await askEach(address, nodes, 'server', log, async (client) => {
    const info = parseInfo(await client.info());
    if (info.mode !== 'cluster')
      throw wrongTopology(address, `a ${info.mode} server`, 'set REDIS_URL instead of REDIS_CLUSTER_NODES');
    return { info, state: parseClusterState(await client.cluster('INFO')) };
  });
  const best = answers.find(({ state }) => state.isOk);
  if (best) return best.info;
  throw clusterDown(address.label, Math.max(...answers.map(({ state }) => state.slotsServed)));
}

async function lookThroughSentinels(
  address: Address,
  endpoint: { sentinels: HostPort[]; masterName: string },
  log: Logger,
): Promise<ServerInfo> {
  const { masterName } = endpoint;
  const answers = await askEach(address, endpoint.sentinels, 'sentinel', log, async (client) => {
    try {
      return (await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName)) as [string, string] | null;
    } catch (error) {
      if (error instanceof Error && error.message.includes('unknown command')) {
        throw wrongTopology(
          address,
          'not a Sentinel',
          'list Sentinels (port 26379 as a rule) in REDIS_SENTINELS, or set REDIS_URL',
        );
      }
      throw error;
    }
  });
  const found = answers.find((answer) => answer !== null);
  if (!found) {
    throw new MillraceError(
      'REDIS_UNREACHABLE',
      `Redis at ${address.label}: the Sentinels watch no master named "${masterName}". Check REDIS_MASTER_NAME`,
      { address: address.label, masterName },
    );
  }
  const target = { host: found[0], port: Number(found[1]) };
  const info = await ask(address, target, async (client) => parseInfo(await client.info()));
  if (info.role === 'slave') {
    throw new MillraceError(
      'REDIS_WRITES_REFUSED',
      `Redis at ${address.label}: the Sentinels name ${formatHostPort(target)} as the master, and it is a replica: a failover is under way. Try again in a few seconds`,
      { address: address.label },
    );
  }
  return info;
}

/** The answers of those nodes that answer; one that does not is worth a warning while another does. */
async function askEach<T>(
  address: Address,
  nodes: readonly HostPort[],
  as: 'server' | 'sentinel',
  log: Logger,
  question: (client: Redis) => Promise<T>,
): Promise<T[]> {
  const outcomes = await Promise.allSettled(nodes.map((node) => ask(address, node, question, as)));
  const answers = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const failures = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [outcome.reason as MillraceError] : [],
  );
  // A refusal says more than silence: a wrong password is not hidden behind a node that is down as well.
  if (answers.length === 0) throw failures.find(({ code }) => code !== 'REDIS_UNREACHABLE') ?? failures[0];
  for (const { message } of failures) log.warn(`one of ${nodes.length} nodes does not answer: ${message}`);
  return answers;
}

async function ask<T>(
  address: Address,
  target: Target,
  question: (client: Redis) => Promise<T>,
  as: 'server' | 'sentinel' = 'server',
): Promise<T> {
  const label = labelOf(address, target);
  const client = createOneShot(address, target, as);
  let isConnected = false;
  client.on('connect', () => (isConnected = true));
  // The first error is the one that tells. Not all of them end the connection: after a refused SELECT it would go on in database 0.
  const failed = new Promise<never>((_resolve, reject) => client.on('error', reject));
  const answered = client.connect().then(() => question(client));
  const late = (): MillraceError => explainSilence(address, client, isConnected, label);
  try {
    return await withDeadline(Promise.race([failed, answered]), address.connectTimeoutMs, late);
  } catch (error) {
    throw explainHandshake(error, isConnected, label);
  } finally {
    client.disconnect();
  }
}

/** What it means that nothing came in time: nobody there, nobody who speaks TLS, or somebody who says nothing. */
function explainSilence(address: Address, client: Redis, isConnected: boolean, label: string): MillraceError {
  const waited = formatMs(address.connectTimeoutMs);
  const error = (code: ErrorCode, found: string): MillraceError =>
    new MillraceError(code, `Redis at ${label}: ${found}`, { address: label });
  if (isConnected) {
    return error(
      'REDIS_TIMEOUT',
      `something accepts connections but has not answered in ${waited}: a frozen server, or another program. Check host and port`,
    );
  }
  const isOpen = !(client.stream?.connecting ?? true);
  if (address.tls && isOpen) {
    return error(
      'REDIS_TLS_FAILED',
      `no answer to the TLS handshake in ${waited}. Check that the server speaks TLS on this port; redis:// is without TLS`,
    );
  }
  return error('REDIS_UNREACHABLE', `no connection in ${waited}. Check the address, the network and the firewall`);
}

/** A server that hangs up during the handshake has said nothing, which is what a TLS port does to a plain client. */
function explainHandshake(error: unknown, isConnected: boolean, label: string): MillraceError {
  const explained = explainRedisError(error, label);
  const hungUp = error instanceof Error && /Connection is closed|ECONNRESET/.test(error.message);
  if (!hungUp || !isConnected) return explained;
  return new MillraceError(
    'REDIS_NOT_REDIS',
    `Redis at ${label}: the connection was closed without an answer. Another program listens there, or the server wants TLS (rediss://)`,
    { address: label, cause: error },
  );
}

function wrongTopology(address: Address, what: string, mend: string): MillraceError {
  return new MillraceError('REDIS_WRONG_TOPOLOGY', `Redis at ${address.label}: this is ${what}; ${mend}`, {
    address: address.label,
  });
}

function labelOf(address: Address, target: Target): string {
  if (address.endpoint.topology === 'standalone' || 'socketPath' in target) return address.label;
  return `${address.tls ? 'rediss' : 'redis'}://${formatHostPort(target)}`;
}
