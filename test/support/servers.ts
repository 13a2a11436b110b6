/**
 * Private Redis servers for tests: one, a Cluster, a Sentinel set; on the code that runs the embedded Redis.
 *
 * Each call starts servers of its own in a folder of its own. They end with stop(), and with the test process in any case.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { inject } from 'vitest';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { startServerProcess, type ServerProcess } from '../../src/redis/embedded/server-process.ts';
import { parseInfo, type ServerInfo } from '../../src/redis/server-info.ts';
import { eventually } from './eventually.ts';

type Config = Readonly<Record<string, string | number | readonly string[]>>;

export interface StartOptions {
  /** Default: the server that the suite runs on. */
  binary?: ServerBinary;
  /** Lines of redis.conf beyond the defaults. */
  config?: Config;
  /** With an append-only file that survives restart() and kill(). Default false. */
  persistent?: boolean;
  isSentinel?: boolean;
}

/** One server that a test owns. */
export class TestServer {
  readonly port: number;
  readonly folder: string;
  readonly socketPath: string;
  readonly #options: StartOptions;
  #process: ServerProcess | undefined;

  private constructor(folder: string, port: number, options: StartOptions) {
    this.folder = folder;
    this.port = port;
    this.socketPath = join(folder, 'redis.sock');
    this.#options = options;
  }

  static async start(options: StartOptions = {}): Promise<TestServer> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-redis-'));
    const server = new TestServer(folder, await freePort(), options);
    await server.startAgain();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (!this.#process) throw new Error('the server does not run');
    return this.#process.pid;
  }

  /** Milliseconds from its start to its first PONG. */
  get readyMs(): number {
    return this.#process?.readyMs ?? Number.NaN;
  }

