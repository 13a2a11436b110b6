/**
 * The jobs of one queue in one process: a BullMQ Worker, and around each job what BullMQ leaves out.
 *
 * What becomes of a job is decided in one place, `#settle`, and told to BullMQ in its own words: a result, an error, or one of its
 * error classes, which say that the job has been moved already.
 */
import { Worker, type Job } from 'bullmq';
import { postponedForMs } from '../../backoff.ts';
import type { MillraceError } from '../../errors.ts';
import type { AttemptOutcome } from '../attempt-record.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { Handler } from '../handler.ts';
import type { JobMeter } from '../job-metrics.ts';
import { keepResult } from '../outcome.ts';
import { AttemptTimeouts } from './attempt-timeouts.ts';
import { waitedMs, type Attempt, type AttemptHost } from './attempt.ts';
import { cancelledError, Cancellations } from './cancellations.ts';
import { delayOnJob, failureOf, type EndedAttempt } from './failed-attempt.ts';
import { Leases } from './leases.ts';
import { handBack, putOff } from './moves.ts';
import { keepEffects } from './once.ts';
import { tracesOf } from './postponement.ts';
import { putOffError } from './quarantine.ts';
import {
  keepMost,
  NONE_KEPT,
  type Keep,
  type QueueWorkerOptions,
  type RunningAttempt,
} from './queue-worker-options.ts';
import { checkExpiry, checkPoison, checkResult, parseInput, Refusal, upgradeInput, versionsOf } from './refusal.ts';
import { Strangers } from './strangers.ts';

/** How long a worker waits before it asks again for a job, when the connection was lost: BullMQ's 15 s are long for a restart. */
const RETRY_AFTER_MS = 1_000;
/** Never reached: how many stalls are too many is decided here, so that the reason is told. */
const NO_MAX_STALLS = 1_000_000;
/** How long a job that still runs here without its lease is put off, beyond the grace after which that run has ended. */
const LEFTOVER_MS = 100;

/** A handler with what is looked up for every job. */
interface Route {
  handler: Handler;
  meter: JobMeter;
  keep: Keep;
}

/** The worker of one queue. */
export class QueueWorker {
  readonly name: string;
  readonly running = new Map<string, Attempt>();
  /** When a job was last taken, in monotonic ms; before the first, and after a rebuild, when that could begin. */
  takenAtMs: number;
  /** When a job was last taken, if one was. */
  lastTakenMs: number | undefined;
  readonly #options: QueueWorkerOptions;
  readonly #attemptHost: AttemptHost;
  readonly #cancellations: Cancellations;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #strangers: Strangers;
  readonly #leases: Leases;
  readonly #timeouts: AttemptTimeouts;
  /** BullMQ workers that were replaced and still run jobs. */
  readonly #replaced = new Map<Worker, Promise<void>>();
  /** Until BullMQ has moved them: jobs that were told to cancel, and whether they were cancelled or finished all the same; jobs with effects. */
  readonly #cancelled = new WeakMap<Job, boolean>();
  readonly #effectful = new WeakSet<Job>();
  #worker: Worker;
  #reopening: NodeJS.Timeout | undefined;
  #isStarted = false;
  #isClosing = false;

