/**
 * A subscription: a handler that is given each event, in the order of positions, first those that were and then those that come.
 *
 * Promise: at least once and in order. With a name it is one for all processes: one of them follows, and the position is kept in Redis after
 * the handler, so that a process which dies makes at most the events since then come again. Without a name each process follows for itself.
 * A handler that fails is called again with the same event; nothing overtakes it.
 */
import { z } from 'zod';
import { backoffMs, backoffOption, DEFAULT_BACKOFF, type Backoff, type CompiledBackoff } from '../../backoff.ts';
import type { Duration } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { checkOptions, durationOption } from '../../schema.ts';
import { streamNameOption } from '../contract.ts';
import type { StreamModules } from '../context.ts';
import type { Host, Member, Running } from '../member.ts';
import { callHandler } from './call-handler.ts';
import { checkEvents, type EventsContract, type EventSchemas, type RecordedEvent } from './contract.ts';
import { coreOf, type StoreCore } from './core.ts';
import { decodeEvent } from './decode.ts';
import type { EventRef, StoredEvent } from './entry.ts';
import { Follower, type Follows, type Turn } from './follower.ts';
import { moveCheckpoint, openSubscription } from './scripts.ts';

/** Options of a subscription. */
export interface SubscribeOptions<Type extends string = string> {
  /** One for all processes, with its position in Redis. Without it each process follows for itself, and forgets. */
  name?: string | undefined;
  /** Where a new one begins: with the first event, with the first one to come, or with that position. Default `start`. */
  from?: 'start' | 'end' | number | undefined;
  /** Only events of these types; others are passed over unfetched. Default: all. */
  types?: readonly Type[] | undefined;
  /** How long to wait before a handler that failed is called again. Default exponential from 1s to 10m; a function that gives `false` passes the event over. */
  backoff?: Backoff | undefined;
  /** How long a handler may take for one event; then its signal aborts, and it has failed. Default `5m`. */
  timeout?: Duration | undefined;
  /** How long a process that died still holds the place. Default `30s`. */
  lease?: Duration | undefined;
}

