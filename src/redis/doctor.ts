/**
 * The doctor: a full look at the server, and for each thing that is wrong what it means and how to mend it.
 *
 * Looking costs a few hundred short round trips and changes nothing but the probe's key. In a Cluster each master is looked at, and a
 * finding names the node.
 */
import type { Redis } from 'ioredis';
import { Cluster } from 'ioredis';
import { systemClock, type Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { Topology } from './address.ts';
import type { Capabilities } from './capabilities.ts';
import type { Connections } from './connect.ts';
import { explainRedisError } from './explain.ts';
import { probeServer } from './probe.ts';
import { isAtLeast, numberIn, OLDEST_SUPPORTED, parseInfo, serverName, type ServerInfo } from './server-info.ts';

/** How bad a finding is: a `note` is worth knowing, a `warning` can lose work or time, an `error` stops work. */
export type Severity = 'note' | 'warning' | 'error';

/** Something that could be better. */
export interface Finding {
  /** For programs; stable. */
  id: string;
  severity: Severity;
  /** What was found. */
  found: string;
  /** What it means for jobs and data. */
  means: string;
  /** How to mend it. */
  mend: string;
}

/** What one server said. */
export interface NodeReport {
  address: string;
  server: string;
  role: string;
  uptimeSeconds: number;
  /** `snapshots` is undefined where the server does not let us ask (CONFIG is often closed on hosted ones). */
  persistence: { appendOnly: boolean; snapshots: boolean | undefined; lastWriteOk: boolean };
  evictionPolicy: string;
  memory: { usedBytes: number; limitBytes: number; machineBytes: number };
  connections: { used: number; limit: number };
  replicas: number;
}

/** The doctor's report. */
export interface Report {
  /** False when a finding is a warning or an error. */
  ok: boolean;
  address: string;
  topology: Topology;
  nodes: NodeReport[];
  /** The server's clock less this machine's; half a round trip uncertain. */
  clockSkewMs: number;
  roundTrip: { medianMs: number; p99Ms: number; samples: number };
  capabilities: Capabilities;
  findings: Finding[];
}

const ROUND_TRIPS = 200;
const SKEW_LIMIT_MS = 1_000;
/** Twice the way between two zones of one region and back. A busy machine stays below, so that it is no false alarm. */
const SLOW_MEDIAN_MS = 10;
/** What a busy machine shows now and then, and so only worth a note. */
const SLOW_P99_MS = 50;
const NEARLY_FULL = 0.8;

/**
 * Looks at the server.
 *
 * @throws MillraceError when it cannot be reached or does not answer.
 */
export async function diagnose(connections: Connections, prefix: string, clock: Clock = systemClock): Promise<Report> {
  const capabilities = await connections.capabilities();
  const probed = await probe(connections, prefix, clock);
  const clients = await mastersOf(connections);
  const looked = await Promise.all(clients.map((client) => lookAt(client, addressOf(client, connections.label))));
  const nodes = looked.map(({ node }) => node);
  const roundTrip = await measureRoundTrips(clients).catch((error: unknown) => {
    throw explainRedisError(error, connections.label);
  });
  const findings = [
    ...probed.findings,
    ...looked.flatMap(({ node, info }) => nodeFindings(node, info, looked.length > 1)),
    ...timeFindings(probed.clockSkewMs, roundTrip),
    ...capabilityFindings(capabilities),
  ];
  return {
    ok: findings.every(({ severity }) => severity === 'note'),
    address: connections.label,
    topology: connections.topology,
    nodes,
    clockSkewMs: probed.clockSkewMs,
    roundTrip,
    capabilities,
    findings,
  };
}

/** A write by a script, as every module makes it, and the clock on the way. */
async function probe(
  connections: Connections,
  prefix: string,
  clock: Clock,
): Promise<{ clockSkewMs: number; findings: Finding[] }> {
  try {
    await probeServer(connections, prefix); // The first one may carry the connection's set-up.
    const before = clock.wallMs();
    const serverMs = await probeServer(connections, prefix);
    return { clockSkewMs: Math.round(serverMs - (before + clock.wallMs()) / 2), findings: [] };
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code === 'REDIS_UNREACHABLE' || error.code === 'REDIS_TIMEOUT')
      throw error;
    const finding: Finding = {
      id: 'writes-refused',
      severity: 'error',
      found: error.message,
      means: 'no job can be enqueued or finished, and no module can write',
      mend: 'see the reason above; INFO persistence, INFO replication and ACL WHOAMI tell more',
    };
    return { clockSkewMs: 0, findings: [finding] };
  }
}

