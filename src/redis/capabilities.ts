/**
 * What the connected server can do.
 *
 * Asked of the server, not derived from its version, wherever the server can tell: by COMMAND INFO for a command and
 * by COMMAND DOCS for an argument of one. Distributions, forks and hosted servers leave out or add commands as they like. Only
 * what no command shows (a bug that a release mended, a new event) is told by version. In a Cluster the answer is what every master can do.
 */
import type { Cluster, Redis } from 'ioredis';
import { MillraceError } from '../errors.ts';
import { isAtLeast, parseInfo, serverName, type ServerInfo, type ServerKind } from './server-info.ts';

interface Probe {
  /** The command that must be there. */
  command: string;
  /** An argument of that command that must be there too, in capitals. */
  argument?: string;
  /** Redis releases from which on it counts: one for each release line that got it, the last one for all later lines. Valkey never passes. */
  releases?: readonly string[];
  /** Which server has the feature, for messages. */
  since: string;
  /** What it is, for messages and the doctor's report. */
  what: string;
}

/** Every feature that some module chooses by, and how it is told. */
export const FEATURES = {
  vectorSets: { command: 'VSIM', since: 'Redis 8.0', what: 'vector sets (VADD, VSIM)' },
  vectorSearchAttributes: { command: 'VSIM', argument: 'WITHATTRIBS', since: 'Redis 8.2', what: 'VSIM WITHATTRIBS' },
  vectorRange: { command: 'VRANGE', since: 'Redis 8.4', what: 'VRANGE' },
  queryEngine: {
    command: 'FT.SEARCH',
    since: 'Redis 8.0 with the Query Engine (image redis:8)',
    what: 'the Query Engine (FT.*)',
  },
  hybridSearch: { command: 'FT.HYBRID', since: 'Redis 8.4 with the Query Engine', what: 'FT.HYBRID' },
  json: { command: 'JSON.GET', since: 'Redis 8.0 with JSON (image redis:8)', what: 'JSON documents (JSON.*)' },
  hashFieldTtl: { command: 'HPEXPIRE', since: 'Redis 7.4 or Valkey 9.0', what: 'a TTL on hash fields (HPEXPIRE)' },
  hashFieldSetWithTtl: { command: 'HSETEX', since: 'Redis 8.0 or Valkey 9.0', what: 'HSETEX and HGETEX' },
  hashFieldEvents: { command: 'HSET', releases: ['8.8'], since: 'Redis 8.8', what: 'notifications of hash fields' },
  shardedPubSub: { command: 'SPUBLISH', since: 'Redis 7.0', what: 'sharded pub/sub' },
  rankWithScore: { command: 'ZRANK', argument: 'WITHSCORE', since: 'Redis 7.2', what: 'ZRANK WITHSCORE' },
  acknowledgeAndDelete: { command: 'XACKDEL', since: 'Redis 8.2', what: 'XACKDEL and XDELEX' },
  trimAcknowledged: { command: 'XTRIM', argument: 'ACKED', since: 'Redis 8.2', what: 'XTRIM ACKED' },
  /** In 8.2 to 8.5 an approximate trim with ACKED or DELREF deleted nothing until these releases. */
  trimAcknowledgedNearly: {
    command: 'XTRIM',
    argument: 'ACKED',
    releases: ['8.2.7', '8.4.4', '8.6.0'],
    since: 'Redis 8.2.7, 8.4.4 or 8.6',
    what: 'XTRIM ~ ACKED',
  },
  claimWhileReading: { command: 'XREADGROUP', argument: 'CLAIM', since: 'Redis 8.4', what: 'XREADGROUP CLAIM' },
  idempotentPublish: {
    command: 'XADD',
    argument: 'IDMP',
    releases: ['8.6.2'],
    since: 'Redis 8.6.2',
    what: 'XADD IDMP',
  },
  negativeAcknowledge: { command: 'XNACK', since: 'Redis 8.8', what: 'XNACK' },
  readGroupLimits: { command: 'XREADGROUP', argument: 'MAXCOUNT', since: 'Redis 8.10', what: 'XREADGROUP MAXCOUNT' },
  setIfEqual: { command: 'SET', argument: 'IFEQ', since: 'Redis 8.4 or Valkey 8.1', what: 'SET IFEQ' },
  deleteIfEqual: { command: 'DELEX', since: 'Redis 8.4', what: 'DELEX IFEQ' },
  digest: { command: 'DIGEST', since: 'Redis 8.4', what: 'DIGEST' },
  setManyWithTtl: { command: 'MSETEX', since: 'Redis 8.4', what: 'MSETEX' },
  incrementWithin: { command: 'INCREX', since: 'Redis 8.8', what: 'INCREX' },
  moveManyBetweenLists: { command: 'LMOVEM', since: 'Redis 8.10', what: 'LMOVEM and BLMOVEM' },
  hotKeys: { command: 'HOTKEYS', since: 'Redis 8.6', what: 'HOTKEYS' },
} as const satisfies Record<string, Probe>;