/** What a handler is given beside the event, the platform's modules among it. */
export interface EventContext extends StreamModules {
  /** Which call for this event this is; the first is 1. */
  readonly attempt: number;
  /** Aborts at the timeout, when the place is lost, and when the process stops and cannot wait longer. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** What handles events. */
export type EventHandler<Schemas extends EventSchemas, Type extends keyof Schemas & string = keyof Schemas & string> = (
  event: RecordedEvent<Schemas, Type>,
  context: EventContext,
) => unknown;

/** Options after their check. */
export interface CheckedSubscription {
  readonly name: string | undefined;
  readonly begin: 'end' | number;
  readonly types: ReadonlySet<string> | undefined;
  readonly backoff: CompiledBackoff;
  readonly timeoutMs: number;
  readonly leaseMs: number;
}

/** How many events may come again when a process dies, and for how long it may keep them to itself. */
const NOTE_EVERY = 100;
const NOTE_WITHIN_MS = 1_000;

/** How long the place of a follower may be held without a word. */
export const leaseOption: z.ZodType<number, Duration> = durationOption.pipe(z.number().min(100).max(86_400_000));
/** How long a handler may take. */
export const timeoutOption: z.ZodType<number, Duration> = durationOption.pipe(
  z
    .number()
    .min(1)
    .max(2 ** 31 - 1),
);

function schemaFor(types: readonly string[]) {
  return z.strictObject({
    name: streamNameOption.optional(),
    from: z
      .union([z.literal('start'), z.literal('end'), z.number().int().min(1)], {
        error: "expected 'start', 'end' or a position, 1 or more",
      })
      .default('start'),
    types: z.array(z.enum(types as [string, ...string[]])).optional(),
    backoff: backoffOption.default(DEFAULT_BACKOFF),
    timeout: timeoutOption.default(300_000),
    lease: leaseOption.default(30_000),
  });
}

/** @throws MillraceError OPTIONS_INVALID */
export function checkSubscription(
  contract: EventsContract,
  options: SubscribeOptions,
  handler: unknown,
  owner: string,
): CheckedSubscription {
  checkEvents(contract);
  const { name, from, types, backoff, timeout, lease } = checkOptions(
    schemaFor(Object.keys(contract.events)),
    options,
    owner,
  );
  if (typeof handler !== 'function')
    throw new MillraceError('OPTIONS_INVALID', `${owner}: expected a function that handles an event`, {});
  return {
    name,
    begin: from === 'start' ? 0 : from === 'end' ? 'end' : from - 1,
    types: types && new Set(types),
    backoff,
    timeoutMs: timeout,
    leaseMs: lease,
  };
}

/**
 * A named subscription as a worker process runs it: `platform.work({ consumers: [mailer] })`. One process at a time follows.
 *
 * @example
 * export const mailer = subscribeTo(orderEvents, { name: 'mailer', types: ['shipped'] }, async (event, { signal }) => {
 *   await mail(event.streamId, event.data.carrier, { key: event.id, signal }); // May be called twice: the key makes it one mail.
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function subscribeTo<Schemas extends EventSchemas, const Type extends keyof Schemas & string>(
  contract: EventsContract<Schemas>,
  options: SubscribeOptions<Type> & { name: string },
  handler: EventHandler<Schemas, Type>,
): Member {
  const checked = checkSubscription(contract, options, handler, 'subscribeTo');
  const { name } = checked;
  if (name === undefined)
    throw new MillraceError(
      'OPTIONS_INVALID',
      'subscribeTo: name: expected a name, under which its position is kept',
      {},
    );
  return Object.freeze({
    kind: 'subscription',
    name: `${contract.name}/${name}`,
    contract,
    start: (host: Host): Promise<Running> => startSubscription(coreOf(contract, host), checked, handler as never),
  });
}

/** Begins to follow. */
export function startSubscription(
  core: StoreCore,
  checked: CheckedSubscription,
  handler: EventHandler<EventSchemas>,
): Promise<Running> {
  return new Follower(core, new Subscription(core, checked, handler)).start();
}

class Subscription implements Follows {
  readonly title: string;
  readonly leader: string | undefined;
  readonly leaseMs: number;
  readonly meter: Follows['meter'];
  readonly #core: StoreCore;
  readonly #checked: CheckedSubscription;
  readonly #handler: EventHandler<EventSchemas>;
  readonly #log: Logger;
  /** How far it has come; of one without a name, that is all there is. */
  #position: number | undefined;
  /** Of the reference at that position. */
  #mark = '';
  /** Of one without a name: the last position up to which there were events; it may begin beyond. */
  #reached = 0;
  #noted = 0;
  #notedAtMs = 0;

  constructor(core: StoreCore, checked: CheckedSubscription, handler: EventHandler<EventSchemas>) {
    const { name, leaseMs } = checked;
    this.title = `subscription ${core.contract.name}${name === undefined ? '' : `/${name}`}`;
    this.leader = name === undefined ? undefined : core.keys.subscription(name).leader;
    this.leaseMs = leaseMs;
    this.meter = core.meter.follower(name ?? 'unnamed');
    this.#core = core;
    this.#checked = checked;
    this.#handler = handler;
    this.#log = core.log.child({ subscription: name });
  }

