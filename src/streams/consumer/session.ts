/**
 * One membership of a process in a group: under a name that nobody had before, from join.lua to leave.lua, or until its lease is lost.
 *
 * Whoever loses its lease does not come back under the same name: its entries are free for others from then on, and what its handlers still
 * do cannot be taken for the work of the next membership.
 */
import { hostname } from 'node:os';
import { randomBytes } from 'node:crypto';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { explainRedisError } from '../../redis/explain.ts';
import type { Host } from '../member.ts';
import { Batches } from './batches.ts';
import type { ConsumerMeter } from './consumer-metrics.ts';
import { Desk } from './desk.ts';
import { Keeper, type Out } from './keeper.ts';
import { Lanes } from './lanes.ts';
import type { BatchHandler, EntryHandler, Plan } from './plan.ts';
import { Reader } from './reader.ts';
import { joinGroup, leaveGroup, type Group } from './scripts.ts';
import { Settler, type Call } from './settler.ts';
import { Slots } from './slots.ts';
import type { Work } from './work.ts';

/** The code of a consumer. */
export type Handler =
  | { readonly kind: 'single'; readonly run: EntryHandler<unknown> }
  | { readonly kind: 'batch'; readonly run: BatchHandler<unknown> };

/** What a session works with. */
export interface SessionParts {
  readonly host: Host;
  readonly plan: Plan;
  readonly handler: Handler;
  readonly group: Group;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  readonly onTick: (() => void) | undefined;
  readonly onOut: (session: Session, why: Out, error: MillraceError) => void;
  /** Acknowledgements that a membership could not make before it was over. */
  readonly onOwed: (calls: readonly Call[]) => void;
}

/** Under which name a process enters a group. */
export interface Names {
  readonly consumer: string;
  /** What it was until its lease was lost; empty when it comes for the first time. */
  readonly before: string;
  /** The last id that it then knew the group to have been given. */
  readonly last: string | undefined;
}

/** A name that nobody had before. */
export function newConsumerName({ consumer }: Plan): string {
  return `${consumer ?? `${hostname().replaceAll(/[^\w.-]/g, '-')}-${process.pid}`}~${randomBytes(6).toString('hex')}`;
}

/** Entries that a call gives back. */
const GIVEN_BACK = 500;
/** When it is looked what the last read has left behind, each after the one before. */
const UNREAD_AFTER_MS = [0, 100, 1_000] as const;
/** Of the time to stop, so much is for what must be told to Redis; of long times less. */
const LAST_WORDS = { part: 0.2, mostMs: 2_000 } as const;
/** Of that time, so much is for leaving, whatever could not be told by then. */
const LEAVE_PART = 0.25;

/** A membership. */
export class Session {
  readonly #parts: SessionParts;
  readonly #consumer: string;
  readonly #settler: Settler;
  readonly #desk: Desk;
  readonly #work: Work;
  readonly #keeper: Keeper;
  readonly #reader: Reader;
  #last: Promise<unknown> = Promise.resolve();
  #isPaused = false;
  #isOver = false;
  #abandoned: Promise<void> | undefined;
  readonly #hurry = new AbortController();

  /**
   * Enters the group. Safe to call again with the same names when there was no answer.
   *
   * @throws MillraceError for what Redis answers; LEASE_LOST when its lasting name is another process's by now
   */
  static async join(parts: SessionParts, names: Names): Promise<Session> {
    const { consumer, before } = names;
    const { plan, group, host } = parts;
    const sentMs = host.clock.monotonicMs();
    const answer = await joinGroup(group.redis, group.keys, {
      group: group.name,
      consumer,
      name: plan.consumer ?? '',
      leaseMs: plan.leaseMs,
      startAt: plan.startAt,
      before,
    });
    if (answer === 'replaced') {
      const facts = { consumer: before, stream: group.stream, group: group.name };
      const message = `${before} is no member of the group ${group.name} of ${group.stream} any more: its lasting name is another's`;
      throw new MillraceError('LEASE_LOST', message, facts);
    }
    return new Session(parts, names, sentMs);
  }

