/**
 * Runs handlers, and settles what comes of them. Which entry is begun when is its owner's to say (slots.ts, lanes.ts, batches.ts).
 *
 * What a handler does at once is settled at once, without a promise; nothing is measured that nobody asks for. Timeouts are looked at together:
 * they are noticed a twentieth of their time late at most.
 */
import type { Clock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { parseWith } from '../../payload.ts';
import { Ring } from '../../redis/ring.ts';
import type { BatchOwnContext, StreamModules } from '../context.ts';
import { Attempt, contextClass, type AttemptHost, type ContextClass, type Interruption } from './attempt.ts';
import type { ConsumerMeter } from './consumer-metrics.ts';
import type { Plan } from './plan.ts';
import type { Taken } from './scripts.ts';
import type { Settler } from './settler.ts';
import { isPromise } from './slots.ts';
import { letterOf, poisonIn, Unfit, verdictOn, type Verdict } from './verdict.ts';

/** What a desk works with. */
export interface DeskParts {
  readonly plan: Plan;
  readonly settler: Settler;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  readonly clock: Clock;
  readonly modules: Partial<StreamModules>;
}

const LOOK_MS = { least: 5, most: 500 };

/** Where the attempts of one consumer are made. */
export class Desk {
  readonly plan: Plan;
  readonly settler: Settler;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  readonly clock: Clock;
  readonly #host: AttemptHost;
  readonly #Context: ContextClass;
  readonly #modules: Partial<StreamModules>;
  readonly #what: string;
  readonly #running = new Ring<Attempt>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(parts: DeskParts) {
    const { plan, settler, meter, log, clock, modules } = parts;
    this.plan = plan;
    this.settler = settler;
    this.meter = meter;
    this.log = log;
    this.clock = clock;
    this.#host = { stream: plan.contract.name, group: plan.group, attempts: plan.attempts, log };
    this.#Context = contextClass(modules);
    this.#modules = modules;
    this.#what = `an entry of ${plan.contract.name}`;
  }

  /** Attempts whose handlers have not ended. */
  get active(): number {
    return this.#count;
  }

  /**
   * Whether nothing runs, and Redis knows of all that has run; sees to the latter. A process that dies then has died of what it begins
   * next: with what it had done but not told, that would be held to be the cause of its death, too.
   */
  isQuiet(): boolean {
    if (this.#count > 0) return false;
    if (this.settler.unsettled > 0) this.settler.flush();
    return this.settler.unsettled === 0;
  }

  attemptOf(id: string, fields: readonly string[]): Attempt {
    return new Attempt(this.#host, id, fields, 0, 0);
  }

  attemptOfTaken({ id, fields, made, deaths }: Pick<Taken, 'id' | 'fields' | 'made' | 'deaths'>): Attempt {
    return new Attempt(this.#host, id, fields, made, deaths);
  }

  /** For a batch, which begins and ends as one. */
  batchContextOf(carrier: Attempt, count: number): BatchOwnContext {
    const { log } = this;
    const { stream, group } = this.#host;
    const own = {
      get signal(): AbortSignal {
        return carrier.signal;
      },
      get log(): Logger {
        return log.child({ stream, group, entries: count });
      },
    };
    return Object.assign(own, this.#modules);
  }

  contextOf(attempt: Attempt): InstanceType<ContextClass> {
    return new this.#Context(attempt);
  }

  /** What the handler is to be given; a promise only where the schema answers with one. @throws Unfit for what it can never be given. */
  dataOf(attempt: Attempt): unknown {
    const { fields } = attempt;
    const json = fields.length === 2 && fields[0] === 'data' ? (fields[1] as string) : attempt.raw.data;
    try {
      const parsed = parseWith(this.plan.contract.schema, JSON.parse(json) as unknown, this.#what);
      // A schema may answer with a promise of another realm; from here on it is one of ours.
      return isPromise(parsed) ? Promise.resolve(parsed).catch(unfit) : parsed;
    } catch (error) {
      return unfit(error);
    }
  }

  /** Whether the entry is for another group: then it is settled, and nobody is asked. */
  skips(attempt: Attempt): boolean {
    if (attempt.fields.length === 2) return false;
    const { only } = attempt.raw;
    if (only === undefined || only === this.plan.group) return false;
    this.meter.count('skipped', 1);
    this.settler.forget(attempt.id);
    return true;
  }

  /** Whether processes die of the entry: then it is a dead letter, and not tried. */
  buries(attempt: Attempt): boolean {
    const poison = attempt.deaths > 0 ? poisonIn(attempt, this.plan) : undefined;
    if (poison) this.settle(attempt, poison);
    return poison !== undefined;
  }

  /** Waits for what a handler has begun. `onEnd` is called once: when it ends, or when it has been given up. */
  watch(
    attempt: Attempt,
    work: PromiseLike<unknown>,
    onEnd: (attempt: Attempt, thrown: unknown, isDone: boolean) => void,
  ): void {
    const startMs = this.clock.monotonicMs();
    attempt.atMs = startMs + this.plan.timeoutMs;
    this.#running.add(attempt);
    this.#count++;
    this.#timer ??= setInterval(() => this.#look(), this.#lookMs());
    const end = (thrown: unknown, isDone: boolean): void => {
      if (attempt.isOver) return;
      attempt.isOver = true;
      this.#running.remove(attempt);
      this.#count--;
      this.meter.ran?.(this.clock.monotonicMs() - startMs);
      onEnd(attempt, thrown, isDone);
      if (this.#count === 0) this.#onEmpty?.();
    };
    attempt.giveUp = end;
    work.then(
      () => end(undefined, true),
      (error: unknown) => end(error, false),
    );
  }

  /** The entry is done. */
  done(attempt: Attempt): void {
    if (attempt.isNoted) this.settler.acknowledgeTried(attempt.id);
    else this.settler.acknowledge(attempt.id);
  }

  /** What is to be done with an entry whose attempt has failed. */
  judge(attempt: Attempt, thrown: unknown): Verdict {
    return verdictOn(attempt, thrown, this.plan, this.log);
  }

  /** Does it, and tells of it. */
  settle(attempt: Attempt, verdict: Verdict): void {
    this.tell(attempt, verdict);
    if (verdict.kind === 'forgotten') return;
    if (verdict.kind === 'dead') return this.settler.bury(letterOf(attempt, verdict));
    const isRetry = verdict.kind === 'retry';
    this.settler.putBack(attempt.id, verdict.delayMs, isRetry ? `${attempt.made + 1} ${attempt.deaths}` : '');
  }

  /** Counts and logs what becomes of the entry. */
  tell(attempt: Attempt, verdict: Verdict): void {
    const { log, meter } = this;
    const facts = (): object => ({ entry: attempt.id, stream: attempt.host.stream, group: attempt.host.group });
    switch (verdict.kind) {
      case 'forgotten':
        return meter.count('dropped', 1);
      case 'postponed':
        return meter.count('postponed', 1);
      case 'retry':
        meter.count('retried', 1);
        return log.warn(
          { ...facts(), err: verdict.error, attempt: attempt.made + 1 },
          `an entry failed; it is tried again in ${formatMs(verdict.delayMs)}`,
        );
      case 'dead':
        return log.error({ ...facts(), err: verdict.error, reason: verdict.reason }, 'an entry is a dead letter now');
    }
  }

  /** Aborts all that runs. */
  interruptAll(kind: Interruption, error: MillraceError): void {
    for (const attempt of this.#running.all()) attempt.interrupt(kind, error);
  }

  /** Resolves once nothing runs, or the signal aborts. */
  async empty(signal: AbortSignal): Promise<void> {
    if (this.#count === 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    this.#onEmpty = undefined;
  }

  /** Waits for nothing any more: what still runs is given up, and what comes of it is dropped. */
  close(): void {
    for (const attempt of this.#running.all()) attempt.giveUp?.(attempt.interruption?.error, false);
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Adds the ids of all that runs. */
  addIds(ids: Set<string>): void {
    for (const { id } of this.#running.all()) ids.add(id);
  }

  #lookMs(): number {
    const { timeoutMs, graceMs } = this.plan;
    return Math.min(Math.max(Math.min(timeoutMs, graceMs) / 20, LOOK_MS.least), LOOK_MS.most);
  }

  #look(): void {
    const nowMs = this.clock.monotonicMs();
    if (this.#running.isEmpty) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    for (const attempt of this.#running.all()) {
      if (attempt.atMs > nowMs) continue;
      if (!attempt.interruption) {
        attempt.atMs = nowMs + this.plan.graceMs;
        attempt.interrupt('timeout', this.#timeout(attempt));
      } else if (attempt.interruption.kind === 'timeout') {
        attempt.giveUp?.(attempt.interruption.error, false);
      }
    }
  }

  #timeout({ id }: Attempt): MillraceError {
    const { timeoutMs, contract, group } = this.plan;
    const message = `the entry ${id} of ${contract.name} took ${group} longer than its timeout of ${formatMs(timeoutMs)}`;
    return new MillraceError('JOB_TIMEOUT', message, { entry: id, stream: contract.name, group, timeoutMs });
  }
}

/** What the schema cannot say of the data is no fault of the data. */
function unfit(error: unknown): never {
  if (isMillraceError(error, 'INPUT_INVALID')) throw new Unfit(error);
  if (!(error instanceof SyntaxError)) throw error;
  throw new Unfit(
    new MillraceError('INPUT_INVALID', `the data of the entry is no JSON: ${error.message}`, { cause: error }),
  );
}
