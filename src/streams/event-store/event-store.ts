/**
 * An event store: streams of events with expected versions, and all events in one order.
 *
 * Promise: of appends that expect the same version one succeeds; versions of a stream and positions of all events have no gaps and are never given
 * twice; an append is whole or not at all, in its stream and among all events alike. Versions, positions and times come from the store, so no
 * machine's clock counts. What a failover or a restart of Redis loses of its last writes is lost here too.
 * Keys: see keys.ts. On a Cluster a store is on one node.
 * Redis down: calls throw REDIS_UNREACHABLE or REDIS_TIMEOUT; whether an append has happened is unknown then. With ids of its own it may be sent
 * again: it counts once.
 */
import { randomBytes } from 'node:crypto';
import { MillraceError } from '../../errors.ts';
import type { Member, Running } from '../member.ts';
import { Aggregate, type AggregateOptions } from './aggregate.ts';
import { askRedis } from './ask-redis.ts';
import { differenceOf, type EventsContract, type EventSchemas, type NewEvent, type RecordedEvent } from './contract.ts';
import { createStoreCore, type EventConnections, type StoreCore } from './core.ts';
import { decodeEvent } from './decode.ts';
import { encodeEvents } from './encode.ts';
import { checkName } from './names.ts';
import {
  expectedOf,
  parseRead,
  parseReadAll,
  type AppendOptions,
  type EventStoreOptions,
  type ReadAllOptions,
  type ReadOptions,
} from './options.ts';
import { ProjectionState } from './projection-state.ts';
import type { Projection } from './projection.ts';
import { PAGE } from './reader.ts';
import { append, erase } from './scripts.ts';
import { checkSubscription, startSubscription, type EventHandler, type SubscribeOptions } from './subscription.ts';

/** What came of an append. */
export type AppendResult =
  /** `duplicate`: the same events were appended before. Version and position are those of the last of these events. */
  | { readonly status: 'appended' | 'duplicate'; readonly version: number; readonly position: number }
  /** The stream has another version than was expected. */
  | { readonly status: 'conflict'; readonly actual: number };

/** Some events, and where to go on. */
export interface EventPage<Event> {
  readonly events: readonly Event[];
  /** What to give as `from` for the next page; of what was read backwards 0 when there is no more. */
  readonly next: number;
  /** Whether there was nothing more at that moment. */
  readonly isEnd: boolean;
}

/** How long stop() waits for handlers. */
const STOP_WITHIN_MS = 5_000;

/**
 * The event store of a contract.
 *
 * @example
 * const store = createEventStore(connections, orderEvents, { log });
 * const result = await store.append('order-42', [{ type: 'placed', data: { customer: 'ada', totalCents: 1_200 } }], {
 *   expected: 'none',
 * });
 * if (result.status === 'conflict') console.log('it is there already, at version', result.actual);
 * for await (const event of store.read('order-42')) console.log(event.version, event.type, event.data);
 * await store.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createEventStore<Schemas extends EventSchemas>(
  connections: EventConnections,
  contract: EventsContract<Schemas>,
  options: EventStoreOptions = {},
): EventStore<Schemas> {
  return new EventStore(createStoreCore(connections, contract, options));
}

/** Appends, reads and follows the events of one contract. */
export class EventStore<Schemas extends EventSchemas> {
  readonly #core: StoreCore<Schemas>;
  readonly #running = new Set<Running>();
  #stopping: Promise<void> | undefined;

  constructor(core: StoreCore<Schemas>) {
    this.#core = core;
  }

  /** The contract that it was made for. */
  get contract(): EventsContract<Schemas> {
    return this.#core.contract;
  }

  /**
   * Appends events to a stream, all or none.
   *
   * @example
   * const result = await store.append('order-42', [{ type: 'shipped', data: { carrier: 'post' }, id: 'shipment-7' }], { expected: 1 });
   * @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, OPTIONS_INVALID, KEY_INVALID before anything is sent; EVENT_ID_TAKEN when some but not
   *   all of the ids are in the stream, or in another order; what Redis answers
   */
  async append(
    streamId: string,
    events: ReadonlyArray<NewEvent<Schemas>>,
    options?: AppendOptions,
  ): Promise<AppendResult> {
    this.#checkOpen();
    checkName('stream id', streamId);
    const { contract, connections, keys, meter } = this.#core;
    const expected = expectedOf(options, 'append');
    const { count, isNamed, fields } = await encodeEvents(contract, events);
    const { stream, ids } = keys.of(streamId);
    const { outcome, version, position } = await append(
      connections.commands(),
      { versions: keys.versions, stream, all: keys.all, ids },
      { streamId, expected, isNamed: isNamed ? 1 : 0, mark: randomBytes(9).toString('base64url'), events: fields },
    );
    if (outcome === 'taken') {
      const message = `append to ${contract.name}: ${streamId} has some of these event ids, but not all of them in this order`;
      throw new MillraceError('EVENT_ID_TAKEN', message, { store: contract.name, streamId, version });
    }
    meter.appended(outcome, count);
    return outcome === 'conflict' ? { status: 'conflict', actual: version } : { status: outcome, version, position };
  }

