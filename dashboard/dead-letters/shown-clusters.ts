/** The clusters that a page shows: those that fit, without secrets in their messages. */
import { hideSecrets, type DeadLetter, type DeadLetterCluster, type Platform } from 'millrace';
import type { KnownSecrets } from '../jobs/contracts.ts';
import type { Asked } from './filter.ts';

const MOST_CLUSTERS = 50;

/** The largest that fit, and how many do. */
export interface ShownClusters {
  shown: readonly DeadLetterCluster[];
  count: number;
}

/** @throws MillraceError when Redis cannot be asked */
export async function showClusters(
  platform: Platform,
  clusters: readonly DeadLetterCluster[],
  { asked, secretsOf }: { asked: Asked; secretsOf: KnownSecrets['secretsOf'] },
): Promise<ShownClusters> {
  const fitting = clusters.filter((cluster) => isMeant(cluster, asked));
  const shown = fitting.slice(0, MOST_CLUSTERS).map((cluster) => hidden(platform, cluster, secretsOf));
  return { shown: await Promise.all(shown), count: fitting.length };
}

/** Times and texts are of letters, not of clusters. */
function isMeant({ queue, contract, reason, fingerprint }: DeadLetterCluster, asked: Asked): boolean {
  const facts = { queue, contract, reason, fingerprint };
  return (Object.keys(facts) as Array<keyof typeof facts>).every(
    (name) => asked[name] === '' || asked[name] === facts[name],
  );
}

/** What is secret in the message is told by the input beside it; where that letter has gone, there is no message. */
async function hidden(
  { jobs }: Platform,
  cluster: DeadLetterCluster,
  secretsOf: KnownSecrets['secretsOf'],
): Promise<DeadLetterCluster> {
  const secrets = secretsOf(cluster.contract);
  if (secrets.length === 0) return cluster;
  const job = await jobs.bullmq(cluster.queue).dead.getJob(cluster.sample);
  const { error, input } = (job?.data ?? {}) as Partial<DeadLetter>;
  if (!error) return { ...cluster, errorName: 'Error', message: 'its latest letter has gone' };
  const hide = hideSecrets(input, secrets);
  return { ...cluster, errorName: hide(error.name), message: hide(error.message) };
}