  /** Starts the server again after kill() or an exit, with the data that it kept. */
  async startAgain(): Promise<void> {
    const { binary = inject('servers').main, config = {}, persistent = false, isSentinel = false } = this.#options;
    const forData = isSentinel
      ? {}
      : {
          unixsocket: this.socketPath,
          appendonly: persistent ? 'yes' : 'no',
          save: '',
          'maxmemory-policy': 'noeviction',
          'repl-diskless-sync-delay': 0,
        };
    this.#process = await startServerProcess({
      binary,
      folder: this.folder,
      isSentinel,
      ping: { host: '127.0.0.1', port: this.port },
      config: { bind: '127.0.0.1', port: this.port, dir: this.folder, ...forData, ...config },
    });
  }

  async restart(): Promise<void> {
    await this.#process?.stop();
    await this.startAgain();
  }

  /** Ends the server without a chance to say or save anything. */
  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    await this.#process?.stop();
    this.#process = undefined;
  }

  /** The server stops answering but keeps its connections. */
  freeze(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** A connection for the test's own questions; `ask` closes it. */
  async ask<T>(question: (redis: Redis) => Promise<T>): Promise<T> {
    const { requirepass } = this.#options.config ?? {};
    const redis = new Redis({
      port: this.port,
      lazyConnect: true,
      retryStrategy: () => null,
      ...(requirepass !== undefined && { password: String(requirepass) }),
    });
    redis.on('error', () => undefined);
    try {
      await redis.connect();
      return await question(redis);
    } finally {
      redis.disconnect();
    }
  }

  async info(): Promise<ServerInfo> {
    return this.ask(async (redis) => parseInfo(await redis.info()));
  }

  #isRunning(): boolean {
    try {
      return process.kill(this.pid, 0);
    } catch {
      return false;
    }
  }

  async stop(): Promise<void> {
    if (this.#process) {
      if (this.#isRunning()) this.thaw();
      await this.#process.stop();
      this.#process = undefined;
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** One server, without persistence unless it is asked for. */
export function startRedis(options: StartOptions = {}): Promise<TestServer> {
  return TestServer.start(options);
}

const SLOTS = 16_384;
const MASTERS = 3;

/** A Cluster of 3 masters and 3 replicas; the replica of master n is node n + 3. */
export class TestCluster {
  readonly nodes: readonly TestServer[];

  constructor(nodes: readonly TestServer[]) {
    this.nodes = nodes;
  }

  get addresses(): string[] {
    return this.nodes.map(({ address }) => address);
  }

  /** The master that serves the slot now, asked of a node that lives. */
  async masterOf(slot: number): Promise<TestServer> {
    for (const node of this.nodes) {
      const ranges = await node.ask((redis) => redis.cluster('SLOTS')).catch(() => undefined);
      const range = ranges?.find(([from, to]) => slot >= from && slot <= to);
      const master = this.nodes.find(({ port }) => port === range?.[2]?.[1]);
      if (master) return master;
    }
    throw new Error(`no node knows the master of slot ${slot}`);
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}

/** Starts a Cluster and waits until it serves all slots and every replica follows its master. */
export async function startCluster(options: { replicas?: boolean; config?: Config } = {}): Promise<TestCluster> {
  const count = options.replicas === false ? MASTERS : MASTERS * 2;
  const busPorts = await Promise.all(Array.from({ length: count }, () => freePort()));
  const nodes = await Promise.all(
    busPorts.map((busPort) =>
      startRedis({
        config: { 'cluster-enabled': 'yes', 'cluster-port': busPort, 'cluster-node-timeout': 1_000, ...options.config },
      }),
    ),
  );
  const cluster = new TestCluster(nodes);
  try {
    await joinNodes(nodes, busPorts);
    await eventually(async () => {
      for (const [index, node] of nodes.entries()) {
        const { fields } = await node.ask(async (redis) => parseInfo(await redis.cluster('INFO')));
        if (fields.get('cluster_state') !== 'ok' || fields.get('cluster_known_nodes') !== String(count))
          throw new Error(`node ${index} is not ready`);
        if (index < MASTERS) continue;
        const info = await node.info();
        if (info.fields.get('master_link_status') !== 'up') throw new Error(`replica ${index} does not follow yet`);
      }
    }, 30_000);
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function joinNodes(nodes: readonly TestServer[], busPorts: readonly number[]): Promise<void> {
  const [first] = nodes as [TestServer];
  for (const [index, node] of nodes.slice(0, MASTERS).entries()) {
    const from = Math.ceil((SLOTS * index) / MASTERS);
    const to = Math.ceil((SLOTS * (index + 1)) / MASTERS) - 1;
    // Distinct epochs from the start spare the Cluster the rounds in which it would find them.
    await node.ask((redis) => redis.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1));
    await node.ask((redis) => redis.call('CLUSTER', 'ADDSLOTSRANGE', from, to));
  }
  for (const [index, node] of nodes.entries()) {
    if (index > 0)
      await first.ask((redis) => redis.call('CLUSTER', 'MEET', '127.0.0.1', node.port, busPorts[index] as number));
  }
  for (const [index, node] of nodes.slice(MASTERS).entries()) {
    const id = await (nodes[index] as TestServer).ask((redis) => redis.call('CLUSTER', 'MYID') as Promise<string>);
    await eventually(() => node.ask((redis) => redis.call('CLUSTER', 'REPLICATE', id)));
  }
}

/**
 * How many Sentinels must miss the master before each of them starts a failover. The second and third never do, they only vote: of Sentinels
 * that start one at the same moment each votes for itself, none wins, and all wait for 10 s, which happened to one failover in twelve.
 */
const LEADER_AND_VOTERS = [2, 4, 4];

/** A master with 2 replicas, watched by 3 Sentinels, the first of which leads failovers. */
export class TestSentinelSet {
  readonly masterName = 'mymaster';
  readonly servers: readonly TestServer[];
  readonly sentinels: readonly TestServer[];

  constructor(servers: readonly TestServer[], sentinels: readonly TestServer[]) {
    this.servers = servers;
    this.sentinels = sentinels;
  }

  get addresses(): string[] {
    return this.sentinels.map(({ address }) => address);
  }

  /** The server that the first Sentinel calls master. */
  async master(): Promise<TestServer> {
    const [sentinel] = this.sentinels as [TestServer];
    const [, port] = await sentinel.ask(
      (redis) => redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.masterName) as Promise<[string, string]>,
    );
    const master = this.servers.find((server) => server.port === Number(port));
    if (!master) throw new Error(`the Sentinel names an unknown master at port ${port}`);
    return master;
  }

  /** Whether the first Sentinel, which leads, is through with its failover; it names the new master before, and begins no other until then. */
  async hasSettled(): Promise<boolean> {
    const [sentinel] = this.sentinels as [TestServer];
    const state = await sentinel.ask((redis) => redis.call('SENTINEL', 'MASTER', this.masterName) as Promise<string[]>);
    return state[state.indexOf('flags') + 1] === 'master';
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((server) => server.stop()));
  }
}

/** Starts a Sentinel set and waits until each Sentinel knows the replicas and the other Sentinels. */
export async function startSentinelSet(options: { downAfterMs?: number } = {}): Promise<TestSentinelSet> {
  const master = await startRedis();
  const replicas = await Promise.all(
    [1, 2].map(() => startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } })),
  );
  const sentinels = await Promise.all(
    LEADER_AND_VOTERS.map((quorum) =>
      startRedis({
        isSentinel: true,
        config: {
          sentinel: [
            `monitor mymaster 127.0.0.1 ${master.port} ${quorum}`,
            `down-after-milliseconds mymaster ${options.downAfterMs ?? 1_000}`,
            'failover-timeout mymaster 5000',
            'parallel-syncs mymaster 2',
          ],
        },
      }),
    ),
  );
  const set = new TestSentinelSet([master, ...replicas], sentinels);
  try {
    await eventually(async () => {
      for (const sentinel of sentinels) {
        const state = await sentinel.ask((redis) => redis.call('SENTINEL', 'MASTER', 'mymaster') as Promise<string[]>);
        const field = (name: string): string | undefined => state[state.indexOf(name) + 1];
        if (field('num-slaves') !== '2' || field('num-other-sentinels') !== '2')
          throw new Error('a Sentinel does not know all yet');
      }
      for (const replica of replicas) {
        const info = await replica.info();
        if (info.fields.get('master_link_status') !== 'up') throw new Error('a replica does not follow yet');
      }
    }, 30_000);
    return set;
  } catch (error) {
    await set.stop();
    throw error;
  }
}

// Below the range from which the system takes ports for outgoing connections: there, a port that was free a moment ago, or
// that of a server which is killed and started again, may be another test's connection by the time it is listened on.
const LOWEST_PORT = 12_000;
const HIGHEST_PORT = 32_000;
const handedOut = new Set<number>();

/** A loopback port that is free now, and that this process has not handed out before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (HIGHEST_PORT - LOWEST_PORT));
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
