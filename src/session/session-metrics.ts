/**
 * What is counted of sessions. Neither users nor sessions are labels.
 *
 *   millrace_session_validations_total{realm,outcome}   ok, malformed, unknown, expired, revoked, reused, failed: Redis did not answer
 *   millrace_session_changes_total{realm,change}        created, touched, rotated, elevated, updated, revoked, reused, evicted by this process
 */
import type { CounterChild, CountingRegistry } from '../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export type SessionMetricsRegistry = Pick<CountingRegistry, 'counter'>;

const OUTCOMES = ['ok', 'malformed', 'unknown', 'expired', 'revoked', 'reused', 'failed'] as const;
/** How a validate() ended. */
export type ValidationOutcome = (typeof OUTCOMES)[number];
const CHANGES = ['created', 'touched', 'rotated', 'elevated', 'updated', 'revoked', 'reused', 'evicted'] as const;
/** What happened to a session. */
export type SessionChange = (typeof CHANGES)[number];

/** How many realms are told apart. */
export const MOST_REALMS = 100;

/** Counts for one realm. */
export interface RealmMeter {
  validated(outcome: ValidationOutcome): void;
  changed(change: SessionChange, count?: number): void;
}

/** Counts for all realms. */
export class SessionsMeter {
  readonly #of: (realm: string) => RealmMeter;

  /** @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric. */
  constructor(registry: SessionMetricsRegistry | undefined) {
    this.#of = registry ? exportTo(registry) : () => NO_METER;
  }

  of(realm: string): RealmMeter {
    return this.#of(realm);
  }
}

const NO_METER: RealmMeter = { validated: () => undefined, changed: () => undefined };

function exportTo(registry: SessionMetricsRegistry): (realm: string) => RealmMeter {
  const validations = registry.counter({
    name: 'millrace_session_validations_total',
    help: 'Tokens that were checked, by what came of it.',
    labels: ['realm', 'outcome'],
    maxChildren: OUTCOMES.length * MOST_REALMS,
  });
  const changes = registry.counter({
    name: 'millrace_session_changes_total',
    help: 'What this process did to sessions.',
    labels: ['realm', 'change'],
    maxChildren: CHANGES.length * MOST_REALMS,
  });
  return (realm) => {
    const byOutcome = Object.fromEntries(
      OUTCOMES.map((outcome) => [outcome, validations.labels({ realm, outcome })]),
    ) as Record<ValidationOutcome, CounterChild>;
    const byChange = Object.fromEntries(CHANGES.map((change) => [change, changes.labels({ realm, change })])) as Record<
      SessionChange,
      CounterChild
    >;
    return {
      validated: (outcome) => byOutcome[outcome].inc(),
      changed: (change, count) => byChange[change].inc(count),
    };
  };
}
