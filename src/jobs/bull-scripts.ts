/**
 * The scripts by which BullMQ adds jobs, and whether the server knows them.
 *
 * ioredis sends a script by its hash and, where the server has forgotten it, again with its text; but not in a transaction, where it
 * learns too late. There, after SCRIPT FLUSH, each one would fail until its connection ends.
 */
import { Command, type Cluster, type Redis } from 'ioredis';
import type { RedisClient } from '../redis/clients.ts';

const ADDING = /^(?:add(?:Standard|Delayed|Prioritized|Parent)Job|releaseParentIfNoPendingDependencies)\b/;
/** A slot that moves again and again is left to the sender, who will be told. */
const MOST_LOOKS = 3;

/** Makes the scripts known to the server that lacks them; on a Cluster, to the master that serves the key. Others are not asked: they may be away. */
export async function loadScripts(client: RedisClient, key: string): Promise<void> {
  if (!client.isCluster) return load(client as Redis, client);
  const cluster = client as Cluster;
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const node = masterOf(cluster, key);
    // Who does not serve the key any more says so to a command that has it, and not to one of scripts.
    await Promise.all([cluster.exists(key), node && load(node, client)]);
    if (node && masterOf(cluster, key) === node) return;
  }
}

async function load(node: Redis, client: RedisClient): Promise<void> {
  const { scriptsSet } = client as unknown as { scriptsSet: Readonly<Record<string, { lua: string; sha: string }>> };
  const scripts = Object.entries(scriptsSet).flatMap(([name, script]) => (ADDING.test(name) ? [script] : []));
  const known = (await node.script('EXISTS', ...scripts.map(({ sha }) => sha))) as number[];
  await Promise.all(scripts.filter((_script, index) => known[index] !== 1).map(({ lua }) => node.script('LOAD', lua)));
}

/** As far as is known here; undefined before the first command. */
function masterOf(cluster: Cluster, key: string): Redis | undefined {
  const [master] = cluster.slots[new Command('exists', [key]).getSlot()] ?? [];
  return cluster.nodes('master').find(({ options: { host, port } }) => `${host}:${port}` === master);
}
