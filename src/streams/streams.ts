/**
 * Streams: entries that every group of consumers is given once, in the order in which they were published.
 *
 * Promise: what publish() has acknowledged is kept until every group has finished it, and is given to each group at least once (publisher.ts,
 * trim.ts; consumers: consumer/). Keys: keys.ts.
 * Redis down: publish() rejects, consumers wait; a failover that loses writes loses the entries among them, see docs/streams.md.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { DEFAULT_PREFIX } from '../redis/keys.ts';
import { checkOptions } from '../schema.ts';
import type { StreamModules } from './context.ts';
import { checkStream, streamNameOption, type StreamContract } from './contract.ts';
import { StreamDeadLetters } from './dead-letters/dead-letters.ts';
import { LetterRetention } from './dead-letters/retention.ts';
import { checkEvents, differenceOf, type EventsContract, type EventSchemas } from './event-store/contract.ts';
import { createEventStore, type EventStore } from './event-store/event-store.ts';
import {
  checkGroup,
  createGroup,
  groupNames,
  listGroups,
  removeGroup,
  type CreateGroupOptions,
  type GroupInfo,
  type RemovedGroup,
  type RemoveGroupOptions,
} from './groups.ts';
import { inspectStream, type StreamInfo } from './inspect.ts';
import { createStreamKeys, type StreamKeys } from './keys.ts';
import { EVENTS, KnownStreams } from './known.ts';
import { groupUnknown, readLag, type GroupLag } from './lag.ts';
import type { Host, Member } from './member.ts';
import { Publisher, type PublishOptions } from './publisher.ts';
import type { Published } from './scripts.ts';
import {
  collectStreams,
  createLetterMetrics,
  createPublishMetrics,
  type StreamDepth,
  type StreamsMetricsRegistry,
} from './streams-metrics.ts';
import { Trimmer, type Trimmed, type TrimOptions } from './trim.ts';
import { checkRun, MemberWorker, type RunOptions, type StreamWorker } from './worker.ts';

/** Options of the streams of a process. */
export interface StreamsOptions {
  /** What all keys begin with. Default `millrace`. */
  prefix?: string | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count. Default: nowhere. */
  metrics?: StreamsMetricsRegistry | undefined;
  /** What handlers find in their context beside their entry. Default: nothing. */
  modules?: Partial<StreamModules> | undefined;
}