async function mastersOf(connections: Connections): Promise<Redis[]> {
  const client = connections.commands();
  if (!(client instanceof Cluster)) return [client];
  return client.nodes('master');
}

async function lookAt(client: Redis, address: string): Promise<{ node: NodeReport; info: ServerInfo }> {
  const [reply, save] = await Promise.all([
    client.info(),
    client.config('GET', 'save').then(
      (pair) => pair[1],
      () => undefined,
    ),
  ]).catch((error: unknown) => {
    throw explainRedisError(error, address);
  });
  const info = parseInfo(reply);
  return { node: nodeReport(address, info, save === undefined ? undefined : save !== ''), info };
}

function nodeReport(address: string, info: ServerInfo, snapshots: boolean | undefined): NodeReport {
  const { fields } = info;
  return {
    address,
    server: serverName(info),
    role: info.role === 'slave' ? 'replica' : 'master',
    uptimeSeconds: numberIn(info, 'uptime_in_seconds'),
    persistence: {
      appendOnly: fields.get('aof_enabled') === '1',
      snapshots,
      lastWriteOk: fields.get('aof_last_write_status') !== 'err' && fields.get('rdb_last_bgsave_status') !== 'err',
    },
    evictionPolicy: fields.get('maxmemory_policy') ?? 'unknown',
    memory: {
      usedBytes: numberIn(info, 'used_memory'),
      limitBytes: numberIn(info, 'maxmemory'),
      machineBytes: numberIn(info, 'total_system_memory'),
    },
    connections: { used: numberIn(info, 'connected_clients'), limit: numberIn(info, 'maxclients') },
    replicas: numberIn(info, 'connected_slaves'),
  };
}

function nodeFindings(node: NodeReport, info: ServerInfo, nameNode: boolean): Finding[] {
  const findings: Finding[] = [];
  const add = (id: string, severity: Severity, found: string, means: string, mend: string): void => {
    findings.push({ id, severity, found: nameNode ? `${node.address}: ${found}` : found, means, mend });
  };
  if (!isAtLeast(info.version, OLDEST_SUPPORTED[info.kind])) {
    add(
      'server-old',
      'warning',
      `${node.server} is older than ${OLDEST_SUPPORTED[info.kind]}`,
      'it is not tested with Millrace',
      `move to Redis 8 or Valkey 8`,
    );
  }
  if (!node.persistence.appendOnly) {
    const snapshots = node.persistence.snapshots === false;
    add(
      'append-only-off',
      'warning',
      snapshots ? 'nothing is written to disk: no append-only file, no snapshots' : 'the append-only file is off',
      snapshots
        ? 'a restart of the server loses all jobs and data'
        : 'a crash of the server loses every job since its last snapshot',
      'CONFIG SET appendonly yes, and appendonly yes in redis.conf',
    );
  }
  if (!node.persistence.lastWriteOk) {
    add(
      'disk-write-failed',
      'error',
      'the last write to disk failed',
      'the server refuses writes until one succeeds',
      'free space on its disk, or mend the permissions of its folder; its log names the cause',
    );
  }
  if (node.evictionPolicy !== 'noeviction') {
    add(
      'eviction-on',
      'warning',
      `maxmemory-policy is ${node.evictionPolicy}`,
      'when memory runs short the server may delete jobs, locks and sessions',
      'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf; give caches a Redis of their own',
    );
  }
  const { usedBytes, limitBytes, machineBytes } = node.memory;
  if (limitBytes === 0) {
    add(
      'memory-unlimited',
      'note',
      'maxmemory is not set',
      'a backlog can grow until the system kills the server; with a limit, enqueueing fails with a clear error instead',
      'CONFIG SET maxmemory to some three quarters of the memory that the server may use',
    );
  }
  const bound = limitBytes || machineBytes;
  if (bound > 0 && usedBytes / bound > NEARLY_FULL) {
    add(
      'memory-nearly-full',
      'warning',
      `${percent(usedBytes / bound)} of the memory is used`,
      'at 100 % every write is refused, or the system kills the server',
      'remove finished jobs sooner, or give the server more memory',
    );
  }
  const { used, limit } = node.connections;
  if (limit > 0 && used / limit > NEARLY_FULL) {
    add(
      'connections-nearly-full',
      'warning',
      `${used} of ${limit} connections are used`,
      'at the limit new workers cannot connect',
      'raise maxclients (and the limit of open files), or run fewer processes; CLIENT LIST shows who holds them',
    );
  }
  return findings;
}

