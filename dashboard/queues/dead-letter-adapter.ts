/**
 * A queue of dead letters as Bull Board sees it: jobs that failed, with their own times, errors and input.
 *
 * BullMQ has them as waiting, in a queue that nobody works on. What is done to them goes through the dead letters of the platform (actions.ts);
 * what would go past them does nothing here but throw.
 */
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { JobCounts, JobStatus, QueueJobJson, Status } from '@bull-board/api/typings/app';
import { hideSecrets, MillraceError, type DeadLetter } from 'millrace';
import { lastHour } from './history-provider.ts';
import type { AdapterParts, BullQueue } from './queue-adapter.ts';
import { boardName } from './names.ts';
import { SHOWN, shownJob } from './shown-job.ts';

type BullJob = NonNullable<Awaited<ReturnType<BullMQAdapter['getJob']>>>;

const NO_COUNTS = { active: 0, waiting: 0, 'waiting-children': 0, prioritized: 0, completed: 0, delayed: 0 };

/** A queue of dead letters. */
export class DeadLetterAdapter extends BullMQAdapter {
  readonly kind = 'dead letters';
  /** The queue whose jobs they were. */
  readonly origin: string;
  readonly #queue: BullQueue;
  readonly #parts: AdapterParts;

  constructor(queue: BullQueue, parts: AdapterParts) {
    const { name: origin } = parts;
    const displayName = `${origin} · dead letters`;
    super(queue, {
      delimiter: '.',
      displayName,
      externalJobUrl: linkToLetter,
    });
    this.origin = origin;
    this.#queue = queue;
    this.#parts = parts;
  }

  override getName(): string {
    return boardName({ queue: this.origin, isDead: true });
  }

  override getDescription(): string {
    return this.#parts.description();
  }

  override getJobStatuses(): JobStatus[] {
    return ['failed'] as JobStatus[];
  }

  override getStatuses(): Status[] {
    return ['latest', 'failed'] as Status[];
  }

  override getJobCounts(): Promise<JobCounts> {
    const { name, memo } = this.#parts;
    return memo.get(`${name} dead counts`, async () => {
      const { waiting = 0 } = await this.#queue.getJobCounts('waiting');
      return { ...NO_COUNTS, failed: waiting };
    });
  }

  /** The newest first, which stand last. */
  override async getJobs(_statuses: JobStatus[], start = 0, end = -1): Promise<BullJob[]> {
    const [jobs, secretsOf] = await Promise.all([
      this.#queue.getJobs(['waiting'], start, end, true) as Promise<BullJob[]>,
      this.#parts.secretsOf(),
    ]);
    return jobs.map((job) => asFailed(job, secretsOf(job.name), SHOWN.inList));
  }

  override async getJob(id: string): Promise<BullJob | undefined> {
    const [job, secretsOf] = await Promise.all([super.getJob(id), this.#parts.secretsOf()]);
    return job && asFailed(job, secretsOf(job.name), SHOWN.alone);
  }

  /** Those of its attempts, in order. */
  override async getJobLogs(id: string): Promise<string[]> {
    const [job, secretsOf] = await Promise.all([super.getJob(id), this.#parts.secretsOf()]);
    const letter = job && letterIn(job);
    if (!letter) return [];
    const hide = hideSecrets(letter.input, secretsOf(letter.contract));
    return letter.attempts.flatMap(({ log }) => log.map((line) => hide(line)));
  }

  override getMetrics(type: 'completed' | 'failed') {
    const { name, memo, platform } = this.#parts;
    return memo.get(`${name} dead metrics ${type}`, () => lastHour(platform, { queue: name, isDead: true }, type));
  }

  /** Nobody is to work on it, which is not worth a warning. */
  override async getWorkers(): Promise<null> {
    return Promise.resolve(null);
  }

  override isPaused(): Promise<boolean> {
    return Promise.resolve(false);
  }

  override getGlobalConcurrency(): Promise<null> {
    return Promise.resolve(null);
  }

  override getActiveRateLimitTtl(): Promise<number> {
    return Promise.resolve(0);
  }

  override get supportsGlobalRateLimit(): boolean {
    return false;
  }

  override getJobSchedulers(): Promise<[]> {
    return Promise.resolve([]);
  }

  override getJobSchedulersCount(): Promise<number> {
    return Promise.resolve(0);
  }

  override clean = goesPast;
  override addJob = goesPast;
  override empty = goesPast;
  override obliterate = goesPast;
  override pause = goesPast;
  override resume = goesPast;
  override promoteAll = goesPast;
  override setGlobalConcurrency = goesPast;
}

function goesPast(): Promise<never> {
  throw new MillraceError('OPTIONS_INVALID', 'dead letters are acted on by the dead letters of the platform', {});
}

function linkToLetter({ id }: QueueJobJson): { displayText: string; href: string } {
  return { displayText: 'Open', href: `../dead-letters/letter/${encodeURIComponent(String(id))}` };
}

/** The letter that a job of the queue holds; undefined for what something else has put there. */
function letterIn({ id, data }: { id?: string | undefined; data?: unknown }): DeadLetter | undefined {
  const letter = data as Partial<DeadLetter> | null | undefined;
  const isLetter =
    letter?.id === id &&
    Array.isArray(letter?.attempts) &&
    typeof letter?.error?.message === 'string' &&
    typeof letter.diedAt === 'number';
  return isLetter ? (letter as DeadLetter) : undefined;
}

function asFailed(job: BullJob, secrets: readonly string[], most: number): BullJob {
  const facts = {
    toJSON: () => shownJob(failedJson(job.toJSON() as QueueJobJson), secrets, most),
    getState: () => Promise.resolve('failed'),
    remove: goesPast,
    retry: goesPast,
    promote: goesPast,
    updateData: goesPast,
  };
  return new Proxy(job, {
    get(target, key) {
      if (Object.hasOwn(facts, key)) return facts[key as keyof typeof facts];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** The job as it was when it died. */
function failedJson(json: QueueJobJson): QueueJobJson {
  const letter = letterIn(json as { id?: string; data?: unknown });
  if (!letter) return { ...json, failedReason: 'This is no dead letter of Millrace: something else has put it here.' };
  const { attempts, omittedAttempts = 0, error, reason } = letter;
  const startedAt = attempts.findLast((attempt) => attempt.startedAt !== undefined)?.startedAt;
  const worker = attempts.at(-1)?.worker;
  return {
    id: letter.id,
    name: letter.contract,
    data: letter.input,
    timestamp: letter.enqueuedAt,
    processedOn: startedAt ?? letter.lastFailedAt,
    finishedOn: letter.diedAt,
    ...(worker !== undefined && { processedBy: worker }),
    attemptsMade: attempts.length + omittedAttempts,
    progress: 0,
    failedReason: `${error.message} (${reason})`,
    stacktrace: stacksOf(letter),
    returnvalue: null,
    opts: letter.options,
  };
}

function stacksOf({ attempts, error }: DeadLetter): string[] {
  const stacks = attempts.flatMap((attempt) => attempt.error?.stack ?? []);
  return stacks.length > 0 ? stacks : [error.stack];
}
