/**
 * What jobs count, by queue and contract. metric-definitions.ts has the names under which it is exported.
 *
 * Promise: a call on a bound meter costs nanoseconds and never throws, with a registry or without one; times go in as
 * milliseconds and come out as seconds. All series of a contract are there from its first job in this process on, so
 * that the first dead letter is seen as a rise and not as the start of a series.
 * Redis down: counting does not notice. The gauges of collectQueues() are missing from a scrape whose source failed.
 */
import { Tallies, type QueueTally } from './history/tallies.ts';
import {
  DEAD_REASONS,
  defineCounts,
  defineGauges,
  JOB_OUTCOMES,
  MAX_CONTRACTS,
  type CounterChild,
  type Counts,
  type HistogramChild,
  type JobMetricsRegistry,
  type JobOutcome,
  type QueueSource,
  type Values,
} from './metric-definitions.ts';

export { JOB_OUTCOMES, JOB_SECONDS_BUCKETS } from './metric-definitions.ts';
export type { JobMetricsRegistry, JobOutcome, QueueDepth, QueueSource, QueueState } from './metric-definitions.ts';

/** Counts for one contract on one queue. */
export interface JobMeter {
  /** What an enqueue came to, such as `added` or `duplicate`. */
  enqueued(status: string): void;
  /** From when the job could have run to the start of its handler. */
  waited(ms: number): void;
  /** How long its handler ran, however it ended. */
  ran(ms: number): void;
  /** How an attempt ended; once an attempt. @param isRetried whether the job will be tried again, where the kind does not tell */
  outcome(kind: JobOutcome, isRetried?: boolean): void;
  /** A dead letter was made. */
  deadLetter(reason: string): void;
  /** Ticks of its schedules were run late, or not at all. */
  ticks(late: number, missed: number): void;
}

/** Counts for one queue. */
export interface QueueMeter {
  /** A job's worker died or lost its lease, so the job went back. */
  stalled(n?: number): void;
  /** Dead letters were sent back. */
  redriven(n?: number): void;
  /** Dead letters were dropped, by hand or by retention. */
  discarded(n?: number): void;
  /** Retention of dead letters is about to drop some. */
  nearLimit(limit: 'age' | 'count'): void;
  dropped(limit: 'age' | 'count', n: number): void;
}

/** The metrics of the jobs of this process. */
export interface JobMetrics {
  /** What was counted and is not in the history yet. */
  readonly tallies: Tallies;
  /** The counts of a contract, the same object each time. */
  forContract(queue: string, contract: string): JobMeter;
  /** The counts of a queue; bind them once and keep them. */
  forQueue(queue: string): QueueMeter;
  /** The event loop was blocked, and is free again. */
  eventLoopBlocked(ms: number): void;
  /**
   * Asks the source at each scrape, once for both gauges. A queue on which nothing waits has an oldest waiting age of 0.
   * Once a registry.
   */
  collectQueues(source: QueueSource): void;
}

/**
 * The metrics of jobs on a registry; without one, everything can be called and counts nothing.
 *
 * @example
 * const metrics = createJobMetrics(registry);
 * const meter = metrics.forContract('email', 'email.send');
 * meter.waited(12);
 * meter.outcome('completed');
 * @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric.
 */