  private constructor(parts: SessionParts, { consumer, last }: Names, joinedMs: number) {
    this.#parts = parts;
    this.#consumer = consumer;
    const { host, plan, handler, group, meter, log } = parts;
    const { clock } = host;
    const exclusively = <T>(act: () => Promise<T>): Promise<T> => this.#exclusively(act);
    const addKnown = (ids: Set<string>): void => this.#addKnown(ids);
    this.#settler = new Settler({
      group,
      consumer,
      meter,
      log,
      onDoubt: () => this.#keeper.wake(),
      onSettled: () => {
        this.#work.onSettled();
        this.#reader.onRoom();
      },
      onDue: (ms) => {
        if (!this.#isOver) this.#keeper.dueIn(ms);
      },
    });
    this.#desk = new Desk({
      plan,
      settler: this.#settler,
      meter,
      log,
      clock,
      modules: host.modules,
    });
    this.#work = workOf(plan, handler, this.#desk);
    const common = {
      group,
      consumer,
      work: this.#work,
      settler: this.#settler,
      meter,
      log,
      clock,
      addKnown,
      exclusively,
    };
    this.#keeper = new Keeper({
      ...common,
      plan,
      joinedMs,
      last,
      known: () => this.known,
      lastId: () => this.#reader.lastId,
      isReading: () => this.#reader.isReading,
      onReady: () => this.#ready(),
      onLacking: () => this.#reader.lookForLost(),
      onTick: () => {
        meter.inFlight(this.known);
        parts.onTick?.();
      },
      onOut: (why, error) => parts.onOut(this, why, error),
    });
    this.#reader = new Reader({
      ...common,
      label: host.connections.label,
      atFirst: plan.batch ? plan.batch.size * plan.concurrency : plan.concurrency,
      atMost: Math.max(plan.prefetch, plan.batch?.size ?? 1),
      open: () => host.connections.blocking(`stream-${plan.contract.name}-${plan.group}`),
      onGone: () => this.#keeper.lookNow(),
    });
    this.#work.onRoom = () => {
      this.#reader.onRoom();
      this.#keeper.onRoom();
    };
  }

  /** The last id that it knows the group to have been given. */
  get lastId(): string | undefined {
    return this.#keeper.lastId;
  }

  /** Entries that it has and that are not settled. */
  get known(): number {
    return this.#work.known + this.#settler.unsettled;
  }

  get active(): number {
    return this.#desk.active;
  }

  /** Why it does not work now. */
  get fault(): string | undefined {
    return (this.#reader.failure ?? this.#keeper.failure)?.message;
  }

  start(): void {
    this.#reader.start();
    this.#keeper.start();
  }

  pause(): void {
    this.#isPaused = true;
    this.#reader.pause();
    this.#keeper.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#keeper.resume();
    if (this.#keeper.isReady) this.#reader.resume();
  }

  /** Its lease is lost: handlers are told, what they still finish is acknowledged, and nothing else. */
  async abandon(reason: MillraceError): Promise<void> {
    this.#desk.interruptAll('lost', reason); // Also while it stops.
    if (this.#isOver) return;
    this.#isOver = true;
    this.#work.close();
    await (this.#abandoned = this.#wind());
  }

  /** Takes nothing new, waits for what runs, gives back what is not done in time, and leaves. Never rejects. */
  async stop(withinMs: number): Promise<void> {
    if (this.#abandoned) {
      await ends(this.#abandoned, AbortSignal.timeout(Math.ceil(withinMs)));
      this.#hurry.abort();
      return this.#abandoned;
    }
    if (this.#isOver) return;
    this.#isOver = true;
    const { clock } = this.#parts.host;
    const endsAtMs = clock.monotonicMs() + withinMs;
    const lastWordsMs = Math.min(withinMs * LAST_WORDS.part, LAST_WORDS.mostMs);
    this.#keeper.prepareToLeave(); // Its lease is still renewed.
    for (const [id, waitMs] of this.#work.close()) this.#settler.putBack(id, waitMs, '');
    this.#settler.flush();
    const drained = new AbortController();
    const reading = this.#stopReading(drained.signal);
    const graceMs = Math.min(this.#parts.plan.graceMs, Math.max(0, withinMs - lastWordsMs) / 2);
    await this.#desk.empty(AbortSignal.timeout(Math.max(0, Math.floor(withinMs - lastWordsMs - graceMs))));
    if (this.#desk.active > 0) {
      this.#desk.interruptAll('released', this.#released());
      await this.#desk.empty(AbortSignal.timeout(Math.floor(graceMs)));
      this.#desk.close();
    }
    drained.abort();
    const left = AbortSignal.timeout(Math.max(1, Math.ceil(endsAtMs - clock.monotonicMs())));
    const toldByMs = endsAtMs - lastWordsMs * LEAVE_PART;
    const told = AbortSignal.timeout(Math.max(1, Math.ceil(toldByMs - clock.monotonicMs())));
    // A command under way may take longer than there is time; its answer is of no use any more.
    await ends(
      this.#settler.settle(told, (ms) => clock.sleep(ms)),
      told,
    );
    this.#desk.close();
    await ends(Promise.all([reading, this.#keeper.stop()]), told);
    await ends(this.#leave(left), left);
  }

  /** Takes over what another membership of this process could not tell. */
  adopt(calls: readonly Call[]): void {
    this.#settler.adopt(calls);
  }

  /** What ends once the lease is lost. The membership that comes next tells what this one cannot. */
  async #wind(): Promise<void> {
    const { plan, host, onOwed } = this.#parts;
    const soon = (): AbortSignal => AbortSignal.any([AbortSignal.timeout(plan.graceMs), this.#hurry.signal]);
    onOwed(this.#settler.handOver()); // At once, because the next one begins by taking what this one had.
    const stopped = Promise.all([this.#reader.stop(), this.#keeper.stop()]);
    await this.#desk.empty(soon());
    this.#desk.close();
    const told = soon();
    await ends(Promise.all([this.#settler.settle(told, (ms) => host.clock.sleep(ms)), stopped]), told);
    onOwed(this.#settler.handOver());
  }

  #ready(): void {
    if (!this.#isPaused) this.#reader.resume();
  }

  async #stopReading(drained: AbortSignal): Promise<void> {
    await this.#reader.stop();
    await this.#giveBackUnread(drained);
  }

  /** What was on its way when reading stopped: others need not wait for it until all handlers have ended. */
  async #giveBackUnread(drained: AbortSignal): Promise<void> {
    const { group, log, host } = this.#parts;
    try {
      // The last read may reach Redis after the first look.
      for (const afterMs of UNREAD_AFTER_MS) {
        await host.clock.sleep(afterMs, { signal: drained });
        const known = new Set<string>();
        this.#addKnown(known);
        const pending = await group.redis.xpending(
          group.keys.entries,
          group.name,
          '-',
          '+',
          2 * GIVEN_BACK,
          this.#consumer,
        );
        this.#addKnown(known);
        for (const [id] of pending as Array<[string]>) if (!known.has(id)) this.#settler.putBack(id, 0, '');
        this.#settler.flush();
      }
    } catch (error) {
      log.debug({ err: error }, 'what was read last is given back at the end');
    }
  }

  async #leave(signal: AbortSignal): Promise<void> {
    const { plan, group, host, log } = this.#parts;
    const how = { group: group.name, consumer: this.#consumer, name: plan.consumer ?? '', count: GIVEN_BACK };
    let given = 0;
    for (;;) {
      try {
        const answer = await leaveGroup(group.redis, group.keys, how);
        given += answer.given;
        if (answer.hasLeft) break;
      } catch (error) {
        if (signal.aborted) {
          const failure = explainRedisError(error, host.connections.label);
          log.warn(
            { stream: group.stream, group: group.name, err: failure },
            'a consumer could not leave its group; its lease will run out',
          );
          return;
        }
        await host.clock.sleep(50, { signal }).catch(() => undefined); // The time is over.
      }
    }
    if (given > 0)
      log.info({ stream: group.stream, group: group.name, entries: given }, 'entries were given back to their group');
  }

  #released(): MillraceError {
    const { contract, group } = this.#parts.plan;
    const message = `the consumer of ${contract.name} in the group ${group} stops; the entry is given back`;
    return new MillraceError('JOB_RELEASED', message, { stream: contract.name, group });
  }

  #addKnown(ids: Set<string>): void {
    this.#work.addIds(ids);
    this.#settler.addIds(ids);
  }

  #exclusively<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#last.then(act, act);
    this.#last = result.catch(() => undefined); // Whoever asked for it hears of it.
    return result;
  }
}

/** Resolves when the promise has ended, however, or when the signal aborts. */
export async function ends(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const ended = promise.catch(() => undefined); // Nobody may wait for it any more.
  if (signal.aborted) return;
  const aborted = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([ended, aborted]);
}

function workOf(plan: Plan, handler: Handler, desk: Desk): Work {
  if (handler.kind === 'batch') return new Batches(desk, handler.run, plan.batch ?? { size: 1, withinMs: 0 });
  return plan.orderBy ? new Lanes(desk, handler.run, plan.orderBy) : new Slots(desk, handler.run);
}
