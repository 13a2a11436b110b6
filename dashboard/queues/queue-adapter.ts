/**
 * A queue of jobs as Bull Board sees it.
 *
 * What the board asks for again and again is answered once for all who look. Jobs are shown as shown-job.ts says. Schedules are none of
 * BullMQ's, so that it finds none.
 */
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type {
  JobCounts,
  JobRetryStatus,
  JobStatus,
  QueueJobJson,
  QueueMetrics,
  QueueWorker,
} from '@bull-board/api/typings/app';
import { hideSecrets, systemClock, type Platform } from 'millrace';
import { lastHour } from './history-provider.ts';
import type { Memo } from '../memo.ts';
import { boardName } from './names.ts';
import { SHOWN, shownJob } from './shown-job.ts';

/** BullMQ's own queue, which only Bull Board is to touch. */
export type BullQueue = ReturnType<Platform['jobs']['bullmq']>['queue'];
type BullJob = NonNullable<Awaited<ReturnType<BullMQAdapter['getJob']>>>;

/** What an adapter works with. */
export interface AdapterParts {
  /** The queue that has the jobs, or has had them. */
  readonly name: string;
  readonly platform: Platform;
  readonly memo: Memo;
  /** What the contract of that name keeps secret. */
  readonly secretsOf: () => Promise<(contract: string) => readonly string[]>;
  /** A line about the queue. */
  readonly description: () => string;
}

/** Where the page of a job is, from Bull Board's. */
function linkToJob({ id }: QueueJobJson): { displayText: string; href: string } {
  return { displayText: 'Open', href: `../jobs/${encodeURIComponent(String(id))}` };
}

/** A queue of jobs. */
export class QueueAdapter extends BullMQAdapter {
  readonly kind = 'jobs';
  /** For what Bull Board does not do as it should be done. */
  readonly bullQueue: BullQueue;
  readonly #parts: AdapterParts;

  constructor(queue: BullQueue, parts: AdapterParts) {
    super(queue, { delimiter: '.', displayName: parts.name, externalJobUrl: linkToJob });
    this.bullQueue = queue;
    this.#parts = parts;
  }

  override getName(): string {
    return boardName({ queue: this.#parts.name, isDead: false });
  }

  override getDescription(): string {
    return this.#parts.description();
  }

  override getJobCounts(): Promise<JobCounts> {
    return this.#kept('counts', () => super.getJobCounts());
  }

  override isPaused(): Promise<boolean> {
    return this.#kept('is paused', () => super.isPaused());
  }

  override getGlobalConcurrency(): Promise<number | null> {
    return this.#kept('concurrency', () => super.getGlobalConcurrency());
  }

  override getActiveRateLimitTtl(): Promise<number> {
    return this.#kept('rate limit', () => super.getActiveRateLimitTtl());
  }

  /** Those that the fleet knows: one question for all queues, and none to Redis for the list of its clients. */
  override async getWorkers(): Promise<QueueWorker[]> {
    const { name, platform, memo } = this.#parts;
    const workers = await memo.get('workers', () => platform.fleet.workers());
    const nowMs = systemClock.wallMs();
    return workers
      .filter(({ state, queues }) => state !== 'silent' && queues.some((queue) => queue.name === name))
      .map(({ id, host, pid, startedAt }) => {
        const age = Math.max(0, Math.round((nowMs - startedAt) / 1_000));
        return { id, name: `${host}:${pid}`, addr: host, age };
      });
  }

  override getMetrics(type: 'completed' | 'failed'): Promise<QueueMetrics> {
    const { name, platform } = this.#parts;
    return this.#kept(`metrics ${type}`, () => lastHour(platform, { queue: name, isDead: false }, type));
  }

  override async getJobs(statuses: JobStatus[], start?: number, end?: number): Promise<BullJob[]> {
    const [jobs, secretsOf] = await Promise.all([super.getJobs(statuses, start, end), this.#parts.secretsOf()]);
    return jobs.map((job) => shown(job, secretsOf(job.name), SHOWN.inList));
  }

  override async getJob(id: string): Promise<BullJob | undefined> {
    const [job, secretsOf] = await Promise.all([super.getJob(id), this.#parts.secretsOf()]);
    return job && shown(job, secretsOf(job.name), SHOWN.alone);
  }

  override async getJobLogs(id: string): Promise<string[]> {
    const [lines, job, secretsOf] = await Promise.all([
      super.getJobLogs(id),
      super.getJob(id),
      this.#parts.secretsOf(),
    ]);
    const hide = job ? hideSecrets(job.data, secretsOf(job.name)) : (line: unknown) => line;
    return lines.map((line) => hide(line) as string);
  }

  override getJobSchedulers(): Promise<[]> {
    return Promise.resolve([]);
  }

  override getJobSchedulersCount(): Promise<number> {
    return Promise.resolve(0);
  }

  #kept<T>(what: string, ask: () => Promise<T>): Promise<T> {
    return this.#parts.memo.get(`${this.#parts.name} ${what}`, ask);
  }
}

/** The job with what of it may be seen; what is done to it is done to the job itself. */
function shown(job: BullJob, secrets: readonly string[], most: number): BullJob {
  const facts = {
    toJSON: () => shownJob(job.toJSON() as QueueJobJson, secrets, most),
    // With all of its attempts, as a retry of Millrace does.
    retry: (state?: JobRetryStatus) => job.retry(state, { resetAttemptsMade: true }),
    // Its children are jobs of their own, which whoever may remove one job may not remove by it.
    remove: () => job.remove({ removeChildren: false }),
  };
  return new Proxy(job, {
    get(target, key) {
      if (Object.hasOwn(facts, key)) return facts[key as keyof typeof facts];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
