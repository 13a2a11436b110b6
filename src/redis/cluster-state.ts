/** Whether a Cluster serves all of its slots: a queue, a lock or a session may live in any of them. */
import { MillraceError } from '../errors.ts';
import type { Connections } from './connect.ts';
import { explainRedisError } from './explain.ts';
import { parseInfo, numberIn } from './server-info.ts';

const SLOTS = 16_384;

/** What one node says in CLUSTER INFO. */
export interface ClusterState {
  /** What the node itself thinks: with cluster-require-full-coverage off it is content with less than all slots. */
  isOk: boolean;
  slotsServed: number;
}

/** Reads the reply of CLUSTER INFO. */
export function parseClusterState(reply: string): ClusterState {
  const info = parseInfo(reply);
  return { isOk: info.fields.get('cluster_state') === 'ok', slotsServed: numberIn(info, 'cluster_slots_ok') };
}

/** The error of a Cluster that does not serve all of its slots. */
export function clusterDown(label: string, slotsServed: number): MillraceError {
  const means = `the Cluster does not serve all of its slots (${slotsServed} of ${SLOTS} slots are served)`;
  return new MillraceError(
    'REDIS_CLUSTER_DOWN',
    `Redis at ${label}: ${means}. A master is down and no replica has taken over, or slots were never assigned; see CLUSTER NODES`,
    { address: label, slotsServed },
  );
}

/**
 * Asks a node of the Cluster; of any other topology nothing is asked.
 * @throws MillraceError REDIS_CLUSTER_DOWN
 */
export async function checkAllSlots(connections: Connections): Promise<void> {
  if (connections.topology !== 'cluster') return;
  const reply = await connections
    .commands()
    .cluster('INFO')
    .catch((error: unknown) => {
      throw explainRedisError(error, connections.label);
    });
  const state = parseClusterState(reply);
  if (!state.isOk || state.slotsServed < SLOTS) throw clusterDown(connections.label, state.slotsServed);
}
