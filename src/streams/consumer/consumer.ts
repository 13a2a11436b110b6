/**
 * A consumer that runs: one membership after the other, for as long as the process works in the group.
 *
 *   joining --join.lua--> working --lease lost--> joining
 *                           |--another process came with its lasting name, also while it was away--> replaced
 *                           '--stop()--> stopped
 *
 * Promise: every entry of the stream is given to the group at least once, until it is acknowledged or a dead letter. An entry is given to
 * two handlers at a time only if a process loses its lease while it works, which the first one's signal tells.
 * Redis down: nothing is read; handlers go on until their lease is over; it goes on by itself.
 */
import { isMillraceError, type MillraceError } from '../../errors.ts';
import { reconnectDelayMs } from '../../redis/backoff.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { isOutage } from '../../redis/guard.ts';
import { createStreamKeys } from '../keys.ts';
import type { Host, Running } from '../member.ts';
import { createConsumerMeter } from './consumer-metrics.ts';
import type { Out } from './keeper.ts';
import type { Plan } from './plan.ts';
import { ends, newConsumerName, Session, type Handler, type SessionParts } from './session.ts';
import type { Call } from './settler.ts';

/** What of a consumer may be asked beside what any member may. */
export interface RunningConsumer extends Running {
  readonly stream: string;
  readonly group: string;
  /** How many entries, or batches, it works on at once. */
  readonly concurrency: number;
  /** Entries that it has and that are not settled yet. */
  readonly inFlight: number;
}

/** Resolves once it works. @throws MillraceError for what waiting does not mend */
export async function startConsumer(
  host: Host,
  plan: Plan,
  handler: Handler,
  onTick?: () => void,
): Promise<RunningConsumer> {
  const keys = createStreamKeys(host.prefix)(plan.contract.name);
  const group = {
    stream: plan.contract.name,
    name: plan.group,
    keys: { entries: keys.entries, ...keys.group(plan.group) },
    redis: host.connections.commands(),
  };
  const meter = createConsumerMeter(host.metrics, { stream: group.stream, group: group.name });
  const consumer = new Consumer({ host, plan, handler, group, meter, log: host.log, onTick });
  await consumer.start();
  return consumer;
}

/** A membership that begins while its consumer stops is given up within this. */
const UNDO_MS = 1_000;

class Consumer implements RunningConsumer {
  readonly #parts: SessionParts;
  #session: Session | undefined;
  /** Memberships that are over, whose handlers have not all ended. */
  readonly #leaving = new Set<Session>();
  /** What they could not tell Redis. */
  #owed: Call[] = [];
  /** The name of the last membership, and how far it knew the group to have come. */
  #lastName = '';
  #lastId: string | undefined;
  #fault: string | undefined;
  #isPaused = false;
  readonly #ending = new AbortController();
  #joining: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: Omit<SessionParts, 'onOut' | 'onOwed'>) {
    this.#parts = {
      ...parts,
      onOut: (session, why, error) => this.#out(session, why, error),
      onOwed: (calls) => this.#owe(calls),
    };
  }

  get stream(): string {
    return this.#parts.group.stream;
  }

  get group(): string {
    return this.#parts.group.name;
  }

  get concurrency(): number {
    return this.#parts.plan.concurrency;
  }

  get active(): number {
    return this.#session?.active ?? 0;
  }

  get inFlight(): number {
    return this.#session?.known ?? 0;
  }

  /** Resolves also when it is told to stop meanwhile; then it does not work. */
  async start(): Promise<void> {
    const { stopping } = this.#parts.host;
    const stop = (): void => this.#ending.abort();
    stopping?.addEventListener('abort', stop, { once: true });
    if (stopping?.aborted) stop();
    const joining = this.#join(true);
    this.#joining = joining.catch(() => undefined); // start() tells of it.
    try {
      await Promise.race([joining, aborted(this.#ending.signal)]);
    } finally {
      stopping?.removeEventListener('abort', stop);
    }
  }

  ready(): string | undefined {
    const fault = this.#fault ?? (this.#session ? this.#session.fault : 'it has not joined its group yet');
    return fault === undefined ? undefined : `${this.stream}, group ${this.group}: ${fault}`;
  }

  pause(): void {
    this.#isPaused = true;
    this.#session?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#session?.resume();
  }

  stop(withinMs: number): Promise<void> {
    return (this.#stopped ??= this.#stop(withinMs));
  }

  async #stop(withinMs: number): Promise<void> {
    this.#ending.abort();
    const sessions = [...this.#leaving, ...(this.#session ? [this.#session] : [])];
    const joined = this.#joining && ends(this.#joining, AbortSignal.timeout(Math.ceil(withinMs)));
    await Promise.all([joined, ...sessions.map((session) => session.stop(withinMs))]);
    this.#parts.meter.inFlight(0);
  }

  /** Keeps trying for as long as only Redis is missing. */
  async #join(isFirst: boolean): Promise<void> {
    const { host, log, group } = this.#parts;
    const { signal } = this.#ending;
    // The same for all tries: one whose answer got lost may have been heard.
    const names = { consumer: newConsumerName(this.#parts.plan), before: this.#lastName, last: this.#lastId };
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        const session = await Session.join(this.#parts, names);
        if (signal.aborted) return await session.stop(UNDO_MS);
        this.#lastName = names.consumer;
        this.#session = session;
        session.adopt(this.#owed.splice(0));
        if (this.#isPaused) session.pause();
        this.#fault = undefined;
        return session.start();
      } catch (error) {
        if (isMillraceError(error, 'LEASE_LOST')) return this.#replaced(error);
        const failure = explainRedisError(error, host.connections.label);
        if (failure.code === 'CLOSED' || (isFirst && !isOutage(failure))) throw failure;
        if (attempt === 1)
          log.warn(
            { stream: group.stream, group: group.name, err: failure },
            'a consumer cannot join its group; trying again',
          );
        this.#fault = failure.message;
        await host.clock.sleep(reconnectDelayMs(attempt), { signal }).catch(() => undefined); // It is stopped.
      }
    }
  }

  #out(session: Session, why: Out, error: MillraceError): void {
    const { log, group } = this.#parts;
    const facts = { stream: group.stream, group: group.name, err: error };
    if (session !== this.#session) return;
    this.#session = undefined;
    this.#lastId = session.lastId;
    this.#leaving.add(session);
    void session.abandon(error).finally(() => this.#leaving.delete(session));
    if (why === 'replaced') return this.#replaced(error);
    if (this.#ending.signal.aborted) return log.warn(facts, 'a consumer lost its lease while it stopped');
    this.#fault = 'its lease was lost';
    log.warn(facts, 'a consumer lost its lease; it joins its group anew');
    this.#joining = this.#join(false).catch((failure: unknown) =>
      log.error({ ...facts, err: failure }, 'a consumer could not join its group again'),
    );
  }

  #replaced(error: MillraceError): void {
    const { log, group, meter } = this.#parts;
    this.#fault = 'another process has come with its lasting name';
    meter.inFlight(0);
    log.error(
      { stream: group.stream, group: group.name, err: error },
      'another process works under the lasting name of this consumer; it has stopped',
    );
  }

  /** Without a membership it is kept for the next one. */
  #owe(calls: readonly Call[]): void {
    if (this.#session) this.#session.adopt(calls);
    else this.#owed.push(...calls);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