export type Feature = keyof typeof FEATURES;

/** What the server is and can do. */
export interface Capabilities {
  kind: ServerKind;
  version: string;
  topology: ServerInfo['mode'];
  features: Readonly<Record<Feature, boolean>>;
}

/**
 * Asks the server behind a client; of a Cluster, every master.
 *
 * @example
 * const { features } = await readCapabilities(redis);
 * if (features.vectorSets) await redis.call('VADD', ...);
 */
export async function readCapabilities(client: Redis | Cluster): Promise<Capabilities> {
  if (!client.isCluster) return readOne(client as Redis);
  const cluster = client as Cluster;
  await cluster.ping(); // A Cluster knows its nodes only once it is connected.
  const [first, ...others] = await Promise.all(cluster.nodes('master').map(readOne));
  if (!first) throw new MillraceError('REDIS_CLUSTER_DOWN', 'the Cluster has no master that answers', {});
  return others.reduce(common, first);
}

/**
 * Nothing when the feature is there; else an error that names it, the server, and the versions that have it.
 *
 * @example
 * requireFeature(await connections.capabilities(), 'vectorSets');
 * @throws MillraceError CAPABILITY_MISSING
 */
export function requireFeature(capabilities: Capabilities, feature: Feature): void {
  if (capabilities.features[feature]) return;
  const { what, since } = FEATURES[feature];
  const server = serverName(capabilities);
  throw new MillraceError('CAPABILITY_MISSING', `${server} does not have ${what}; that takes ${since}`, {
    feature,
    server,
    since,
  });
}

async function readOne(client: Redis): Promise<Capabilities> {
  const probes: Probe[] = Object.values(FEATURES);
  const commands = [...new Set(probes.map(({ command }) => command))];
  const documented = [...new Set(probes.flatMap(({ command, argument }) => (argument ? [command] : [])))];
  const [infoReply, commandsReply, docsReply] = await Promise.all([
    client.info(),
    client.call('COMMAND', 'INFO', ...commands) as Promise<Array<unknown[] | null>>,
    client.call('COMMAND', 'DOCS', ...documented),
  ]);
  const info = parseInfo(infoReply);
  const present = new Set(commands.filter((_command, index) => commandsReply[index]));
  const tokens = tokensOf(docsReply);
  const has = ({ command, argument, releases }: Probe): boolean =>
    present.has(command) &&
    (argument === undefined || (tokens.get(command)?.has(argument) ?? false)) &&
    (releases === undefined || (info.kind === 'redis' && isReleased(info.version, releases)));
  const features = Object.fromEntries(Object.entries(FEATURES).map(([name, probe]) => [name, has(probe)]));
  return {
    kind: info.kind,
    version: info.version,
    topology: info.mode,
    features: features as Record<Feature, boolean>,
  };
}

/** Every token in COMMAND DOCS, by command. The reply nests flat name-value lists at a depth that differs between commands. */
function tokensOf(reply: unknown): Map<string, Set<string>> {
  const byCommand = new Map<string, Set<string>>();
  if (!Array.isArray(reply)) return byCommand;
  for (let index = 0; index + 1 < reply.length; index += 2) {
    const tokens = new Set<string>();
    collectTokens(reply[index + 1], tokens);
    byCommand.set(String(reply[index]).toUpperCase(), tokens);
  }
  return byCommand;
}

function collectTokens(value: unknown, into: Set<string>): void {
  if (!Array.isArray(value)) return;
  value.forEach((item: unknown, index) => {
    if (item === 'token') into.add(String(value[index + 1]).toUpperCase());
    collectTokens(item, into);
  });
}

function isReleased(version: string, releases: readonly string[]): boolean {
  const sameLine = releases.find((release) => releaseLine(release) === releaseLine(version));
  return isAtLeast(version, sameLine ?? releases.at(-1) ?? '0');
}

function releaseLine(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}

function common(left: Capabilities, right: Capabilities): Capabilities {
  const oldest = isAtLeast(left.version, right.version) ? right : left;
  const features = Object.fromEntries(
    Object.keys(FEATURES).map((name) => [name, left.features[name as Feature] && right.features[name as Feature]]),
  );
  return { ...oldest, features: features as Record<Feature, boolean> };
}
