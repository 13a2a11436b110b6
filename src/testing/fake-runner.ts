/**
 * Runs the jobs of FakeJobs, one after the other, and moves the virtual clock.
 *
 * While a handler runs, time stands still unless the handler sleeps on the virtual clock. A handler that is silent for `patience` of
 * real time is taken to hang: time then moves to its timeout, which is what would end it in production.
 */
import { systemClock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { AttemptRecord, DeathReason } from '../jobs/attempt-record.ts';
import type { Handler, JobContext } from '../jobs/handler.ts';
import { waitedMs } from '../jobs/worker/attempt.ts';
import { addPostponed } from '../jobs/worker/postponement.ts';
import { bullJob, FakeAttempt, type AttemptEnd, type RunOutcome } from './fake-attempt.ts';
import type { FakeJob, FakeStore } from './fake-store.ts';
import { takeTurns, type VirtualTime } from './virtual-clock.ts';

/** One attempt that the fake jobs ran. */
export interface FakeRun {
  readonly jobId: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  readonly outcome: RunOutcome;
  /** What the handler returned, as JSON keeps it. */
  readonly result?: unknown;
  /** What was thrown. */
  readonly error?: AttemptRecord['error'];
  /** Why the job is a dead letter now, if it is. */
  readonly reason?: DeathReason;
  /** How long the job waits for its next attempt, if there is one. */
  readonly retryInMs?: number;
  /** When it began, in ms since 1970 of the virtual clock. */
  readonly startedAt: number;
}

/** What a runner is made of. */
export interface FakeRunnerParts {
  store: FakeStore;
  time: VirtualTime;
  modules: Readonly<Record<string, unknown>>;
  graceMs: number;
  patienceMs: number;
  random: () => number;
  enqueue: JobContext['enqueue'];
}

/** Which jobs to run, and until when. */
export interface RunPlan {
  handlers: readonly Handler[];
  /** `due`: what may run now. `idle`: until nothing is left to run. A number: what may run until then, in ms of wall time. */
  until: 'due' | 'idle' | number;
  maxRuns: number;
  /** Ends it before. */
  isEnough?: (() => boolean) | undefined;
}

/** Runs the jobs. */
export class FakeRunner {
  readonly runs: FakeRun[] = [];
  readonly #parts: FakeRunnerParts;
  readonly #running = new Map<string, { attempt: FakeAttempt; ended: Promise<unknown> }>();

  constructor(parts: FakeRunnerParts) {
    this.#parts = parts;
  }

  /** Runs jobs as the plan says; resolves with how many attempts that were. @throws MillraceError WAIT_TIMEOUT */
  async run({ handlers, until, maxRuns, isEnough = () => false }: RunPlan): Promise<number> {
    const { store, time } = this.#parts;
    const routes = routesOf(handlers);
    const isMeant = (job: FakeJob): boolean => job.childFailure !== undefined || routes.has(routeOf(job.contract));
    let count = 0;
    while (!isEnough()) {
      const job = store.next(isMeant);
      if (job) {
        if (count === maxRuns) throw this.#endless(maxRuns);
        count += 1;
        store.start(job);
        await this.#runOne(job, routes.get(routeOf(job.contract)));
        continue;
      }
      const dueAt = until === 'due' ? undefined : store.nextDueAt(isMeant);
      if (dueAt === undefined || (typeof until === 'number' && dueAt > until)) break;
      await time.advanceTo(time.monotonicMs() + dueAt - time.wallMs());
    }
    if (typeof until === 'number' && !isEnough()) await time.advanceTo(time.monotonicMs() + until - time.wallMs());
    return count;
  }

  /** Aborts the job's signal; resolves when its attempt has ended. */
  async interrupt(jobId: string, error: MillraceError): Promise<void> {
    const running = this.#running.get(jobId);
    running?.attempt.interrupt('cancelled', error);
    await running?.ended;
  }

  async #runOne(job: FakeJob, handler: Handler | undefined): Promise<void> {
    const { store, time } = this.#parts;
    if (job.childFailure !== undefined || !handler) {
      const message = job.childFailure ?? 'no handler';
      store.bury(job, message, `UnrecoverableError: ${message}`);
      return;
    }
    const startedAt = time.wallMs();
    const attempt = this.#attempt(job, handler);
    const ended = this.#end(job, attempt, startedAt);
    this.#running.set(job.id, { attempt, ended });
    await this.#untilEnded(job, ended);
  }

  async #end(job: FakeJob, attempt: FakeAttempt, startedAt: number): Promise<void> {
    const number = job.attemptsMade + 1;
    const end = await attempt.run();
    job.log.push(...attempt.keptLines());
    const progress = attempt.progress.at(-1);
    if (progress !== undefined) job.progress = progress;
    this.#settle(job, end);
    this.#running.delete(job.id);
    this.runs.push(runOf(job, number, startedAt, end));
  }

  #attempt(job: FakeJob, handler: Handler): FakeAttempt {
    const { time, modules, graceMs, random, enqueue } = this.#parts;
    const { contract, opts } = job;
    const now = time.wallMs();
    const facts = { id: job.id, name: contract.name, opts, timestamp: job.enqueuedAt };
    const counts = { attemptsMade: job.attemptsMade, attemptsStarted: job.starts };
    const bull = bullJob({ ...facts, ...counts, data: JSON.parse(job.json) });
    return new FakeAttempt({
      handler,
      bull,
      job: Object.freeze({
        id: job.id,
        name: contract.name,
        queue: contract.queue,
        version: opts.v ?? 1,
        attempt: job.attemptsMade + 1,
        attempts: opts.attempts ?? 1,
        enqueuedAt: job.enqueuedAt,
        waitedMs: waitedMs(bull, now),
        redriven: 0,
      }),
      metAt: (job.metAt ??= now),
      graceMs,
      clock: time,
      guard: time.guard,
      effects: job.effects,
      children: { results: job.childResults, failures: job.childFailures },
      modules,
      enqueue,
      random,
    });
  }

  #settle(
    job: FakeJob,
    { outcome, result, error, reason, retryInMs = 0, trace = '', thrown, facts }: AttemptEnd,
  ): void {
    const { store } = this.#parts;
    const message = error?.message ?? '';
    switch (outcome) {
      case 'completed':
        return store.complete(job, result);
      case 'failed':
      case 'timeout':
        if (reason) store.bury(job, message, trace);
        else store.retry(job, message, trace, retryInMs);
        return;
      case 'cancelled':
        return store.cancel(job, String((thrown as MillraceError).facts['reason']));
      case 'postponed':
        if (facts) job.traces.splice(0, Infinity, ...addPostponed(job.traces, thrown, facts));
        return store.postpone(job, retryInMs);
      case 'released':
      case 'lost':
        return store.postpone(job, retryInMs);
    }
  }

  async #untilEnded(job: FakeJob, work: Promise<unknown>): Promise<void> {
    const { time, patienceMs } = this.#parts;
    let isOver = false;
    const over = work.finally(() => (isOver = true));
    for (;;) {
      await takeTurns();
      if (isOver) return;
      const isAsleep = time.nextMs('sleeps') !== undefined;
      if (!isAsleep && !(await isSilent(Promise.race([over, time.sleepBegins()]), patienceMs))) continue;
      const nextMs = time.nextMs('all'); // A timeout may come before the end of the sleep.
      if (nextMs === undefined) throw hangs(job, patienceMs);
      await time.advanceTo(nextMs);
    }
  }

  #endless(maxRuns: number): MillraceError {
    const counts: Record<string, number> = {};
    for (const { name } of this.runs.slice(-maxRuns)) counts[name] = (counts[name] ?? 0) + 1;
    const ran = Object.entries(counts)
      .map(([name, count]) => `${name} ${count} times`)
      .join(', ');
    const message = `${maxRuns} attempts were run (${ran}) and there is still more to run: does a job enqueue or postpone itself for ever? Raise maxRuns, or move on with advance()`;
    return new MillraceError('WAIT_TIMEOUT', message, { maxRuns, counts });
  }
}