  constructor(options: QueueWorkerOptions) {
    const { host, queue, handlers, meter } = options;
    this.#options = options;
    this.name = queue.name;
    this.takenAtMs = host.clock.monotonicMs();
    this.#timeouts = new AttemptTimeouts(host.clock, this.running);
    this.#attemptHost = {
      ...host,
      queue: queue.name,
      bullKey: (suffix) => queue.key(suffix),
      leaseMs: options.leaseMs,
      timeouts: this.#timeouts,
      addLog: (jobId, line, keep) => queue.backend.addLog(jobId, line, keep),
      setProgress: (jobId, progress) => queue.backend.updateProgress(jobId, progress),
    };
    this.#cancellations = new Cancellations(host);
    this.#leases = new Leases({
      queue: queue.name,
      running: this.running,
      leaseMs: options.leaseMs,
      clock: host.clock,
      log: host.log,
    });
    this.#strangers = new Strangers(host, queue.name, options.strangerGraceMs);
    const keep = keepMost(handlers);
    this.#routes = new Map(
      handlers.map((handler) => {
        const { name, retention } = handler.contract;
        return [name, { handler, meter: meter(name), keep: retention.count === 0 ? NONE_KEPT : keep }];
      }),
    );
    this.#worker = this.#open();
  }

  get concurrency(): number {
    return this.#options.concurrency;
  }

  /** Begins to take jobs. */
  start(): void {
    this.#isStarted = true;
    this.#leases.start();
    const worker = this.#worker;
    const run = async (): Promise<void> => {
      await worker.waitUntilReady(); // Sooner, it would try in vain, and go on to do so for seconds after it has been closed.
      if (!this.#isClosing && worker === this.#worker) await worker.run();
    };
    run().catch((error: unknown) => this.#onError(error));
  }

  /** Takes no more jobs until resume(); those that run go on, and keep their leases. */
  async pause(): Promise<void> {
    await this.#worker.pause(true);
  }

  async resume(): Promise<void> {
    await this.#worker.resume();
  }

  /** Why it cannot take jobs now; undefined when it can. */
  trouble(): string | undefined {
    if (this.#worker.isPaused()) return 'takes no jobs for now';
    if (!this.#worker.isRunning()) return 'does not run';
    return undefined;
  }

  /** Takes the place of a BullMQ worker that went silent; what the old one runs, it finishes. */
  rebuild(): void {
    if (this.#isClosing) return;
    const { host, concurrency } = this.#options;
    const old = this.#worker;
    const replacement = this.#open();
    this.#worker = replacement;
    // What still runs counts: all of a queue's jobs in one process share its slots.
    replacement.concurrency = Math.max(1, concurrency - this.running.size);
    const closed = old
      .close()
      .catch((error: unknown) => this.#onError(error))
      .finally(() => {
        this.#replaced.delete(old);
        replacement.concurrency = concurrency;
      });
    this.#replaced.set(old, closed);
    this.takenAtMs = host.clock.monotonicMs();
    if (this.#isStarted) this.start();
  }

  /** Takes no more jobs, and resolves when those that run have ended. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#reopening);
    await Promise.all([...this.#replaced.values(), this.#worker.close()]);
    this.#leases.stop();
    this.#timeouts.stop();
  }

  /** Hangs up without waiting for anything. */
  hangUp(): void {
    this.#leases.stop();
    for (const worker of [this.#worker, ...this.#replaced.keys()]) letGo(worker);
  }

  /** Interrupts those of the running jobs that are marked as cancelled, for an order that was not heard. */
  async obeyMarks(): Promise<void> {
    const reasons = await this.#cancellations.reasonsOf(this.name, [...this.running.keys()]);
    for (const [jobId, reason] of reasons)
      this.running.get(jobId)?.interrupt('cancelled', cancelledError(jobId, reason));
  }

  #open(): Worker {
    const { queue, host, connection, concurrency, leaseMs, stalledCheckMs, worker, telemetry } = this.#options;
    const bull = new Worker(queue.name, (job: Job, token?: string) => this.#process(job, token ?? ''), {
      connection,
      prefix: host.keys.queuePrefix(queue.name),
      name: worker,
      autorun: false,
      concurrency,
      lockDuration: leaseMs,
      stalledInterval: stalledCheckMs,
      runRetryDelay: RETRY_AFTER_MS,
      maxStalledCount: NO_MAX_STALLS,
      settings: { backoffStrategy: (_made, _type, _error, job) => delayOnJob(job) },
      ...(telemetry !== undefined && { telemetry: telemetry as never }),
    });
    // BullMQ gives a connection of its own up for good when its first try fails.
    bull.waitUntilReady().catch(() => this.#reopenSoon(bull));
    bull.on('error', (error) => this.#onError(error));
    bull.on('stalled', (jobId) => this.#onStalled(jobId));
    bull.on('lockRenewalFailed', (ids) => this.#leases.lost(ids));
    bull.on('locksRenewed', ({ jobIds }) => this.#leases.renewed(jobIds));
    bull.on('failed', (job) => this.#onFailed(job));
    bull.on('completed', (job) => this.#onCompleted(job));
    return bull;
  }

  #reopenSoon(broken: Worker): void {
    if (this.#isClosing || broken !== this.#worker) return;
    this.#reopening = setTimeout(() => {
      if (this.#options.connection.status === 'ready') this.rebuild();
      else this.#reopenSoon(broken);
    }, RETRY_AFTER_MS);
  }

  async #process(job: Job, token: string): Promise<unknown> {
    const { host, Attempt: AttemptOf } = this.#options;
    if (this.#isClosing) await handBack(job, host); // It was on its way when the worker began to stop.
    if (this.running.has(job.id ?? '')) await putOff(job, host.graceMs + LEFTOVER_MS, this.#attemptHost);
    const attempt = new AttemptOf(this.#attemptHost, job, token);
    const route = this.#routes.get(job.name);
    const takenAtMs = host.clock.monotonicMs();
    this.takenAtMs = this.lastTakenMs = takenAtMs;
    this.running.set(attempt.id, attempt);
    try {
      const result = await this.#run(route, job, attempt);
      if (attempt.interruption?.kind === 'lost') throw attempt.interruption.error;
      if (attempt.interruption?.kind === 'cancelled') this.#cancelled.set(job, false);
      attempt.endTimers();
      if (attempt.hasLoose) await attempt.end();
      if (attempt.hasEffects) this.#effectful.add(job);
      if (this.#options.awaited.has(job)) await keepResult(host, this.name, attempt.id, result);
      route?.meter.ran(host.clock.monotonicMs() - takenAtMs);
      return result;
    } catch (thrown) {
      await attempt.end();
      (route?.meter ?? this.#options.meter(job.name)).ran(host.clock.monotonicMs() - takenAtMs);
      return await this.#settle(thrown, job, attempt, route);
    } finally {
      if (job.stalledCounter > 0) this.#options.quarantine.leave(attempt.id);
      this.running.delete(attempt.id);
    }
  }

  async #run(route: Route | undefined, job: Job, attempt: RunningAttempt): Promise<unknown> {
    if (!route) {
      const message = `${this.name} has no handler for ${job.name} here`;
      throw await this.#strangers.judge(job, { reason: 'handler', code: 'HANDLER_MISSING', message });
    }
    const { handler, meter, keep } = route;
    const { contract } = handler;
    const stored: StoredOptions = job.opts;
    job.opts.removeOnComplete = keep;
    if (job.attemptsStarted === 1) {
      if (!stored.kids) meter.waited(waitedMs(job, attempt.startedAt));
      checkExpiry(handler, job, attempt.startedAt);
    }
    if (job.attemptsStarted > 1 || job.parent) await this.#recheck(job, attempt);
    const timeoutMs = stored.to ?? contract.timeoutMs;
    const version = stored.v ?? 1;
    if (version > contract.version && !handler.upgrade) {
      const message = versionsOf(handler, job, version);
      throw await this.#strangers.judge(job, { reason: 'version', code: 'JOB_VERSION_UNSUPPORTED', message });
    }
    const data: unknown =
      version === contract.version ? job.data : await attempt.finish(upgradeInput(handler, job, version), timeoutMs);
    const parsed = parseInput(handler, data);
    const input: unknown = parsed instanceof Promise ? await attempt.finish(parsed, timeoutMs) : parsed;
    if (attempt.interruption) throw attempt.interruption.error; // Meanwhile; the handler is not begun.
    const returned = this.#options.execute(handler, input, attempt, data);
    const result = isThenable(returned) ? await attempt.finish(returned, timeoutMs) : returned;
    if (result !== undefined || contract.output) await checkResult(handler, result);
    return result;
  }

  /** What only a job that was taken before can be, or one of a flow. */
  async #recheck(job: Job, attempt: Attempt): Promise<void> {
    const { poisonAfter, quarantine } = this.#options;
    checkPoison(job, poisonAfter);
    const isSuspect = job.stalledCounter > 0 && job.stalledCounter >= poisonAfter;
    // Before anything is waited for, so that the one that is inside knows of all others that are active here.
    const isAdmitted = !isSuspect || quarantine.enter(attempt.id);
    const reason = (await this.#cancellations.reasonsOf(this.name, [attempt.id])).get(attempt.id);
    if (reason !== undefined) attempt.interrupt('cancelled', cancelledError(attempt.id, reason));
    if (attempt.interruption) throw attempt.interruption.error;
    if (!isAdmitted) throw putOffError(attempt.id);
    if (isSuspect) await quarantine.alone();
  }

  /** Tells BullMQ what becomes of a job whose attempt did not succeed: gives a result, or throws what BullMQ understands. */
  async #settle(thrown: unknown, job: Job, attempt: Attempt, route: Route | undefined): Promise<unknown> {
    const { host } = this.#options;
    const meter = route?.meter ?? this.#options.meter(job.name);
    switch (attempt.interruption?.kind) {
      case 'released':
        meter.outcome('released');
        return handBack(job, host);
      case 'lost':
        meter.outcome('lost');
        return handBack(job, host); // Refused by BullMQ if the lease is really gone, which is as well.
      case 'cancelled':
        meter.outcome('cancelled');
        return this.#cancel(job, attempt, attempt.interruption.error, route);
      case 'timeout':
        throw await this.#failure(attempt.interruption.error, 'timeout', job, attempt, route);
      case undefined: {
        const delayMs = postponedForMs(thrown);
        if (delayMs === undefined) throw await this.#failure(thrown, 'failed', job, attempt, route);
        meter.outcome('postponed');
        return putOff(job, delayMs, this.#attemptHost, tracesOf({ thrown, ...this.#factsOf(job, attempt, route) }));
      }
    }
  }

  async #cancel(job: Job, attempt: Attempt, error: MillraceError, route: Route | undefined): Promise<unknown> {
    const failure = await this.#failure(new Refusal('unrecoverable', error), 'cancelled', job, attempt, route);
    await this.#cancellations.record(this.name, job, String(error.facts['reason']), failure);
    this.#cancelled.set(job, true);
    this.#options.host.log.info({ jobId: job.id, job: job.name, queue: this.name }, error.message);
    if (!job.parent) {
      job.opts.removeOnComplete = NONE_KEPT;
      return undefined;
    }
    // Its parent must hear of it as of a child that failed; nothing of it is left in the failed set.
    job.opts.removeOnFail = NONE_KEPT;
    throw failure;
  }

  async #failure(
    thrown: unknown,
    outcome: AttemptOutcome,
    job: Job,
    attempt: Attempt,
    route: Route | undefined,
  ): Promise<Error> {
    const { host, meter } = this.#options;
    const facts = this.#factsOf(job, attempt, route);
    const { error, cause, reason, retryInMs } = failureOf({ thrown, outcome, ...facts });
    if (outcome === 'cancelled') return error;
    if (retryInMs !== undefined) await keepEffects(this.#attemptHost, job, retryInMs);
    const last = reason === 'expired' ? 'expired' : 'dead';
    const kind = outcome === 'timeout' ? 'timeout' : reason ? last : 'retried';
    (route?.meter ?? meter(job.name)).outcome(kind, !reason);
    host.log.warn(
      { jobId: attempt.id, job: job.name, queue: this.name, attempt: job.attemptsMade + 1, err: cause, retryInMs },
      reason ? 'job failed for good' : 'attempt failed',
    );
    return error;
  }

  #factsOf(job: Job, attempt: Attempt, route: Route | undefined): EndedAttempt {
    const { host, worker, version } = this.#options;
    const contract = route?.handler.contract;
    return { job, attempt, contract, endedAt: host.clock.wallMs(), worker, version, log: host.log };
  }

  #onCompleted(job: Job): void {
    const { id = '' } = job;
    const { host, awaited } = this.#options;
    if (this.#cancelled.has(job)) void this.#cancellations.forget(this.name, id);
    if (!this.#cancelled.get(job)) this.#routes.get(job.name)?.meter.outcome('completed'); // Not sooner: BullMQ refuses who has lost the lease.
    awaited.ended(this.name, job);
    if (!this.#effectful.has(job)) return;
    host.client.unlink(host.keys.once(this.name, id)).catch((error: unknown) => this.#onError(error)); // They expire.
  }

  #onFailed(job: Job | undefined): void {
    if (!job?.id || !job.finishedOn) return; // It will be tried again; or the record is gone, and the reconciler finds nothing either.
    if (this.#cancelled.has(job)) void this.#cancellations.forget(this.name, job.id);
    if (!this.#cancelled.get(job)) this.#options.onDead(this.name, job.id);
    this.#options.awaited.ended(this.name, job);
  }

  #onStalled(jobId: string): void {
    this.#options.host.log.warn(
      { queue: this.name, jobId },
      'job stalled: its worker died, or was blocked past its lease; it runs again',
    );
    this.#options.onStalled(this.name);
  }

  #onError(error: unknown): void {
    this.#options.host.log.debug({ queue: this.name, err: error }, 'worker'); // Outages are logged by the connections, failures of jobs with the job.
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

/** Stops what a BullMQ worker does by itself; it has been told to close, and waits for jobs that do not end. */
function letGo(worker: Worker): void {
  void worker['lockManager'].close(); // Or it would renew leases, and keep the process alive, for as long as a job does not end.
  worker['stalledCheckStopper']?.();
  worker
    .getBackend()
    .disconnectBlocking(false)
    .catch(() => undefined); // It never was connected.
}