export function createJobMetrics(registry: JobMetricsRegistry | undefined): JobMetrics {
  const target = registry ?? NO_REGISTRY;
  const counts = defineCounts(target);
  const blocked = counts.blocked.labels({});
  const tallies = new Tallies();
  const meters = new Map<string, Map<string, JobMeter>>();
  let meterCount = 0;

  return {
    tallies,
    forContract(queue, contract) {
      const known = meters.get(queue)?.get(contract);
      if (known) return known;
      const meter = new ContractMeter(counts, tallies, { queue, contract });
      // Names may come out of a job's data; those beyond the limit are bound anew each time and counted as "other".
      if (meterCount >= MAX_CONTRACTS) return meter;
      meterCount++;
      const ofQueue = meters.get(queue) ?? new Map<string, JobMeter>();
      meters.set(queue, ofQueue.set(contract, meter));
      return meter;
    },
    forQueue(queue) {
      const stalled = counts.stalled.labels({ queue });
      const redriven = counts.redriven.labels({ queue });
      const discarded = counts.discarded.labels({ queue });
      return {
        stalled: (n) => stalled.inc(n),
        redriven: (n) => redriven.inc(n),
        discarded: (n) => discarded.inc(n),
        nearLimit: (limit) => counts.nearLimit.labels({ queue, limit }).inc(),
        dropped: (limit, n) => counts.dropped.labels({ queue, limit }).inc(n),
      };
    },
    eventLoopBlocked: (ms) => blocked.observe(ms / 1_000),
    collectQueues: (source) => defineGauges(target, source),
  };
}

/** The children of what only a process that runs the contract counts. */
interface WorkChildren {
  wait: HistogramChild;
  run: HistogramChild;
  finished: Readonly<Record<JobOutcome, CounterChild>>;
  dead: Map<string, CounterChild>;
  tally: QueueTally;
}

class ContractMeter implements JobMeter {
  readonly #counts: Counts;
  readonly #tallies: Tallies;
  readonly #names: Values<'queue' | 'contract'>;
  readonly #enqueued = new Map<string, CounterChild>();
  /** Bound on first use: a process that only enqueues shows no empty histograms. */
  #work: WorkChildren | undefined;

  constructor(counts: Counts, tallies: Tallies, names: Values<'queue' | 'contract'>) {
    this.#counts = counts;
    this.#tallies = tallies;
    this.#names = names;
  }

  enqueued(status: string): void {
    (this.#enqueued.get(status) ?? this.#bindStatus(status)).inc();
  }

  waited(ms: number): void {
    const { wait, tally } = this.#work ?? this.#bindWork();
    wait.observe(ms / 1_000);
    tally.waited(ms);
  }

  ran(ms: number): void {
    const { run, tally } = this.#work ?? this.#bindWork();
    run.observe(ms / 1_000);
    tally.ran(ms);
  }

  outcome(kind: JobOutcome, isRetried = kind === 'retried'): void {
    const { finished, tally } = this.#work ?? this.#bindWork();
    finished[kind].inc();
    tally.ended(kind, isRetried);
  }

  deadLetter(reason: string): void {
    const { dead, tally } = this.#work ?? this.#bindWork();
    (dead.get(reason) ?? this.#counts.dead.labels({ ...this.#names, reason })).inc();
    tally.died();
  }

  ticks(late: number, missed: number): void {
    if (late > 0) this.#counts.lateTicks.labels(this.#names).inc(late);
    if (missed > 0) this.#counts.missedTicks.labels(this.#names).inc(missed);
  }

  #bindStatus(status: string): CounterChild {
    const child = this.#counts.enqueued.labels({ ...this.#names, status });
    this.#enqueued.set(status, child);
    return child;
  }

  #bindWork(): WorkChildren {
    const { wait, run, finished, dead } = this.#counts;
    const names = this.#names;
    this.#work = {
      wait: wait.labels(names),
      run: run.labels(names),
      finished: Object.fromEntries(
        JOB_OUTCOMES.map((outcome) => [outcome, finished.labels({ ...names, outcome })]),
      ) as Record<JobOutcome, CounterChild>,
      dead: new Map(DEAD_REASONS.map((reason) => [reason, dead.labels({ ...names, reason })])),
      tally: this.#tallies.of(names.queue),
    };
    return this.#work;
  }
}

const NO_CHILD = { inc: () => undefined, observe: () => undefined };
const NO_METRIC = { labels: () => NO_CHILD };

/** Stands in for a registry, so that nobody has to ask whether there is one. */
const NO_REGISTRY: JobMetricsRegistry = {
  counter: () => NO_METRIC,
  histogram: () => NO_METRIC,
  gauge: () => undefined,
};
