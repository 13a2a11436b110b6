/**
 * The scripts by which BullMQ adds jobs, and whether the server knows them.
 *
 * ioredis sends a script by its hash and, where the server has forgotten it, again with its text; but not in a transaction, where it
 * learns too late. There, after SCRIPT FLUSH, each one would fail until its connection ends.
 */
import type { Cluster } from 'ioredis';
import type { RedisClient } from '../redis/clients.ts';

const ADDING = /^(?:add(?:Standard|Delayed|Prioritized|Parent)Job|releaseParentIfNoPendingDependencies)\b/;

/** Makes the scripts known to the server that lacks them; on a Cluster, to each master. */
export async function loadScripts(client: RedisClient): Promise<void> {
  const { scriptsSet } = client as unknown as { scriptsSet: Readonly<Record<string, { lua: string; sha: string }>> };
  const scripts = Object.entries(scriptsSet).flatMap(([name, script]) => (ADDING.test(name) ? [script] : []));
  const nodes = client.isCluster ? (client as Cluster).nodes('master') : [client];
  await Promise.all(
    nodes.map(async (node) => {
      const known = (await node.script('EXISTS', ...scripts.map(({ sha }) => sha))) as number[];
      await Promise.all(
        scripts.filter((_script, index) => known[index] !== 1).map(({ lua }) => node.script('LOAD', lua)),
      );
    }),
  );
}
