/**
 * One attempt of a job without a worker and without Redis: the same steps, in the same order, with the same ends as in
 * src/jobs/worker. test/testing/same-as-worker.test.ts runs one table of cases through both.
 *
 *   refused (expired, version, input) ------------------------------> failed
 *   running --handler returns--> result checked --------------------> completed
 *   running --handler throws, timeout, cancel, release, lost lease--> what is said of it
 */
import type { Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { ATTEMPT_LIMITS, formatAttempt, type DeathReason } from '../jobs/attempt-record.ts';
import { backoffMs, postponedForMs } from '../backoff.ts';
import { describeError, type DescribedError } from '../describe-error.ts';
import type { StoredOptions } from '../jobs/enqueue-options.ts';
import type { ChildResults, Handler, JobContext, JobFacts } from '../jobs/handler.ts';
import type { Interruption } from '../jobs/worker/attempt.ts';
import type { addPostponed } from '../jobs/worker/postponement.ts';
import {
  checkExpiry,
  checkResult,
  parseInput,
  Refusal,
  refusalOf,
  upgradeInput,
  versionsOf,
} from '../jobs/worker/refusal.ts';
import { KeptLog } from '../jobs/worker/job-log.ts';
import { silentLogger } from '../log.ts';
import { fakeContext } from './fake-context.ts';
import { FakeOnce, type StoredEffects } from './fake-once.ts';
import { spyLog, type LoggedLine } from './spy-log.ts';

/** How an attempt ended. `failed` and `timeout` use it up; `lost` is for whoever finds the job stalled; the others do not. */
export type RunOutcome = 'completed' | 'failed' | 'timeout' | 'postponed' | 'cancelled' | 'released' | 'lost';

/** What an attempt is made of. */
export interface AttemptParts {
  handler: Handler;
  job: JobFacts;
  /** The job as BullMQ would give it to a worker; see bullJob(). */
  bull: BullJob;
  /** When a worker first met the job without knowing how to run it. */
  metAt: number;
  /** In the place of what the job and its contract say. */
  timeoutMs?: number | false | undefined;
  graceMs: number;
  clock: Clock;
  /** What timeouts and graces wait with. */
  guard: Clock;
  effects: StoredEffects;
  children: ChildResults;
  modules: Readonly<Record<string, unknown>>;
  enqueue: JobContext['enqueue'];
  /** For jitter, from 0 up to 1. */
  random: () => number;
}

/** How an attempt ended, in full. */
export interface AttemptEnd {
  outcome: RunOutcome;
  /** What the handler returned, as JSON keeps it. */
  result?: unknown;
  /** What was thrown. */
  thrown?: unknown;
  /** The same as text. */
  error?: DescribedError;
  /** Why there is no further attempt, if there is none. */
  reason?: DeathReason;
  /** The wait before the next attempt, if there is one. */
  retryInMs?: number;
  /** Of a failed attempt, what BullMQ would keep as its stack. */
  trace?: string;
  /** Of a postponed one, what its text is made of. */
  facts?: EndFacts;
}

type EndFacts = Parameters<typeof addPostponed>[2];

/** What of BullMQ's job the worker's checks look at. */
export type BullJob = Parameters<typeof upgradeInput>[1];

/** A job for the worker's checks. */
export function bullJob(facts: {
  id: string;
  name: string;
  /** The input as a worker finds it: read from JSON. */
  data: unknown;
  opts: StoredOptions;
  timestamp: number;
  attemptsMade: number;
  /** More than the attempts that were used up where one was postponed. */
  attemptsStarted: number;
}): BullJob {
  return { ...facts, stalledCounter: 0 } as unknown as BullJob;
}

const STRANGER_GRACE_MS = 300_000;
const STRANGER_DELAY_MS = 5_000;
const WORKER = 'millrace/testing';

/** One attempt. */
export class FakeAttempt {
  readonly lines: LoggedLine[] = [];
  readonly progress: Array<number | object> = [];
  readonly once: FakeOnce;
  readonly #parts: AttemptParts;
  readonly #kept: KeptLog;
  readonly #controller = new AbortController();
  readonly #ended = new AbortController();
  readonly #startedAt: number;
  #interruption: { kind: Interruption; error: MillraceError } | undefined;
  #giveUp: ((error: MillraceError) => void) | undefined;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
    this.#startedAt = parts.clock.wallMs();
    this.#kept = new KeptLog(
      () => silentLogger,
      parts.clock,
      () => undefined,
    );
    this.once = new FakeOnce(parts.job.id, parts.effects, () => this.#interruption?.kind !== 'lost');
  }

  /** The lines as they would be kept with the job. */
  keptLines(): string[] {
    return this.#kept.take();
  }

  /** Runs it to its end; never rejects. */
  async run(): Promise<AttemptEnd> {
    try {
      return completed(await this.#perform());
    } catch (thrown) {
      return this.#settle(thrown);
    } finally {
      this.#ended.abort();
      this.#kept.close();
    }
  }

  /** Aborts the signal, and ends the attempt after the grace even if its handler goes on. The first interruption counts. */
  interrupt(kind: Interruption, error: MillraceError): void {
    if (this.#interruption || this.#ended.signal.aborted) return;
    this.#interruption = { kind, error };
    this.#after(this.#parts.graceMs, () => this.#giveUp?.(error));
    this.#controller.abort(error);
  }

  async #perform(): Promise<unknown> {
    const { handler, bull } = this.#parts;
    const { contract } = handler;
    const stored: StoredOptions = bull.opts;
    const { timeoutMs = stored.to ?? contract.timeoutMs } = this.#parts;
    if (bull.attemptsStarted === 1) checkExpiry(handler, bull, this.#startedAt);
    this.#throwInterruption();
    const version = stored.v ?? 1;
    if (version > contract.version && !handler.upgrade) throw this.#stranger(version);
    const data: unknown =
      version === contract.version
        ? bull.data
        : await this.#finish(upgradeInput(handler, bull, version), timeoutMs || undefined);
    const input = await parseInput(handler, data);
    this.#throwInterruption(); // Meanwhile; the handler is not begun.
    const result = await this.#finish(this.#call(input), timeoutMs || undefined);
    if (result !== undefined || contract.output) await checkResult(handler, result);
    if (this.#interruption?.kind === 'lost') throw this.#interruption.error;
    return result;
  }

  #throwInterruption(): void {
    if (this.#interruption) throw this.#interruption.error;
  }

  /** A job that a newer release enqueued is left to other workers for a while. */
  #stranger(version: number): Refusal | MillraceError {
    const { handler, bull, job, clock, metAt } = this.#parts;
    const message = versionsOf(handler, bull, version);
    const facts = { jobId: job.id, contract: job.name, queue: job.queue };
    if (clock.wallMs() - metAt >= STRANGER_GRACE_MS)
      return new Refusal('version', new MillraceError('JOB_VERSION_UNSUPPORTED', message, facts));
    return new MillraceError('JOB_POSTPONED', message, { ...facts, delayMs: STRANGER_DELAY_MS });
  }

  async #call(input: unknown): Promise<unknown> {
    return this.#parts.handler.run(input, this.#context());
  }

  #context(): JobContext {
    const { children, enqueue, modules, job } = this.#parts;
    const own = {
      job,
      signal: this.#controller.signal,
      log: spyLog(this.#kept, this.lines),
      progress: (value: number | object) => this.#told(value),
      once: <T>(key: string, effect: () => Promise<T> | T) => this.once.run(key, effect),
      enqueue,
      children: async () => children,
    };
    return fakeContext(own, modules);
  }

  /** What is told after the end, or without the lease, would take the place of what the next attempt tells. */
  #told(value: number | object): void {
    if (!this.#ended.signal.aborted && this.#interruption?.kind !== 'lost') this.progress.push(value);
  }

  #finish(work: Promise<unknown>, timeoutMs: number | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#giveUp = reject;
      work.then(resolve, reject);
      if (timeoutMs !== undefined) this.#after(timeoutMs, () => this.#onTimeout(timeoutMs));
    });
  }

  #onTimeout(timeoutMs: number): void {
    const { id, name } = this.#parts.job;
    const message = `${name} ${id} ran longer than its timeout of ${formatMs(timeoutMs)}`;
    this.interrupt('timeout', new MillraceError('JOB_TIMEOUT', message, { jobId: id, contract: name, timeoutMs }));
  }

  #after(ms: number, act: () => void): void {
    this.#parts.guard.sleep(ms, { signal: this.#ended.signal }).then(act, () => undefined); // Refused: the attempt was over first.
  }

  #settle(thrown: unknown): AttemptEnd {
    switch (this.#interruption?.kind) {
      case 'released':
      case 'lost':
      case 'cancelled':
        return ended(this.#interruption.kind, this.#interruption.error);
      case 'timeout':
        return this.#failure(this.#interruption.error, 'timeout');
      case undefined:
        return this.#postponed(thrown) ?? this.#failure(thrown, 'failed');
    }
  }

  #postponed(thrown: unknown): AttemptEnd | undefined {
    const retryInMs = postponedForMs(thrown);
    return retryInMs === undefined ? undefined : { ...ended('postponed', thrown), retryInMs, facts: this.#facts() };
  }

  #failure(thrown: unknown, outcome: 'failed' | 'timeout'): AttemptEnd {
    const { job } = this.#parts;
    const cause = thrown instanceof Refusal ? thrown.error : thrown;
    const refusal = refusalOf(thrown);
    const delayMs = refusal === undefined ? this.#backoffAfter(cause) : false;
    const isLast = delayMs === false || job.attempt >= job.attempts;
    const end = ended(outcome, cause);
    const reason = isLast ? (refusal ?? 'attempts') : undefined;
    const trace = formatAttempt({
      ...this.#facts(),
      outcome,
      ...(end.error && { error: end.error }),
      ...(reason && { reason }),
    });
    return { ...end, trace, ...(reason ? { reason } : { retryInMs: Number(delayMs) }) };
  }

  #facts(): EndFacts {
    const { handler, bull, clock } = this.#parts;
    return {
      attempt: bull.attemptsStarted,
      startedAt: this.#startedAt,
      endedAt: clock.wallMs(),
      worker: WORKER,
      contractVersion: handler.contract.version,
      log: this.#kept.tail(ATTEMPT_LIMITS.logLines),
    };
  }

  #backoffAfter(thrown: unknown): number | false {
    const { handler, job, random } = this.#parts;
    const error = thrown instanceof Error ? thrown : new Error(describeError(thrown).message);
    return backoffMs(handler.contract.backoff, job.attempt, error, random);
  }
}

/** As JSON keeps it. */
function completed(result: unknown): AttemptEnd {
  const json = JSON.stringify(result) as string | undefined;
  return { outcome: 'completed', result: json === undefined ? null : JSON.parse(json) };
}

function ended(outcome: RunOutcome, thrown: unknown): AttemptEnd {
  return { outcome, thrown, error: describeError(thrown) };
}