function timeFindings(clockSkewMs: number, { medianMs, p99Ms }: Report['roundTrip']): Finding[] {
  const findings: Finding[] = [];
  if (Math.abs(clockSkewMs) > SKEW_LIMIT_MS) {
    findings.push({
      id: 'clock-skew',
      severity: 'warning',
      found: `the server's clock is ${formatMs(Math.abs(clockSkewMs))} ${clockSkewMs > 0 ? 'ahead of' : 'behind'} this machine's`,
      means:
        'delays and schedules that this machine reckons fire that much early or late; what the server reckons (locks, limits) is not affected',
      mend: 'run NTP on both machines',
    });
  }
  if (medianMs > SLOW_MEDIAN_MS || p99Ms > SLOW_P99_MS) {
    findings.push({
      id: 'slow-round-trips',
      severity: medianMs > SLOW_MEDIAN_MS ? 'warning' : 'note',
      found: `a round trip takes ${formatMs(medianMs)} (median) and ${formatMs(p99Ms)} (p99)`,
      means: 'each step of a job waits that long; a p99 far above the median points to slow commands or a busy machine',
      mend: 'move the workers closer to the server; SLOWLOG GET shows slow commands',
    });
  }
  return findings;
}

function capabilityFindings({ features }: Capabilities): Finding[] {
  if (features.vectorSets || features.queryEngine) return [];
  return [
    {
      id: 'vectors-off',
      severity: 'note',
      found: 'the server has neither vector sets nor the Query Engine',
      means: 'the vector module cannot be used; everything else can',
      mend: 'run Redis 8 (image redis:8)',
    },
  ];
}

async function measureRoundTrips(clients: readonly Redis[]): Promise<Report['roundTrip']> {
  const samples: number[] = [];
  for (let index = 0; index < ROUND_TRIPS; index++) {
    const client = clients[index % clients.length] as Redis;
    const start = systemClock.monotonicMs();
    await client.time(); // Not PING, which a server that cannot write to its disk refuses.
    samples.push(systemClock.monotonicMs() - start);
  }
  samples.sort((left, right) => left - right);
  const at = (share: number): number => Number((samples[Math.floor((samples.length - 1) * share)] ?? 0).toFixed(3));
  return { medianMs: at(0.5), p99Ms: at(0.99), samples: samples.length };
}

function addressOf({ options, stream }: Redis, label: string): string {
  const { host, port, path, sentinels } = options;
  if (sentinels) return 'remotePort' in stream ? `${stream.remoteAddress}:${stream.remotePort}` : label;
  return path ?? `${host}:${port}`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
