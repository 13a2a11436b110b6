/** The clusters that a page shows. */
import type { DeadLetterCluster } from 'millrace';
import type { Asked } from './filter.ts';

const MOST_CLUSTERS = 50;

/** The largest that fit, and how many do. */
export interface ShownClusters {
  shown: readonly DeadLetterCluster[];
  count: number;
}

export function showClusters(clusters: readonly DeadLetterCluster[], asked: Asked): ShownClusters {
  const fitting = clusters.filter((cluster) => isMeant(cluster, asked));
  return { shown: fitting.slice(0, MOST_CLUSTERS), count: fitting.length };
}

/** Times and texts are of letters, not of clusters. */
function isMeant({ queue, contract, reason, fingerprint }: DeadLetterCluster, asked: Asked): boolean {
  const facts = { queue, contract, reason, fingerprint };
  return (Object.keys(facts) as Array<keyof typeof facts>).every(
    (name) => asked[name] === '' || asked[name] === facts[name],
  );
}
