/**
 * What the API tells of a job, found by its id alone.
 *
 * Nothing tells the queue of an id, so that all are asked. A job that failed for good has become a dead letter, which bears its id and the
 * number of its life. Only jobs of the contracts that the API was given are seen. What a contract calls secret in an input is hidden wherever
 * it stands in progress, result and reasons; the input itself is not told.
 */
import { hideSecrets } from '../../jobs/hide-secrets.ts';
import type { JobContract } from '../../jobs/contract.ts';
import type { JobInfo, JobState } from '../../jobs/inspect.ts';
import type { DeadLetter } from '../../jobs/dead-letters/letter.ts';
import type { DeadLetters } from '../../jobs/dead-letters/dead-letters.ts';
import type { PlatformJobs } from '../../jobs/jobs.ts';
import type { Asking } from './asking.ts';

/** Where a job is in its life, as the API tells it. */
export const JOB_STATES = [
  'waiting',
  'delayed',
  'waiting-children',
  'active',
  'completed',
  'failed',
  'cancelled',
] as const;
export type ToldState = (typeof JOB_STATES)[number];

/** A job as the API tells it. Times are of RFC 3339. */
export interface ToldJob {
  id: string;
  contract: string;
  version: number;
  state: ToldState;
  /** Whether it will change no more by itself. */
  hasEnded: boolean;
  progress?: unknown;
  /** How often it was tried, and how often it may be. */
  attempts: { made: number; most: number };
  enqueuedAt: string;
  startedAt?: string;
  endedAt?: string;
  /** Why it was cancelled, or how the latest attempt failed. */
  reason?: string;
}

/** A job that was found. */
export interface Sight {
  readonly contract: JobContract;
  readonly job: ToldJob;
  /** What the handler returned, once it has. */
  readonly result: unknown;
}

/** What of a platform tells of jobs. */
export interface SightPlatform {
  readonly jobs: PlatformJobs;
  readonly deadLetters: DeadLetters;
}

/** A dead job is looked for under so many of its lives. */
const LIVES_TRIED = 21;
/** Ids of jobs, also of those that others have named. */
const ID = /^[^\s~/]{1,200}$/u;

const STATES: Readonly<Record<JobState, ToldState | undefined>> = {
  waiting: 'waiting',
  prioritized: 'waiting',
  delayed: 'delayed',
  'waiting-children': 'waiting-children',
  active: 'active',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  unknown: undefined,
};
const ENDED: ReadonlySet<ToldState> = new Set<ToldState>(['completed', 'failed', 'cancelled']);

/** Finds jobs. */
export class JobFinder {
  readonly #platform: SightPlatform;
  readonly #asking: Asking;
  readonly #contracts: ReadonlyMap<string, JobContract>;
  readonly #queues: readonly string[];

  constructor(platform: SightPlatform, asking: Asking, contracts: readonly JobContract[]) {
    this.#platform = platform;
    this.#asking = asking;
    this.#contracts = new Map(contracts.map((contract) => [contract.name, contract]));
    this.#queues = [...new Set(contracts.map(({ queue }) => queue))];
  }

  /** Undefined when nothing is known of it, or it is of no contract of the API's. @throws MillraceError when Redis cannot be asked */
  async find(id: string): Promise<Sight | undefined> {
    if (!ID.test(id)) return undefined;
    return this.#asking.ask(async () => {
      const info = await this.#platform.jobs.get(id);
      if (info) return this.#ofInfo(info);
      const letter = await this.#letter(id);
      return letter && this.#ofLetter(letter);
    });
  }

  #ofInfo(info: JobInfo): Sight | undefined {
    const contract = this.#contracts.get(info.name);
    const state = STATES[info.state];
    if (!contract || contract.queue !== info.queue || state === undefined) return undefined;
    const hide = hideSecrets(info.input, contract.secrets);
    const { progress, startedAt, finishedAt, reason } = info;
    const job: ToldJob = {
      id: info.id,
      contract: info.name,
      version: info.version,
      state,
      hasEnded: ENDED.has(state),
      ...(progress !== undefined && { progress: hide(progress) }),
      attempts: { made: info.attemptsMade, most: info.attempts },
      enqueuedAt: timeOf(info.enqueuedAt),
      ...(startedAt !== undefined && { startedAt: timeOf(startedAt) }),
      ...(finishedAt !== undefined && { endedAt: timeOf(finishedAt) }),
      ...(reason !== undefined && state !== 'completed' && { reason: hide(reason) }),
    };
    return { contract, job, result: state === 'completed' ? (hide(info.result) ?? null) : undefined };
  }

  #ofLetter(letter: DeadLetter): Sight | undefined {
    const contract = this.#contracts.get(letter.contract);
    if (!contract || contract.queue !== letter.queue) return undefined;
    const hide = hideSecrets(letter.input, contract.secrets);
    const startedAt = letter.attempts.at(-1)?.startedAt;
    const made = letter.attempts.length + (letter.omittedAttempts ?? 0);
    const job: ToldJob = {
      id: letter.jobId,
      contract: letter.contract,
      version: letter.version,
      state: 'failed',
      hasEnded: true,
      attempts: { made, most: Math.max(made, letter.options.attempts ?? 1) },
      enqueuedAt: timeOf(letter.enqueuedAt),
      ...(startedAt !== undefined && { startedAt: timeOf(startedAt) }),
      endedAt: timeOf(letter.diedAt),
      reason: hide(`${letter.error.name}: ${letter.error.message}`),
    };
    return { contract, job, result: undefined };
  }

  /** The latest letter of the job: one command asks a queue for all of them. */
  async #letter(id: string): Promise<DeadLetter | undefined> {
    const { jobs, deadLetters } = this.#platform;
    const client = this.#asking.platform.redis.commands();
    const ids = Array.from({ length: LIVES_TRIED }, (_, life) => `${id}~${life}`);
    const counts = await Promise.all(
      this.#queues.map((queue) => client.exists(...ids.map((one) => jobs.bullmq(queue).dead.toKey(one)))),
    );
    const queue = this.#queues.find((_queue, index) => counts[index] !== 0);
    if (queue === undefined) return undefined;
    const letters = await Promise.all(ids.map((one) => deadLetters.get(one, { queue })));
    return letters.findLast((letter) => letter !== undefined);
  }
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