/** The streams of one process. */
export interface Streams {
  /**
   * Adds an entry. Resolves once Redis has it.
   *
   * @example
   * const { id, status } = await streams.publish(ordersPlaced, { orderId: '42', total: 99 }, { key: requestId });
   * @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, OPTIONS_INVALID, CLOSED, or what Redis met.
   */
  publish<Input>(
    contract: StreamContract<Input, unknown>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<Published>;
  /**
   * Adds many, a round trip for each 1,000, in their order. All are checked before anything is sent. When Redis fails in the middle, the error's
   * `facts.published` are the results so far, and `facts.unknown` of how many of the next it is not known whether they were added; none after them was.
   */
  publishMany<Input>(
    contract: StreamContract<Input, unknown>,
    list: ReadonlyArray<NoInfer<Input>>,
    options?: PublishOptions | ((data: NoInfer<Input>, index: number) => PublishOptions),
  ): Promise<Published[]>;
  /** What a group has still to do. @throws MillraceError GROUP_UNKNOWN */
  lag(contract: StreamContract, group: string): Promise<GroupLag>;
  /** The groups of a stream: those that its contract declares, and all that are there. */
  groups(contract: StreamContract): Promise<GroupInfo[]>;
  /** Makes a group before its first consumer does, so that it misses nothing from now on. */
  createGroup(
    contract: StreamContract,
    group: string,
    options?: CreateGroupOptions,
  ): Promise<{ status: 'created' | 'exists' }>;
  /** Removes a group with its retries and dead letters, unless it has something to finish. */
  removeGroup(contract: StreamContract, group: string, options?: RemoveGroupOptions): Promise<RemovedGroup>;
  /** Removes what is beyond the contract's bounds and finished by all groups, now. By itself it is done every 10 s. */
  trim(contract: StreamContract, options?: TrimOptions): Promise<Trimmed>;
  /** The entries that a group will not be given again by itself. */
  deadLetters(contract: StreamContract, group: string): StreamDeadLetters;
  /**
   * The names of all streams that any process has published to or consumed, and `events:NAME` of the event stores.
   *
   * @example
   * for (const name of await streams.known()) console.log(name, (await streams.inspect(name))?.length);
   */
  known(): Promise<string[]>;
  /**
   * Has the gauges of this process tell of every stream that is known, of the first 200: for a process that is scraped for all, such as the
   * dashboard. By itself it tells of those that it publishes to or consumes.
   */
  collectKnown(): void;
  /** A stream by its name, with its groups and consumers, for operators; undefined when there is none, and nobody has told of it. */
  inspect(name: string): Promise<StreamInfo | undefined>;
  /** As deadLetters(), for whoever has no contract. @throws MillraceError OPTIONS_INVALID */
  deadLettersOf(name: string, group: string): StreamDeadLetters;
  /**
   * The event store of a contract, the same one each time. A name has one contract in a process.
   *
   * @example
   * await streams.events(orderEvents).append('order-42', [{ type: 'placed', data: { customer: 'ada' } }], { expected: 'none' });
   * @throws MillraceError OPTIONS_INVALID for a second contract of the name that reads events otherwise
   */
  events<Schemas extends EventSchemas>(contract: EventsContract<Schemas>): EventStore<Schemas>;
  /** Runs consumers and their like in this process; resolves once they work, for which it waits as long as Redis is down. */
  run(members: readonly Member[], options?: RunOptions): Promise<StreamWorker>;
  /** Why what runs here cannot work now; undefined when it can, or nothing runs. */
  ready(): string | undefined;
  /** Stops all that runs here, each within its `drainFor`; publishing goes on. */
  drain(): Promise<void>;
  /** Drains what runs. Safe to call twice; afterwards calls throw CLOSED. */
  stop(): Promise<void>;
}

const streamsSchema = z.strictObject({
  prefix: z.string().default(DEFAULT_PREFIX),
  log: z.custom<Logger>((value) => typeof value === 'object' && value !== null, 'expected a logger').optional(),
  clock: z.custom<Clock>((value) => typeof value === 'object' && value !== null, 'expected a clock').optional(),
  metrics: z
    .custom<StreamsMetricsRegistry>((value) => typeof value === 'object' && value !== null, 'expected a registry')
    .optional(),
  modules: z
    .custom<Partial<StreamModules>>((value) => typeof value === 'object' && value !== null, 'expected an object')
    .default({}),
});

/** Streams of other processes that the gauges tell of. */
const MOST_OTHERS = 200;

/** What a member may tell of what it consumes. */
type AnyMember = Member & { contract?: StreamContract | EventsContract; group?: string };

type OwnConnections = Pick<Connections, 'commands' | 'blocking' | 'capabilities' | 'topology' | 'label'>;

/**
 * The streams of a process.
 *
 * @example
 * const streams = createStreams(connections);
 * await streams.publish(ordersPlaced, { orderId: '42', total: 99 });
 * const worker = await streams.run([consume(ordersPlaced, { group: 'billing' }, (order) => bill(order))]);
 * @throws MillraceError OPTIONS_INVALID
 */
export function createStreams(connections: OwnConnections, options: StreamsOptions = {}): Streams {
  return new RedisStreams(connections, checkOptions(streamsSchema, options, 'createStreams'));
}

class RedisStreams implements Streams {
  readonly #connections: OwnConnections;
  readonly #host: Host;
  readonly #keys: (stream: string) => StreamKeys;
  readonly #publisher: Publisher;
  readonly #trimmer: Trimmer;
  readonly #retention: LetterRetention;
  readonly #workers = new Set<MemberWorker>();
  readonly #stores = new Map<string, EventStore<EventSchemas>>();
  /** The streams that this process publishes to or consumes, by name. */
  readonly #used = new Map<string, StreamContract>();
  readonly #known: KnownStreams;
  readonly #endCollecting: () => void;
  #tellsOfAll = false;
  #stopping: Promise<void> | undefined;

