/** The three topologies, behind one face, for suites that must pass on each of them. */
import { Cluster, type Redis } from 'ioredis';
import { afterAll, beforeAll } from 'vitest';
import type { RedisOptions, Topology } from '../../src/redis/address.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import { eventually } from '../support/eventually.ts';
import { startCluster, startRedis, startSentinelSet, type TestServer } from '../support/servers.ts';

/** A topology that runs. */
export interface RunningTopology {
  /** How to connect to it. */
  readonly redis: RedisOptions;
  /** Every server that holds data, replicas too. */
  readonly servers: readonly TestServer[];
  /** The server that takes the writes of a key now. */
  masterOf(key: string): Promise<TestServer>;
  /**
   * Kills the server that takes the writes of a key. Resolves when another one takes them, or, where there is no other, when it
   * is back; a killed one comes back as a replica.
   */
  failOver(key: string): Promise<void>;
  stop(): Promise<void>;
}

/** Starts each topology. */
const TOPOLOGIES: Readonly<Record<Topology, () => Promise<RunningTopology>>> = {
  async standalone() {
    const server = await startRedis({ persistent: true, config: { appendfsync: 'always' } });
    return {
      redis: { url: server.url },
      servers: [server],
      masterOf: async () => server,
      async failOver() {
        await server.kill();
        await server.startAgain();
      },
      stop: () => server.stop(),
    };
  },

  async sentinel() {
    const set = await startSentinelSet({ downAfterMs: 500 });
    return {
      redis: { sentinels: set.addresses, masterName: set.masterName },
      servers: set.servers,
      masterOf: () => set.master(),
      async failOver() {
        const lost = await set.master();
        await lost.kill();
        await eventually(async () => mustDiffer(await set.master(), lost), 20_000);
        const master = await set.master();
        await comeBack(lost, (redis) => redis.replicaof('127.0.0.1', master.port)); // The Sentinels would take 10 s to say so.
        await eventually(async () => {
          if (!(await set.hasSettled())) throw new Error('the failover goes on');
        }, 20_000);
      },
      stop: () => set.stop(),
    };
  },

  async cluster() {
    const cluster = await startCluster();
    const masterOf = async (key: string): Promise<TestServer> =>
      cluster.masterOf(
        await Promise.any(cluster.nodes.map((node) => node.ask((redis) => redis.cluster('KEYSLOT', key)))),
      );
    return {
      redis: { cluster: cluster.addresses },
      servers: cluster.nodes,
      masterOf,
      async failOver(key) {
        const lost = await masterOf(key);
        await lost.kill();
        await eventually(async () => mustDiffer(await masterOf(key), lost), 20_000);
        await comeBack(lost);
      },
      stop: () => cluster.stop(),
    };
  },
};

function mustDiffer(master: TestServer, lost: TestServer): void {
  if (master === lost) throw new Error('no other server has taken over yet');
}

/** Starts a killed server again, and waits until it follows the new master, so that the next failover has a replica to choose. */
async function comeBack(server: TestServer, follow?: (redis: Redis) => Promise<unknown>): Promise<void> {
  await server.startAgain();
  if (follow) await server.ask(follow);
  await eventually(async () => {
    const { fields } = await server.info();
    if (fields.get('master_link_status') !== 'up') throw new Error('the killed server does not follow yet');
  }, 20_000);
}

/**
 * Starts a topology for all tests of the file.
 *
 * @returns what gives it, once a test or hook runs.
 */
export function startForFile(topology: Topology): () => RunningTopology {
  let running: RunningTopology | undefined;
  beforeAll(async () => {
    running = await TOPOLOGIES[topology]();
  });
  afterAll(() => running?.stop());
  return () => {
    if (!running) throw new Error(`the ${topology} does not run yet`);
    return running;
  };
}

/** Opens all connections that a client would open with its first commands, so that a test which opens no more leaves none open. */
export async function openAll(client: RedisClient): Promise<void> {
  await client.ping();
  if (client instanceof Cluster) await Promise.all(client.nodes('master').map((node) => node.ping()));
}
