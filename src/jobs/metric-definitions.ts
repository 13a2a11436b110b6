/**
 * The metrics of jobs: their names, labels and buckets, and what is needed of a registry to declare them.
 *
 *   millrace_jobs_enqueued_total{queue,contract,status}          millrace_job_wait_seconds{queue,contract}
 *   millrace_jobs_finished_total{queue,contract,outcome}         millrace_job_run_seconds{queue,contract}
 *   millrace_dead_letters_total{queue,contract,reason}           millrace_event_loop_blocked_seconds
 *   millrace_dead_letters_redriven_total{queue}                  millrace_queue_jobs{queue,state}
 *   millrace_dead_letters_discarded_total{queue}                 millrace_queue_oldest_waiting_seconds{queue}
 *   millrace_jobs_stalled_total{queue}
 */

/** How an attempt ended; each counts as one of these. */
export const JOB_OUTCOMES = [
  'completed',
  /** Failed for good without becoming a dead letter. */
  'failed',
  /** Failed, and will be tried again. */
  'retried',
  /** Failed for good, and became a dead letter. */
  'dead',
  'cancelled',
  /** Asked to be run again later, or was refused by a rate limit; no attempt is used up. */
  'postponed',
  /** Was too old to be started. */
  'expired',
  /** Ran out of time, whether it is tried again or not. */
  'timeout',
  /** Handed back to the queue by a drain. */
  'released',
  /** Its lease was lost, so the result was dropped. */
  'lost',
] as const;
/** One way for an attempt to end. */
export type JobOutcome = (typeof JOB_OUTCOMES)[number];

/** Reasons of dead letters that are there from the start; another one is counted as well. */
export const DEAD_REASONS = ['attempts', 'unrecoverable', 'input', 'expired', 'poison', 'version', 'handler', 'child'];

/** From 1 ms to 10 minutes, in seconds: waits on an idle queue are at the low end, batch jobs at the high one. */
export const JOB_SECONDS_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 180, 600,
];

/** From the first hint of trouble to twice the usual lease, in seconds. */
const BLOCKED_SECONDS_BUCKETS: readonly number[] = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Contracts, and queues, that are told apart; the limits of all metrics follow from it. */
export const MAX_CONTRACTS = 2_000;

/** A value for each label. */
export type Values<Name extends string> = Readonly<Record<Name, string>>;

interface Definition<Name extends string> {
  name: string;
  help: string;
  labels: readonly Name[];
  maxChildren: number;
}

interface Bindable<Name extends string, Child> {
  labels(values: Values<Name>): Child;
}

/** A counter, bound to its labels. */
export interface CounterChild {
  inc(n?: number): void;
}

/** A histogram, bound to its labels. */
export interface HistogramChild {
  observe(value: number): void;
}

interface GaugeSample<Name extends string> {
  labels: Values<Name>;
  value: number;
}

/** What is needed of a metrics registry; createMetrics() gives one. */
export interface JobMetricsRegistry {
  counter<const Name extends string>(definition: Definition<Name>): Bindable<Name, CounterChild>;
  histogram<const Name extends string>(
    definition: Definition<Name> & { buckets: readonly number[] },
  ): Bindable<Name, HistogramChild>;
  gauge<const Name extends string>(
    definition: Definition<Name> & { collect: () => Promise<Array<GaugeSample<NoInfer<Name>>>> },
  ): unknown;
}

/** The states in which a queue's jobs are counted. */
export type QueueState =
  | 'waiting'
  | 'active'
  | 'delayed'
  | 'prioritized'
  | 'waiting-children'
  | 'completed'
  | 'failed'
  | 'dead';

/** One queue, as it is at a scrape. */
export interface QueueDepth {
  queue: string;
  counts: Readonly<Record<QueueState, number>>;
  /** How long the oldest waiting job has waited; undefined when none waits. */
  oldestWaitingMs: number | undefined;
}

/** Looks at all queues. */
export type QueueSource = () => Promise<readonly QueueDepth[]>;

/** What is counted, to be bound to queues and contracts. */
export type Counts = ReturnType<typeof defineCounts>;

