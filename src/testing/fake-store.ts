/**
 * The jobs of FakeJobs: what BullMQ's scripts do to them, in memory.
 *
 *   waiting, prioritized <--due-- delayed          waiting-children --all children ended--> waiting
 *   waiting, prioritized --start()-> active --complete()--> completed
 *                                           --retry(), postpone()--> waiting or delayed
 *                                           --bury()--> a dead letter; nothing is left of the job
 */
import type { JobContract } from '../jobs/contract.ts';
import { CHILD_FAILED, CHILD_LEFT } from '../jobs/dead-letters/children.ts';
import { letterIdOf, letterOf, type DeadLetter } from '../jobs/dead-letters/letter.ts';
import type { EnqueuePlan, StoredOptions } from '../jobs/enqueue-options.ts';
import type { ChildFailurePolicy } from '../jobs/flows.ts';
import { cancelledError } from '../jobs/worker/cancellations.ts';
import type { JobState } from '../jobs/inspect.ts';
import type { Enqueued } from '../jobs/producer.ts';
import { FakeKeys, type Claim } from './fake-keys.ts';
import type { StoredEffects } from './fake-once.ts';

/** A job in memory. */
export interface FakeJob {
  readonly id: string;
  readonly contract: JobContract;
  /** The input as JSON. */
  readonly json: string;
  readonly opts: StoredOptions;
  readonly enqueuedAt: number;
  readonly effects: StoredEffects;
  state: JobState;
  /** The order in which jobs came to wait. */
  place: number;
  dueAt: number;
  /** When it was first met by a worker that did not know how to run it. */
  metAt?: number;
  attemptsMade: number;
  starts: number;
  startedAt?: number;
  finishedAt?: number;
  result?: unknown;
  progress?: unknown;
  reason?: string;
  readonly traces: string[];
  readonly log: string[];
  parent?: { job: FakeJob; onFailure: ChildFailurePolicy };
  /** Children that have not ended. */
  readonly children: Set<string>;
  readonly childResults: Record<string, unknown>;
  readonly childFailures: Record<string, string>;
  /** It ran when it was cancelled. */
  wasActive?: boolean;
  /** A child failed for good, and this job with it. */
  childFailure?: string;
}

/** What is told of a job's end to whoever waits for it. */
export type EndListener = (job: FakeJob) => void;

const RUNNABLE: readonly JobState[] = ['waiting', 'prioritized'];

/** The jobs in memory. */
export class FakeStore {
  readonly jobs = new Map<string, FakeJob>();
  readonly letters: DeadLetter[] = [];
  readonly paused = new Set<string>();
  readonly queues = new Set<string>();
  readonly #nowMs: () => number;
  readonly #keys: FakeKeys;
  readonly #onEnd: EndListener;
  #places = 0;

  constructor(nowMs: () => number, onEnd: EndListener) {
    this.#nowMs = nowMs;
    this.#onEnd = onEnd;
    this.#keys = new FakeKeys(nowMs);
  }

  /** Adds the job, or says which one it is a duplicate of. */
  add(id: string, contract: JobContract, json: string, plan: EnqueuePlan): Enqueued {
    const { opts, rule } = plan;
    this.queues.add(contract.queue);
    const claim = (): Claim<FakeJob> =>
      this.#keys.claim(contract.queue, opts.deduplication, id, (jobId) => this.find(jobId));
    let conflict = claim();
    if (conflict.kind === 'taken' && rule === 'debounce') {
      // The latest input must run: an earlier job that is due already is let go of.
      this.#keys.release(contract.queue, opts.deduplication, conflict.id, { always: true });
      conflict = claim();
    }
    if (conflict.kind === 'taken') {
      if (rule !== 'reschedule' || conflict.holder?.state !== 'delayed')
        return { id: conflict.id, status: 'duplicate' };
      this.#delay(conflict.holder, opts.delay ?? 0);
      return { id: conflict.id, status: 'rescheduled' };
    }
    if (conflict.replaced) this.jobs.delete(conflict.replaced.id);
    const job = this.#create(id, contract, json, opts);
    this.#queue(job, opts.delay ?? 0);
    return { id, status: conflict.hadHolder ? 'replaced' : 'added' };
  }

  /** Adds a job of a flow; a parent waits for its children first. */
  addToFlow(
    id: string,
    contract: JobContract,
    json: string,
    opts: StoredOptions,
    childIds: readonly string[],
  ): FakeJob {
    this.queues.add(contract.queue);
    const job = this.#create(id, contract, json, childIds.length > 0 ? { ...opts, kids: 1 } : opts);
    for (const childId of childIds) job.children.add(childId);
    if (childIds.length > 0) job.state = 'waiting-children';
    else this.#queue(job, opts.delay ?? 0);
    return job;
  }

  /** The job, unless it was cancelled. */
  find(jobId: string): FakeJob | undefined {
    const job = this.jobs.get(jobId);
    return job?.state === 'cancelled' ? undefined : job;
  }

  /** Jobs that wait, run or will run. */
  unfinished(): FakeJob[] {
    return [...this.jobs.values()].filter(({ state }) => state !== 'completed' && state !== 'cancelled');
  }

  /** The job whose turn it is, of those that `isMeant` names; undefined when none may run now. */
  next(isMeant: (job: FakeJob) => boolean): FakeJob | undefined {
    this.#promote();
    let first: FakeJob | undefined;
    for (const job of this.jobs.values()) {
      if (!RUNNABLE.includes(job.state) || this.paused.has(job.contract.queue) || !isMeant(job)) continue;
      if (!first || isBefore(job, first)) first = job;
    }
    return first;
  }

  /** The job runs from now on. */
  start(job: FakeJob): void {
    job.state = 'active';
    job.starts += 1;
    job.startedAt = this.#nowMs();
  }

