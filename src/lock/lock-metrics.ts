/**
 * What is counted of locks, by kind: mutex, semaphore, read-write. Names are no labels: there may be one for each order.
 *
 *   millrace_lock_acquires_total{kind,outcome}   millrace_lock_wait_seconds{kind}   millrace_lock_held_seconds{kind}
 *   millrace_lock_releases_total{kind,outcome}   millrace_lock_extensions_total{kind,outcome}   millrace_lock_lost_total{kind}
 */

import type { CounterChild, CountingRegistry } from '../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export type LockMetricsRegistry = CountingRegistry;

/** The kinds that are told apart. */
export type LockKind = 'mutex' | 'semaphore' | 'read-write';

const ACQUIRED = ['granted', 'refused', 'timeout', 'unavailable', 'aborted'] as const;
/** How an acquire ended. */
export type AcquireOutcome = (typeof ACQUIRED)[number];
const RELEASED = ['released', 'expired', 'stolen', 'unknown'] as const;
const EXTENDED = ['extended', 'failed'] as const;

/** From a hand-over to the longest waits, in seconds. */
const SECONDS_BUCKETS: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300];
const KINDS = 3;

/** Counts for one kind of lock. */
export interface LockMeter {
  /** How an acquire ended, and how long it took. */
  acquired(outcome: AcquireOutcome, ms: number): void;
  /** How a release ended, and how long the lock was held. */
  released(outcome: (typeof RELEASED)[number], ms: number): void;
  extended(outcome: (typeof EXTENDED)[number]): void;
  /** A holder lost its lock. */
  lost(): void;
}

/**
 * The meters of locks on a registry; without one they count nothing.
 *
 * @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric.
 */
export function createLockMetrics(registry: LockMetricsRegistry | undefined): (kind: LockKind) => LockMeter {
  if (!registry) return () => NO_METER;
  const count = <const Name extends string>(name: string, help: string, labels: readonly Name[], outcomes = 1) =>
    registry.counter({ name: `millrace_lock_${name}`, help, labels, maxChildren: KINDS * outcomes });
  const ofKind = { labels: ['kind'], maxChildren: KINDS, buckets: SECONDS_BUCKETS } as const;
  const both = ['kind', 'outcome'] as const;
  const counts = {
    acquires: count('acquires_total', 'Requests for locks by how they ended.', both, ACQUIRED.length),
    wait: registry.histogram({
      name: 'millrace_lock_wait_seconds',
      help: 'From the request for a lock to its grant.',
      ...ofKind,
    }),
    held: registry.histogram({ name: 'millrace_lock_held_seconds', help: 'How long locks were held.', ...ofKind }),
    releases: count('releases_total', 'Releases of locks by how they ended.', both, RELEASED.length),
    extensions: count('extensions_total', 'Extensions of leases by how they ended.', both, EXTENDED.length),
    lost: count('lost_total', 'Locks that were lost while they were held.', ['kind']),
  };
  return (kind) => {
    const acquires = bindAll(ACQUIRED, (outcome) => counts.acquires.labels({ kind, outcome }));
    const releases = bindAll(RELEASED, (outcome) => counts.releases.labels({ kind, outcome }));
    const extensions = bindAll(EXTENDED, (outcome) => counts.extensions.labels({ kind, outcome }));
    const wait = counts.wait.labels({ kind });
    const held = counts.held.labels({ kind });
    const lost = counts.lost.labels({ kind });
    return {
      acquired(outcome, ms) {
        acquires[outcome].inc();
        if (outcome === 'granted') wait.observe(ms / 1_000);
      },
      released(outcome, ms) {
        releases[outcome].inc();
        held.observe(ms / 1_000);
      },
      extended: (outcome) => extensions[outcome].inc(),
      lost: () => lost.inc(),
    };
  };
}

function bindAll<const Name extends string>(
  names: readonly Name[],
  bind: (name: Name) => CounterChild,
): Readonly<Record<Name, CounterChild>> {
  return Object.fromEntries(names.map((name) => [name, bind(name)])) as Record<Name, CounterChild>;
}

const NO_METER: LockMeter = {
  acquired: () => undefined,
  released: () => undefined,
  extended: () => undefined,
  lost: () => undefined,
};