/** Declares everything that is counted. @throws MillraceError OPTIONS_INVALID when a name is taken. */
export function defineCounts(registry: JobMetricsRegistry) {
  const ofQueue = { labels: ['queue'], maxChildren: MAX_CONTRACTS } as const;
  const ofContract = { labels: ['queue', 'contract'], maxChildren: MAX_CONTRACTS } as const;
  return {
    enqueued: registry.counter({
      name: 'millrace_jobs_enqueued_total',
      help: 'Enqueues by what came of them: added, duplicate, replaced and so on.',
      labels: ['queue', 'contract', 'status'],
      maxChildren: 8 * MAX_CONTRACTS,
    }),
    wait: registry.histogram({
      name: 'millrace_job_wait_seconds',
      help: 'From when a job could have run to the start of its handler.',
      ...ofContract,
      buckets: JOB_SECONDS_BUCKETS,
    }),
    run: registry.histogram({
      name: 'millrace_job_run_seconds',
      help: 'How long handlers ran, an attempt at a time.',
      ...ofContract,
      buckets: JOB_SECONDS_BUCKETS,
    }),
    finished: registry.counter({
      name: 'millrace_jobs_finished_total',
      help: 'Attempts by how they ended.',
      labels: ['queue', 'contract', 'outcome'],
      maxChildren: JOB_OUTCOMES.length * MAX_CONTRACTS,
    }),
    dead: registry.counter({
      name: 'millrace_dead_letters_total',
      help: 'Jobs that became dead letters, by reason.',
      labels: ['queue', 'contract', 'reason'],
      maxChildren: DEAD_REASONS.length * MAX_CONTRACTS,
    }),
    lateTicks: registry.counter({
      name: 'millrace_schedule_ticks_late_total',
      help: 'Ticks of schedules that were run late, after nobody had seen to them in time.',
      ...ofContract,
    }),
    missedTicks: registry.counter({
      name: 'millrace_schedule_ticks_missed_total',
      help: 'Ticks of schedules that were never run.',
      ...ofContract,
    }),
    stalled: registry.counter({
      name: 'millrace_jobs_stalled_total',
      help: 'Jobs that went back to their queue because their worker had gone silent.',
      ...ofQueue,
    }),
    redriven: registry.counter({
      name: 'millrace_dead_letters_redriven_total',
      help: 'Dead letters that were sent back to a queue.',
      ...ofQueue,
    }),
    discarded: registry.counter({
      name: 'millrace_dead_letters_discarded_total',
      help: 'Dead letters that were discarded by hand.',
      ...ofQueue,
    }),
    nearLimit: registry.counter({
      name: 'millrace_dead_letters_near_limit_total',
      help: 'Looks at a dead-letter queue that is near a limit of its retention; raised before anything is dropped.',
      labels: ['queue', 'limit'],
      maxChildren: 2 * MAX_CONTRACTS,
    }),
    dropped: registry.counter({
      name: 'millrace_dead_letters_dropped_total',
      help: 'Dead letters that were dropped by retention.',
      labels: ['queue', 'limit'],
      maxChildren: 2 * MAX_CONTRACTS,
    }),
    blocked: registry.histogram({
      name: 'millrace_event_loop_blocked_seconds',
      help: 'How long the event loop was blocked, a block at a time.',
      labels: [],
      buckets: BLOCKED_SECONDS_BUCKETS,
      maxChildren: 1,
    }),
  };
}

/** Declares the gauges of the queues, found by the source at each scrape. */
export function defineGauges(registry: JobMetricsRegistry, source: QueueSource): void {
  // Both gauges are collected in the same turn of a scrape, and share one look at the queues.
  let looking: Promise<readonly QueueDepth[]> | undefined;
  const look = (): Promise<readonly QueueDepth[]> => {
    if (!looking) {
      looking = source();
      queueMicrotask(() => (looking = undefined));
    }
    return looking;
  };

  registry.gauge({
    name: 'millrace_queue_jobs',
    help: 'Jobs in a queue by state; dead are its dead letters.',
    labels: ['queue', 'state'],
    maxChildren: 8 * MAX_CONTRACTS,
    collect: async () =>
      (await look()).flatMap(({ queue, counts }) =>
        Object.entries(counts).map(([state, value]) => ({ labels: { queue, state }, value })),
      ),
  });
  registry.gauge({
    name: 'millrace_queue_oldest_waiting_seconds',
    help: 'How long the oldest waiting job of a queue has waited; 0 when none waits.',
    labels: ['queue'],
    maxChildren: MAX_CONTRACTS,
    collect: async () =>
      (await look()).map(({ queue, oldestWaitingMs = 0 }) => ({ labels: { queue }, value: oldestWaitingMs / 1_000 })),
  });
}