  constructor(connections: OwnConnections, options: z.output<typeof streamsSchema>) {
    const { prefix, clock = systemClock, log = silentLogger, metrics, modules } = options;
    const ownLog = log.child({ module: 'streams' });
    this.#connections = connections;
    this.#host = { connections, prefix, clock, log: ownLog, metrics, modules };
    this.#keys = createStreamKeys(prefix);
    this.#known = new KnownStreams(connections, prefix, ownLog);
    this.#trimmer = new Trimmer(connections, this.#keys, ownLog);
    const meter = createLetterMetrics(metrics);
    this.#retention = new LetterRetention({ connections, keys: this.#keys, log: ownLog, meter });
    this.#publisher = new Publisher({
      connections,
      keys: this.#keys,
      meter: createPublishMetrics(metrics),
      onContract: (contract) => this.#know(contract),
    });
    this.#endCollecting = collectStreams(metrics, () => this.#depths());
  }

  publish<Input>(contract: StreamContract<Input, unknown>, data: Input, options?: PublishOptions): Promise<Published> {
    if (this.#stopping) return Promise.reject(closed());
    return this.#publisher.publish(contract, data, options);
  }

  async publishMany<Input>(
    contract: StreamContract<Input, unknown>,
    list: readonly Input[],
    options?: PublishOptions | ((data: Input, index: number) => PublishOptions),
  ): Promise<Published[]> {
    if (this.#stopping) throw closed();
    return this.#publisher.publishMany(contract, list, options);
  }

  async lag(contract: StreamContract, group: string): Promise<GroupLag> {
    const keys = this.#keysOf(contract);
    checkGroup(group, `lag of ${contract.name}`);
    const lag = await readLag(this.#connections.commands(), keys, group);
    if (lag) return lag;
    throw groupUnknown(contract.name, group, await groupNames(this.#connections, keys));
  }

  async groups(contract: StreamContract): Promise<GroupInfo[]> {
    return listGroups(this.#connections, this.#keysOf(contract), contract);
  }

  async createGroup(
    contract: StreamContract,
    group: string,
    options: CreateGroupOptions = {},
  ): Promise<{ status: 'created' | 'exists' }> {
    return createGroup(this.#connections, this.#keysOf(contract), contract, group, options);
  }

  async removeGroup(contract: StreamContract, group: string, options: RemoveGroupOptions = {}): Promise<RemovedGroup> {
    return removeGroup(this.#connections, this.#keysOf(contract), contract, group, options);
  }

  async trim(contract: StreamContract, options: TrimOptions = {}): Promise<Trimmed> {
    this.#keysOf(contract);
    return this.#trimmer.trim(contract, options);
  }

  deadLetters(contract: StreamContract, group: string): StreamDeadLetters {
    const keys = this.#keysOf(contract);
    checkGroup(group, `deadLetters of ${contract.name}`);
    return new StreamDeadLetters(this.#connections, keys, contract.name, group);
  }

  async known(): Promise<string[]> {
    if (this.#stopping) throw closed();
    return this.#known.names();
  }

  collectKnown(): void {
    this.#tellsOfAll = true;
  }

  async inspect(name: string): Promise<StreamInfo | undefined> {
    if (this.#stopping) throw closed();
    checkName(name.startsWith(EVENTS) ? name.slice(EVENTS.length) : name, 'inspect');
    return inspectStream(
      { client: this.#connections.commands(), prefix: this.#host.prefix, known: this.#known.key },
      name,
    );
  }

  deadLettersOf(name: string, group: string): StreamDeadLetters {
    if (this.#stopping) throw closed();
    checkName(name, 'deadLettersOf');
    checkGroup(group, `deadLettersOf ${name}`);
    return new StreamDeadLetters(this.#connections, this.#keys(name), name, group);
  }

  events<Schemas extends EventSchemas>(contract: EventsContract<Schemas>): EventStore<Schemas> {
    if (this.#stopping) throw closed();
    checkEvents(contract);
    const known = this.#stores.get(contract.name);
    if (known && differenceOf(known.contract, contract) === undefined) return known as unknown as EventStore<Schemas>;
    const { prefix, log, clock, metrics, modules } = this.#host;
    const store = createEventStore(this.#connections, contract, { prefix, log, clock, metrics, modules });
    this.#known.addEvents(contract);
    this.#stores.set(contract.name, store as unknown as EventStore<EventSchemas>);
    return store;
  }

  async run(members: readonly Member[], options: RunOptions = {}): Promise<StreamWorker> {
    if (this.#stopping) throw closed();
    const { drainForMs } = checkRun(members, options);
    for (const { contract, group } of members as readonly AnyMember[]) {
      if (!contract) continue;
      if (!('keep' in contract)) {
        this.#known.addEvents(contract);
        continue;
      }
      this.#know(contract);
      if (group !== undefined) this.#retention.watch(contract, group);
    }
    const worker: MemberWorker = new MemberWorker(members, this.#host, drainForMs, () => this.#workers.delete(worker));
    this.#workers.add(worker);
    await worker.started();
    return worker;
  }

  ready(): string | undefined {
    const troubles = [...this.#workers].flatMap((worker) => worker.ready() ?? []);
    return troubles.length === 0 ? undefined : troubles.join('; ');
  }

  async drain(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.stop()));
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#endCollecting();
    this.#trimmer.stop();
    this.#retention.stop();
    this.#known.stop();
    await Promise.all([this.drain(), ...[...this.#stores.values()].map((store) => store.stop())]);
  }

  #know(contract: StreamContract): void {
    this.#used.set(contract.name, contract);
    this.#known.add(contract);
    this.#trimmer.watch(contract);
  }

  #keysOf(contract: StreamContract): StreamKeys {
    if (this.#stopping) throw closed();
    checkStream(contract);
    return this.#keys(contract.name);
  }

  /** What the gauges tell. @throws what Redis met: then they are missing from the scrape. */
  async #depths(): Promise<StreamDepth[]> {
    const own = await Promise.all([...this.#used.values()].map((contract) => this.#depthOf(contract)));
    if (!this.#tellsOfAll) return own;
    const names = await this.#known.names();
    const others = names.filter((name) => !name.startsWith(EVENTS) && !this.#used.has(name));
    const looked = await Promise.all(others.slice(0, MOST_OTHERS).map((name) => this.inspect(name)));
    return [...own, ...looked.flatMap((info) => (info ? depthOfInfo(info) : []))];
  }

  async #depthOf(contract: StreamContract): Promise<StreamDepth> {
    const keys = this.#keys(contract.name);
    const [length, groups] = await Promise.all([
      this.#connections.commands().xlen(keys.entries),
      listGroups(this.#connections, keys, contract),
    ]).catch((error: unknown) => {
      throw explainRedisError(error, this.#connections.label);
    });
    return {
      stream: contract.name,
      length,
      groups: groups.flatMap(({ name, lag }) => {
        if (!lag) return [];
        const { entries, consumers, ...rest } = lag;
        return [{ ...rest, group: name, lag: entries, consumers: consumers.filter(({ isAlive }) => isAlive).length }];
      }),
    };
  }
}

function depthOfInfo({ name, length, groups }: StreamInfo): StreamDepth {
  return {
    stream: name,
    length,
    groups: groups.map(({ name: group, lag, pending, oldestPendingMs = 0, retrying, deadLetters, consumers }) => ({
      group,
      lag,
      pending,
      oldestPendingMs,
      retrying,
      deadLetters,
      consumers: consumers.filter(({ isGone }) => !isGone).length,
    })),
  };
}

/** @throws MillraceError OPTIONS_INVALID */
function checkName(name: string, owner: string): void {
  checkOptions(z.strictObject({ name: streamNameOption }), { name }, owner);
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the streams have been stopped', {});
}
