/**
 * What runs in one process beside its job handlers: consumers, projections, subscriptions.
 *
 *   run() --> each member starts --> they work --stop()--> each drains --> stopped
 *                 | one cannot
 *                 v
 *             those that have started are stopped, run() throws
 *
 * Redis down: a member waits for it; ready() says so.
 */
import { z } from 'zod';
import { systemClock, withDeadline } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { RunningConsumer } from './consumer/consumer.ts';
import type { Host, Member, Running } from './member.ts';

/** Options of run(). */
export interface RunOptions {
  /** How long stop() waits for what runs; what is not done by then is given back. Default `25s`. Longer than the host grants, and it kills the process first. */
  drainFor?: Duration | undefined;
}

/** What runs in this process. */
export interface StreamWorker {
  /** What is worked on now. */
  readonly active: number;
  /** What runs, in the order of its definitions. */
  readonly members: readonly Running[];
  /** The consumers among them. */
  readonly consumers: readonly RunningConsumer[];
  /** Why it cannot work now; undefined when it can. */
  ready(): string | undefined;
  /** Takes nothing new until resume(); what runs goes on. */
  pause(): void;
  resume(): void;
  /** Takes nothing new and ends within `drainFor`. Safe to call twice. */
  stop(): Promise<void>;
}

/** Node's timers take no longer one. */
const LONGEST_MS = 24 * 86_400_000;

const runSchema = z.strictObject({
  drainFor: durationOption.refine((ms) => ms <= LONGEST_MS, 'expected at most 24 days').default(25_000),
});

/** How much longer than the drain a member is waited for, which ends by itself; and how long one that has yet to start. */
const PATIENCE_MS = 2_000;

const isMember = (value: unknown): value is Member =>
  typeof (value as Member | undefined)?.start === 'function' && typeof (value as Member).name === 'string';

/** @throws MillraceError OPTIONS_INVALID */
export function checkRun(members: readonly Member[], options: RunOptions): { drainForMs: number } {
  const wrong = Array.isArray(members) ? members.find((one) => !isMember(one)) : members;
  if (!Array.isArray(members) || wrong !== undefined) {
    const reason = `expected what consume() and its like give, got ${describeValue(wrong)}`;
    throw new MillraceError('OPTIONS_INVALID', `run: consumers: ${reason}`, {});
  }
  const names = members.map(nameOf);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new MillraceError(
      'OPTIONS_INVALID',
      `run: consumers: ${twice} is there twice; give one of them more concurrency`,
      {},
    );
  return { drainForMs: checkOptions(runSchema, options, 'run').drainFor };
}

/** Consumers of several groups of a stream may run side by side. */
function nameOf({ kind, name, group }: Member & { group?: string }): string {
  return `${kind} ${name}${group === undefined ? '' : `, group ${group}`}`;
}

interface Starting {
  readonly name: string;
  readonly running: Promise<Running>;
  hasStarted: boolean;
}

/** Runs members until it is stopped. */
export class MemberWorker implements StreamWorker {
  readonly #host: Host;
  readonly #drainForMs: number;
  readonly #onStopped: () => void;
  readonly #starting: readonly Starting[];
  #members: readonly Running[] = [];
  #isStarted = false;
  readonly #giveUp = new AbortController();
  #stopping: Promise<void> | undefined;

  constructor(members: readonly Member[], host: Host, drainForMs: number, onStopped: () => void) {
    this.#host = host;
    this.#onStopped = onStopped;
    this.#drainForMs = drainForMs;
    const lent: Host = { ...host, stopping: this.#giveUp.signal };
    this.#starting = members.map((member) => {
      const running = Promise.resolve().then(() => member.start(lent));
      const starting: Starting = { name: nameOf(member), running, hasStarted: false };
      running.then(
        () => (starting.hasStarted = true),
        () => undefined, // started() tells.
      );
      return starting;
    });
  }

  get active(): number {
    return this.#members.reduce((sum, { active }) => sum + active, 0);
  }

  get members(): readonly Running[] {
    return this.#members;
  }

  get consumers(): readonly RunningConsumer[] {
    return this.#members.filter((member): member is RunningConsumer => 'inFlight' in member);
  }

  /** Resolves once all work. @throws what one of them met; then none runs. */
  async started(): Promise<void> {
    try {
      this.#members = await Promise.all(this.#starting.map(({ running }) => running));
      this.#isStarted = true;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  ready(): string | undefined {
    if (this.#stopping) return 'draining';
    if (!this.#isStarted) return 'starting';
    const troubles = this.#members.flatMap((member, index) => {
      const trouble = member.ready();
      return trouble === undefined ? [] : [`${this.#starting[index]?.name}: ${trouble}`];
    });
    return troubles.length === 0 ? undefined : troubles.join('; ');
  }

  pause(): void {
    for (const member of this.#members) member.pause();
  }

  resume(): void {
    for (const member of this.#members) member.resume();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const until = systemClock.monotonicMs() + this.#drainForMs;
    this.#giveUp.abort();
    await Promise.all(this.#starting.map((one) => this.#stopOne(one, until)));
    this.#onStopped();
  }

  /** One that has yet to start is stopped once it has, for which nobody waits long. */
  async #stopOne({ name, running, hasStarted }: Starting, until: number): Promise<void> {
    const leftMs = (): number => Math.max(0, until - systemClock.monotonicMs());
    const stopped = running.then(
      (member) => member.stop(leftMs()),
      () => undefined, // started() has told its caller why.
    );
    const late = new MillraceError('CLOSED', `${name} has not stopped in time`, { name });
    try {
      await withDeadline(stopped, (hasStarted ? leftMs() : 0) + PATIENCE_MS, () => late);
    } catch (err) {
      this.#host.log.error({ err, member: name }, 'could not be stopped; what it worked on is given to others later');
    }
  }
}