function routeOf({ name, queue }: { name: string; queue: string }): string {
  return `${queue}:${name}`;
}

/** @throws MillraceError OPTIONS_INVALID for two handlers of one job. */
function routesOf(handlers: readonly Handler[]): Map<string, Handler> {
  const routes = new Map<string, Handler>();
  for (const handler of handlers) {
    const { contract } = handler;
    if (routes.has(routeOf(contract))) {
      throw new MillraceError('OPTIONS_INVALID', `handlers: two of them handle ${contract.name}`, {
        contract: contract.name,
      });
    }
    routes.set(routeOf(contract), handler);
  }
  return routes;
}

function runOf(job: FakeJob, attempt: number, startedAt: number, end: AttemptEnd): FakeRun {
  const { outcome, result, error, reason, retryInMs } = end;
  return {
    jobId: job.id,
    name: job.contract.name,
    queue: job.contract.queue,
    attempt,
    outcome,
    ...(outcome === 'completed' && { result }),
    ...(error && { error }),
    ...(reason && { reason }),
    ...(retryInMs !== undefined && { retryInMs }),
    startedAt,
  };
}

function hangs({ id, contract }: FakeJob, patienceMs: number): MillraceError {
  const message = `the handler of ${contract.name} has been silent for ${formatMs(patienceMs)}, and no timeout would end it`;
  return new MillraceError('WAIT_TIMEOUT', message, { jobId: id, contract: contract.name, patienceMs });
}

async function isSilent(sign: Promise<unknown>, patienceMs: number): Promise<boolean> {
  const heard = new AbortController();
  const silence = systemClock.sleep(patienceMs, { signal: heard.signal }).then(
    () => true,
    () => false,
  );
  const answer = await Promise.race([sign.then(() => false), silence]);
  heard.abort();
  return answer;
}