  /**
   * The events of a stream.
   *
   * @example
   * for await (const event of store.read('order-42', { from: 2 })) if (event.type === 'shipped') console.log(event.data.carrier);
   * @throws MillraceError EVENT_UNREADABLE at the event that does not fit the contract; the signal's reason
   */
  read(streamId: string, options: ReadOptions = {}): AsyncGenerator<RecordedEvent<Schemas>, void, undefined> {
    checkName('stream id', streamId);
    const { from, limit = Number.POSITIVE_INFINITY, backwards = false, signal } = parseRead(options, 'read');
    return this.#read(streamId, { from, limit, backwards, signal });
  }

  /** Some events of a stream, 250 unless `limit` says otherwise. */
  async readPage(streamId: string, options: ReadOptions = {}): Promise<EventPage<RecordedEvent<Schemas>>> {
    checkName('stream id', streamId);
    const { from, limit = PAGE, backwards = false, signal } = parseRead(options, 'readPage');
    const first = from ?? (backwards ? Number.POSITIVE_INFINITY : 1);
    const events: Array<RecordedEvent<Schemas>> = [];
    for await (const event of this.#read(streamId, { from: first, limit, backwards, signal })) events.push(event);
    const last = events.at(-1)?.version;
    const isEnd = events.length < limit || (backwards && last === 1);
    if (last === undefined) return { events, next: backwards ? 0 : first, isEnd };
    return { events, next: last + (backwards ? -1 : 1), isEnd };
  }

  /**
   * All events of the store in the order of their positions; those of erased streams are missing.
   *
   * @example
   * for await (const { position, streamId, data } of store.all({ types: ['shipped'] })) console.log(position, streamId, data.carrier);
   * @throws MillraceError EVENT_UNREADABLE at the event that does not fit the contract; the signal's reason
   */
  all<const Type extends keyof Schemas & string = keyof Schemas & string>(
    options: ReadAllOptions<Type> = {},
  ): AsyncGenerator<RecordedEvent<Schemas, Type>, void, undefined> {
    const known = Object.keys(this.#core.contract.events);
    const { from = 1, limit = Number.POSITIVE_INFINITY, types, signal } = parseReadAll(options, known, 'all');
    return this.#all(from, limit, types && new Set(types), signal) as never;
  }

  /** Some of all events: those wanted among the next `limit` positions, 250 unless told otherwise. */
  async allPage<const Type extends keyof Schemas & string = keyof Schemas & string>(
    options: ReadAllOptions<Type> = {},
  ): Promise<EventPage<RecordedEvent<Schemas, Type>>> {
    const { contract, reader } = this.#core;
    const { from = 1, limit = PAGE, types, signal } = parseReadAll(options, Object.keys(contract.events), 'allPage');
    signal?.throwIfAborted();
    const refs = await reader.refs(from, limit);
    const wanted = new Set<string>(types);
    const stored = await reader.fetch(types ? refs.filter(({ type }) => wanted.has(type)) : refs);
    const events = await Promise.all(stored.map(async (event) => decodeEvent(contract, event)));
    const last = refs.at(-1);
    return { events: events as never, next: last ? last.position + 1 : from, isEnd: refs.length < limit };
  }

  /** The version of a stream: that of its last event, 0 when it has never had one. Stays when it is erased. */
  async version(streamId: string): Promise<number> {
    checkName('stream id', streamId);
    const { connections, keys } = this.#core;
    return Number((await askRedis(connections, (client) => client.hget(keys.versions, streamId))) ?? 0);
  }

  /** The position of the last event of all; 0 when there is none. */
  position(): Promise<number> {
    return this.#core.reader.top();
  }

  /**
   * The state of streams, as a function makes it of their events.
   *
   * @example
   * const orders = store.aggregate({
   *   name: 'order',
   *   initial: () => ({ status: 'none', totalCents: 0 }),
   *   apply: (state, event) => (event.type === 'placed' ? { status: 'placed', totalCents: event.data.totalCents } : state),
   *   snapshotEvery: 200,
   * });
   * const { state, version } = await orders.load('order-42');
   * @throws MillraceError OPTIONS_INVALID
   */
  aggregate<State>(options: AggregateOptions<Schemas, State>): Aggregate<Schemas, State> {
    return new Aggregate(this.#core, options, (streamId, events, how) => this.append(streamId, events, how));
  }

  /**
   * The documents of a projection.
   *
   * @example
   * const order = await store.projection(orderList).get('order-42');
   * @throws MillraceError OPTIONS_INVALID when it is one of another store, or of a contract that reads events otherwise
   */
  projection<Document>(projection: Projection<Document>): ProjectionState<Document> {
    const { contract } = this.#core;
    const { name } = contract;
    if (projection?.kind !== 'projection' || projection.contract.name !== name)
      throw new MillraceError('OPTIONS_INVALID', `expected a projection of ${name}, made by project()`, {});
    const difference = differenceOf(contract, projection.contract);
    if (difference === undefined) return new ProjectionState(this.#core, projection.checked);
    const message = `expected a projection of the contract of this store, got one with other ${difference} in ${name}`;
    throw new MillraceError('OPTIONS_INVALID', message, { store: name, difference });
  }

  /**
   * Calls the handler for each event, those that were and those that come, until it is stopped. With a name, one process of all does.
   *
   * @example
   * const following = await store.subscribe({ name: 'mailer', from: 'end' }, async (event) => mail(event));
   * await following.stop(5_000);
   * @throws MillraceError OPTIONS_INVALID
   */
  async subscribe<const Type extends keyof Schemas & string = keyof Schemas & string>(
    options: SubscribeOptions<Type>,
    handler: EventHandler<Schemas, Type>,
  ): Promise<Running> {
    this.#checkOpen();
    const { contract } = this.#core;
    const checked = checkSubscription(contract, options, handler, 'subscribe');
    return this.#own(await startSubscription(this.#core, checked, handler as never));
  }

  /**
   * Runs a projection or subscription in this process, as a worker would.
   *
   * @example
   * const running = await store.run(orderList);
   * @throws MillraceError for what waiting does not mend
   */
  async run(member: Member): Promise<Running> {
    this.#checkOpen();
    return this.#own(await member.start(this.#core.host));
  }

  /**
   * Removes the events of a stream for ever, its snapshots, and the ids that its events were named by. Its version stays and goes on, and so do the
   * positions. What projections have made of the events stays: append an event behind it that has them remove it.
   *
   * @example
   * await store.erase('customer-7');
   * await store.append('customer-7', [{ type: 'forgotten', data: {}, id: 'forgotten' }]);
   * @returns how many events were removed
   */
  async erase(streamId: string): Promise<number> {
    this.#checkOpen();
    checkName('stream id', streamId);
    return erase(this.#core.connections.commands(), this.#core.keys.of(streamId), {});
  }

  /** Stops what subscribe() and run() have begun. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= Promise.all([...this.#running].map((running) => running.stop(STOP_WITHIN_MS))).then(
      () => undefined,
    );
    return this.#stopping;
  }

  async *#read(
    streamId: string,
    { from, limit, backwards, signal }: ReadOptions & { limit: number; backwards: boolean },
  ): AsyncGenerator<RecordedEvent<Schemas>, void, undefined> {
    const { reader, contract } = this.#core;
    let next = from ?? (backwards ? Number.POSITIVE_INFINITY : 1);
    let left = limit;
    while (left > 0) {
      signal?.throwIfAborted();
      const count = Math.min(left, PAGE);
      const page = await reader.stream(streamId, { from: next, count, backwards });
      for (const stored of page) {
        signal?.throwIfAborted();
        yield await decodeEvent(contract, stored);
      }
      if (page.length < count) return;
      left -= page.length;
      next = (page.at(-1)?.version ?? 0) + (backwards ? -1 : 1);
      if (next < 1) return;
    }
  }

  async *#all(
    from: number,
    limit: number,
    types: ReadonlySet<string> | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RecordedEvent<Schemas>, void, undefined> {
    const { reader, contract } = this.#core;
    let next = from;
    let left = limit;
    for (;;) {
      signal?.throwIfAborted();
      const refs = await reader.refs(next, PAGE);
      const wanted = types ? refs.filter(({ type }) => types.has(type)) : refs;
      for (const stored of await reader.fetch(wanted)) {
        signal?.throwIfAborted();
        yield await decodeEvent(contract, stored);
        if (--left === 0) return;
      }
      if (refs.length < PAGE) return;
      next = (refs.at(-1)?.position ?? 0) + 1;
    }
  }

  async #own(running: Running): Promise<Running> {
    if (this.#stopping) await running.stop(0);
    this.#checkOpen();
    this.#running.add(running);
    return {
      get active() {
        return running.active;
      },
      ready: () => running.ready(),
      pause: () => running.pause(),
      resume: () => running.resume(),
      stop: async (withinMs) => {
        await running.stop(withinMs);
        this.#running.delete(running);
      },
    };
  }

  #checkOpen(): void {
    if (this.#stopping)
      throw new MillraceError('CLOSED', `the event store ${this.#core.contract.name} has been stopped`, {});
  }
}
