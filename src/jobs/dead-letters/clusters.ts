/** Dead letters of one kind, counted together. */
import type { DeathReason } from '../attempt-record.ts';
import { normaliseMessage } from '../../fingerprint.ts';
import { hideSecrets } from '../hide-secrets.ts';
import type { DeadLetter } from './letter.ts';

/** The dead letters of one fingerprint. What can differ among them is the latest one's. */
export interface DeadLetterCluster {
  fingerprint: string;
  count: number;
  contract: string;
  queue: string;
  reason: DeathReason;
  /** The error's class, secrets hidden. */
  errorName: string;
  /** The error's message without what varies, secrets hidden. */
  message: string;
  /** The id of the latest. */
  sample: string;
  /** Milliseconds since 1970. */
  firstSeenAt: number;
  /** Milliseconds since 1970. */
  lastSeenAt: number;
  /** The versions of the application under which they failed last, as far as they are known. */
  versions: string[];
  /** How many died in each span of time that was asked for, the latest last. */
  trend?: number[];
}

/** Spans of time that end now. */
export interface TrendSpans {
  everyMs: number;
  count: number;
  nowMs: number;
}

/** More kinds than this are not told apart; the letters of further kinds are left out. */
export const MOST_CLUSTERS = 10_000;
const MOST_VERSIONS = 20;

/** Counts letters by fingerprint. */
export class ClusterCount {
  readonly #clusters = new Map<string, DeadLetterCluster>();
  readonly #spans: TrendSpans | undefined;
  readonly #secrets: ReadonlyMap<string, readonly string[]>;

  /** @param secrets paths of what is secret, by the name of the contract */
  constructor(spans?: TrendSpans, secrets: ReadonlyMap<string, readonly string[]> = new Map()) {
    this.#spans = spans;
    this.#secrets = secrets;
  }

  add(letter: DeadLetter): void {
    const version = letter.attempts?.findLast((attempt) => attempt.version !== undefined)?.version;
    const known = this.#clusters.get(letter.fingerprint);
    if (!known && this.#clusters.size >= MOST_CLUSTERS) return;
    const isLatest = !known || letter.diedAt > known.lastSeenAt;
    const versions = new Set(known?.versions);
    if (version !== undefined && versions.size < MOST_VERSIONS) versions.add(version);
    this.#clusters.set(letter.fingerprint, {
      ...(isLatest ? factsOf(letter, this.#secrets.get(letter.contract)) : known),
      count: (known?.count ?? 0) + 1,
      firstSeenAt: Math.min(known?.firstSeenAt ?? Number.POSITIVE_INFINITY, letter.diedAt),
      lastSeenAt: Math.max(known?.lastSeenAt ?? 0, letter.diedAt),
      versions: [...versions],
      ...(this.#spans && { trend: counted(known?.trend, letter.diedAt, this.#spans) }),
    });
  }

  /** The largest first, and of equals the latest. */
  clusters(): DeadLetterCluster[] {
    return [...this.#clusters.values()]
      .toSorted((left, right) => right.count - left.count || right.lastSeenAt - left.lastSeenAt)
      .map((cluster) => ({ ...cluster, message: normaliseMessage(cluster.message) }));
  }
}

function counted(trend: number[] | undefined, diedAt: number, { everyMs, count, nowMs }: TrendSpans): number[] {
  const counts = trend ?? Array.from({ length: count }, () => 0);
  // What died by a clock that is ahead of ours died just now.
  const ago = Math.max(0, Math.floor((nowMs - diedAt) / everyMs));
  if (ago < count) counts[count - 1 - ago] = (counts[count - 1 - ago] ?? 0) + 1;
  return counts;
}

function factsOf(
  { fingerprint, contract, queue, reason, error, id, input }: DeadLetter,
  secrets: readonly string[] = [],
) {
  const hide = hideSecrets(input, secrets);
  return {
    fingerprint,
    contract,
    queue,
    reason,
    errorName: hide(error.name),
    message: hide(error.message), // Otherwise as it is: what varies is taken out of those that are told, and not of each that is counted.
    sample: id,
  };
}