  async locate(): Promise<number> {
    const { connections, keys } = this.#core;
    const { name, begin } = this.#checked;
    if (name === undefined) return (this.#position = await this.#locateUnnamed());
    const { checkpoint } = keys.subscription(name);
    const { position, mark } = await openSubscription(connections.commands(), { checkpoint, all: keys.all }, { begin });
    this.#noted = position;
    this.#position = position;
    this.#mark = mark;
    return position;
  }

  async work(refs: readonly EventRef[], turn: Turn): Promise<number> {
    const { reader } = this.#core;
    const { types } = this.#checked;
    const wanted = types ? refs.filter(({ type }) => types.has(type)) : refs;
    // Looked at after the references were read: if the one before them is still there, nothing was lost that was handled.
    const [events, isWhole] = await Promise.all([reader.fetch(wanted), this.#isWhole()]);
    if (!isWhole) return this.#goBack();
    const eventAt = new Map(events.map((event) => [event.position, event]));
    for (const ref of refs) {
      const stored = eventAt.get(ref.position);
      if (!stored && ref !== refs.at(-1)) continue;
      if (turn.draining.aborted) return this.#position ?? 0;
      if (stored) await this.#handle(stored, turn);
      if (!(await this.#move(ref, turn))) return this.#goBack();
    }
    return this.#position ?? 0;
  }

  async settle(turn: Turn): Promise<void> {
    await this.#note(turn);
  }

  /** Whether the last event that was handled is still the one at its position. One without a name has no place to go back to. */
  async #isWhole(): Promise<boolean> {
    if (this.#checked.name === undefined || this.#mark === '') return true;
    const [ref] = await this.#core.reader.refs(this.#position ?? 0, 1);
    return ref !== undefined && ref.position === this.#position && (ref.mark === '' || ref.mark === this.#mark);
  }

  /** Redis has lost events that were handled or read; others may have their positions. */
  #goBack(): Promise<number> {
    const message = `${this.title}: Redis has lost its last events; going back to the checkpoint`;
    this.#log.warn({ position: this.#position }, message);
    return this.locate();
  }

  async #locateUnnamed(): Promise<number> {
    const { begin } = this.#checked;
    const top = await this.#core.reader.top();
    const position = this.#position ?? (begin === 'end' ? top : begin);
    const reached = this.#reached;
    this.#reached = Math.min(position, top);
    if (top >= reached) return position;
    // What comes next has positions that were handled before; what it is has not.
    const message = `${this.title}: Redis has lost its last events; going on with those that come`;
    this.#log.warn({ position, top }, message);
    return begin === 'end' ? top : Math.max(top, begin);
  }

  /** Calls the handler until it succeeds, or until its backoff says that there is no use. */
  async #handle(stored: StoredEvent, { draining, signal }: Turn): Promise<void> {
    const { backoff, timeoutMs } = this.#checked;
    const { streamId, version, position, type } = stored;
    const place = { streamId, version, position, type };
    const what = `${this.title}: event ${version} of ${streamId}`;
    for (let attempt = 1; ; attempt++) {
      try {
        const event = await decodeEvent(this.#core.contract, stored);
        const log = this.#log.child(place);
        const own = (ended: AbortSignal) =>
          ({ ...this.#core.host.modules, attempt, signal: ended, log }) as EventContext;
        await callHandler((ended) => this.#handler(event, own(ended)), { timeoutMs, signal, what });
        return this.meter.handled(1);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        this.meter.failed();
        const failure = error instanceof Error ? error : new Error(String(error));
        const waitMs = backoffMs(backoff, attempt, failure, Math.random, ({ reason }) => this.#log.warn(reason));
        if (waitMs === false) {
          this.#log.error({ err: error, ...place, attempt }, `${what} is passed over`);
          return;
        }
        this.#log.error({ err: error, ...place, attempt, waitMs }, `${what} could not be handled; trying again`);
        await this.#core.clock.sleep(waitMs, { signal: draining });
      }
    }
  }

  /** @returns false when the event is not there any more */
  async #move({ position, mark }: EventRef, turn: Turn): Promise<boolean> {
    this.#position = position;
    this.#mark = mark;
    this.#reached = position;
    const isTime = this.#core.clock.monotonicMs() - this.#notedAtMs >= NOTE_WITHIN_MS;
    return !(isTime || position - this.#noted >= NOTE_EVERY) || this.#note(turn);
  }

  async #note({ held }: Turn): Promise<boolean> {
    const { name } = this.#checked;
    const position = this.#position ?? 0;
    this.#notedAtMs = this.#core.clock.monotonicMs();
    if (name === undefined || !held || position <= this.#noted) return true;
    const { connections, keys } = this.#core;
    const { checkpoint, leader } = keys.subscription(name);
    const { token } = held;
    const outcome = await moveCheckpoint(
      connections.commands(),
      { checkpoint, leader, all: keys.all },
      { token, position, mark: this.#mark },
    );
    if (outcome === 'noted') this.#noted = position;
    if (outcome === 'other') held.lose();
    return outcome !== 'lost';
  }
}