  /** When the next delayed job of those is due; undefined when there is none. */
  nextDueAt(isMeant: (job: FakeJob) => boolean): number | undefined {
    const times = [...this.jobs.values()]
      .filter((job) => job.state === 'delayed' && !this.paused.has(job.contract.queue) && isMeant(job))
      .map(({ dueAt }) => dueAt);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  complete(job: FakeJob, result: unknown): void {
    job.attemptsMade += 1;
    job.result = result;
    this.#finish(job, 'completed');
    if (job.contract.retention.count === 0) this.jobs.delete(job.id);
    this.#childEnded(job, () => {
      if (job.parent) job.parent.job.childResults[job.id] = result;
    });
  }

  /** The attempt failed, and another one follows. */
  retry(job: FakeJob, message: string, trace: string, afterMs: number): void {
    job.attemptsMade += 1;
    job.reason = message;
    job.traces.push(trace);
    this.#queue(job, afterMs);
  }

  /** Comes back later without having used up an attempt. */
  postpone(job: FakeJob, afterMs: number): void {
    this.#delay(job, afterMs);
  }

  /** The job has failed for good. */
  bury(job: FakeJob, message: string, trace: string): DeadLetter {
    job.attemptsMade += 1;
    job.reason = message;
    job.traces.push(trace);
    this.#finish(job, 'failed');
    const letter = this.#letterOf(job);
    this.letters.push(letter);
    this.jobs.delete(job.id);
    this.#childEnded(job, () => this.#childFailed(job, message));
    return letter;
  }

  /** The job is cancelled: one that did not run is removed, one that did has been given up. */
  cancel(job: FakeJob, reason: string): void {
    const wasActive = job.state === 'active';
    job.wasActive = wasActive;
    job.reason = reason;
    this.#finish(job, 'cancelled');
    // A removal takes the key away; a job that ran ends like any other, and a key with a time of its own stays.
    if (!wasActive) this.#keys.release(job.contract.queue, job.opts.deduplication, job.id, { always: true });
    this.#childEnded(job, () => this.#childFailed(job, cancelledError(job.id, reason).message));
  }

  #create(id: string, contract: JobContract, json: string, opts: StoredOptions): FakeJob {
    const now = this.#nowMs();
    const job: FakeJob = {
      id,
      contract,
      json,
      opts,
      enqueuedAt: now,
      effects: new Map(),
      state: 'waiting',
      place: 0,
      dueAt: now,
      attemptsMade: 0,
      starts: 0,
      traces: [],
      log: [],
      children: new Set(),
      childResults: {},
      childFailures: {},
    };
    this.jobs.set(id, job);
    return job;
  }

  #queue(job: FakeJob, delayMs: number): void {
    if (delayMs > 0) return this.#delay(job, delayMs);
    job.state = job.opts.priority === undefined ? 'waiting' : 'prioritized';
    job.dueAt = this.#nowMs();
    job.place = this.#places++;
  }

  #delay(job: FakeJob, delayMs: number): void {
    job.state = 'delayed';
    job.dueAt = this.#nowMs() + delayMs;
    job.place = this.#places++;
  }

  #promote(): void {
    const now = this.#nowMs();
    const due = [...this.jobs.values()].filter(({ state, dueAt }) => state === 'delayed' && dueAt <= now);
    for (const job of due.toSorted((left, right) => left.dueAt - right.dueAt || left.place - right.place)) {
      job.state = job.opts.priority === undefined ? 'waiting' : 'prioritized';
      job.place = this.#places++;
    }
  }

  #finish(job: FakeJob, state: 'completed' | 'failed' | 'cancelled'): void {
    job.state = state;
    job.finishedAt = this.#nowMs();
    this.#keys.release(job.contract.queue, job.opts.deduplication, job.id, { always: false });
    this.#onEnd(job);
  }

  #childEnded({ id, parent }: FakeJob, tell: () => void): void {
    if (!parent?.job.children.delete(id)) return;
    tell();
    const { job } = parent;
    if (job.state === 'waiting-children' && (job.children.size === 0 || job.childFailure !== undefined)) {
      this.#queue(job, job.opts.delay ?? 0);
    }
  }

  #childFailed({ id, contract, parent }: FakeJob, message: string): void {
    if (!parent) return;
    if (parent.onFailure === 'run-parent') parent.job.childFailures[id] = message;
    else {
      parent.job.childFailure ??= `child ${contract.queue}:${id} failed`;
      parent.job.childFailures[id] = CHILD_FAILED;
    }
  }

  #letterOf(job: FakeJob): DeadLetter {
    const stored = {
      id: job.id,
      name: job.contract.name,
      data: job.json,
      opts: job.opts,
      timestamp: job.enqueuedAt,
      attemptsMade: job.attemptsMade,
      attemptsStarted: job.starts,
      stalledCounter: 0,
      stacktrace: JSON.stringify(job.traces),
      failedReason: job.reason,
      finishedOn: job.finishedAt,
    } as Parameters<typeof letterOf>[0];
    const left = Object.fromEntries([...job.children].map((id) => [id, CHILD_LEFT]));
    const children = { results: job.childResults, failures: { ...left, ...job.childFailures } };
    return letterOf(stored, job.contract.queue, job.id, letterIdOf(job.id, 0), job.opts.kids ? children : undefined);
  }
}

/** Jobs without a priority come first, then 1, 2 and so on; within each, in the order in which they came to wait. */
function isBefore(left: FakeJob, right: FakeJob): boolean {
  const byPriority = (left.opts.priority ?? 0) - (right.opts.priority ?? 0);
  return byPriority === 0 ? left.place < right.place : byPriority < 0;
}
