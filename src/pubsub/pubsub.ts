/**
 * Pub/sub: typed topics over one connection of a process (one for each shard on a Cluster).
 *
 * Promise: a plain topic is heard at most once, in order, by whoever listens at that moment, and whoever may have missed some is told. A
 * reliable topic is heard at least once and in order for as long as its ring has what was missed, else the gap is told. A request is
 * handled once at most.
 * Keys of a definition, all in one slot: `PREFIX:pubsub:{NAME}` its channel, `:requests` that of its requests, `:offer:ID` of a request (see
 * requests.ts), and of a reliable one `:ring` STREAM (for `age` after the last message) and `:last` STRING (30 days more).
 * `PREFIX:pubsub:{~PROCESS}:inbox` is the channel of the answers to a process.
 * Redis down: publish() and request() throw; subscriptions live on and go on by themselves.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { systemClock, type Clock } from '../clock.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import { encodePayload } from '../payload.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX, type KeySpace } from '../redis/keys.ts';
import { checkOptions } from '../schema.ts';
import { NONE, writeBody, writeEnvelope } from './envelope.ts';
import { Expirations, type Expiration, type ExpirationListener, type ExpirationOptions } from './expirations.ts';
import { messageStream, type MessageStream } from './message-stream.ts';
import {
  publishSchema,
  pubSubSchema,
  requestSchema,
  serveSchema,
  streamSchema,
  subscribeSchema,
  type PublishOptions,
  type PubSubOptions,
  type RequestOptions,
  type ServeOptions,
  type SubscribeOptions,
} from './options.ts';
import { createPubSubMetrics } from './pubsub-metrics.ts';
import { Requests } from './requests.ts';
import { publishScript, topicKeys } from './ring.ts';
import { TopicServing, type RequestContext, type RequestHandler, type Serving } from './serving.ts';
import { Speaker, type PubSubConnections } from './speaker.ts';
import {
  TopicSubscription,
  type Handler,
  type MessageContext,
  type Subscription,
  type TopicMessage,
} from './subscription.ts';
import { TopicChannels } from './topic-channels.ts';
import {
  concreteTopic,
  overlaps,
  parsePattern,
  topicParts,
  type SegmentValues,
  type Topic,
  type TopicContract,
} from './topic.ts';

/** A message was said. */
export interface Published {
  readonly id: string;
  /** How many connections heard it at that moment, which is one for each process that listens; on a Cluster, those to the shard's master. */
  readonly receivers: number;
  /** Of a reliable topic: where it stands. */
  readonly position: string | undefined;
}

/** A message of a topic. */
export type MessageOf<Data, Name extends string> = TopicMessage<Data, SegmentValues<Name, string>>;

/**
 * The pub/sub of a process.
 *
 * @example
 * const pubsub = createPubSub(connections, { log });
 * const paid = pubsub.subscribe(orderStatus.at('42'), ({ data }) => console.log(data.status));
 * await paid.ready();
 * await pubsub.publish(orderStatus.at('42'), { status: 'paid' });
 * await pubsub.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createPubSub(connections: PubSubConnections, options: PubSubOptions = {}): PubSub {
  return new PubSub(connections, options);
}

/** How most messages are published. */
const AS_IT_IS = publishSchema.parse({});

interface Stoppable {
  stop(): Promise<void>;
}

/** Publishes, subscribes, asks and answers. */
export class PubSub {
  readonly #connections: PubSubConnections;
  readonly #keys: KeySpace;
  readonly #guard: Guard;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #topics: readonly TopicContract[];
  readonly #speaker: Speaker;
  readonly #requests: Requests;
  readonly #channels: TopicChannels;
  readonly #open = new Set<Stoppable>();
  #stopping: Promise<void> | undefined;

  constructor(connections: PubSubConnections, options: PubSubOptions) {
    const checked = checkOptions(pubSubSchema, options, 'createPubSub');
    const { prefix = DEFAULT_PREFIX, log = silentLogger, clock = systemClock, deadline, topics, metrics } = checked;
    this.#connections = connections;
    this.#keys = createKeySpace(prefix, 'pubsub');
    this.#clock = clock;
    this.#log = log;
    this.#topics = topics;
    const { label } = connections;
    this.#guard = new Guard({ deadlineMs: deadline, failures: Number.POSITIVE_INFINITY, clock, label });
    const random = randomBytes(6).toString('hex');
    this.#speaker = new Speaker({
      connections,
      keys: this.#keys,
      guard: this.#guard,
      clock,
      origin: `${hostname().replaceAll(/[^\w.-]/g, '-')}:${process.pid}:${random.slice(0, 6)}`,
      idStem: random,
      meterOf: createPubSubMetrics(metrics),
    });
    const { origin } = this.#speaker;
    this.#channels = new TopicChannels(this.#speaker.meterOf, {
      connections,
      keys: this.#keys,
      guard: this.#guard,
      clock,
      log,
      origin,
    });
    this.#requests = new Requests(this.#speaker, clock, log);
  }

  /**
   * Says a message to all who listen to its topic, in this process and others.
   *
   * @example
   * const { receivers } = await pubsub.publish(orderStatus.at('42'), { status: 'paid' }, { noEcho: true });
   * @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE; REDIS_UNREACHABLE, REDIS_TIMEOUT and the like, after which it is unknown whether it
   *   was said; CLOSED
   */
  async publish<Input>(topic: Topic<Input>, data: NoInfer<Input>, options?: PublishOptions): Promise<Published>;
  async publish(topic: Topic, data: unknown, options?: PublishOptions): Promise<Published> {
    this.#checkOpen();
    const { contract, text } = concreteTopic(topic);
    const { noEcho, headers } = options ? checkOptions(publishSchema, options, 'publish') : AS_IT_IS;
    const { name, schema, maxBytes } = contract;
    const json = await encodePayload(data, { schema, contract: name, what: `a message of ${name}`, maxBytes });
    const id = this.#speaker.nextId();
    const body = writeBody(this.#speaker.meta(id, headers), json);
    const echo = noEcho ? this.#speaker.origin : undefined;
    const meter = this.#speaker.meterOf(name);
    try {
      const said = await (contract.reliable
        ? this.#keep(contract, contract.reliable, text, echo, body)
        : this.#say(contract, writeEnvelope(text, echo, body)));
      meter.published(true);
      return { id, ...said };
    } catch (error) {
      meter.published(false);
      throw error;
    }
  }

  /**
   * Has the handler told of every message of a topic, of the topics with some values, or of all known topics that fit a pattern.
   *
   * @example
   * const one = pubsub.subscribe(orderStatus.at('42'), ({ data }) => show(data));
   * const all = pubsub.subscribe(orderStatus, ({ values: [id], data }) => show(id, data), { concurrency: 4 });
   * const some = pubsub.subscribe('orders.>', ({ topic, data }) => log.info({ topic, data }));
   * await one.ready();
   * @throws MillraceError OPTIONS_INVALID, also when no known topic fits the pattern; CLOSED
   */
  subscribe<Data, Name extends string>(
    topic: Topic<unknown, Data, Name>,
    handler: (message: MessageOf<Data, Name>, context: MessageContext) => unknown,
    options?: SubscribeOptions,
  ): Subscription;
  subscribe(
    pattern: string,
    handler: (message: TopicMessage, context: MessageContext) => unknown,
    options?: SubscribeOptions,
  ): Subscription;
  subscribe(what: Topic | string, handler: never, options: SubscribeOptions = {}): Subscription {
    return this.#subscribe(what, handler, options);
  }

  /**
   * The same as an async iterable. What waits for the loop is bounded as `queue` and `onOverflow` say; leaving the loop ends it.
   *
   * @example
   * for await (const { data } of pubsub.stream(orderStatus.at('42'), { signal })) show(data);
   * @throws MillraceError as subscribe(); SUBSCRIPTION_OVERFLOWED by the loop, where `onOverflow` is `close`
   */
  stream<Data, Name extends string>(
    topic: Topic<unknown, Data, Name>,
    options?: Omit<SubscribeOptions, 'concurrency'>,
  ): MessageStream<MessageOf<Data, Name>>;
  stream(pattern: string, options?: Omit<SubscribeOptions, 'concurrency'>): MessageStream<TopicMessage>;
  stream(
    what: Topic | string,
    options: Omit<SubscribeOptions, 'concurrency'> = {},
  ): MessageStream<TopicMessage<never, never>> {
    checkOptions(streamSchema, options, 'stream');
    const messages = messageStream((handler) => this.#subscribe(what, handler, options));
    return messages as MessageStream<TopicMessage<never, never>>;
  }

  /**
   * Asks whoever serves the topic, and waits for the answer of one of them.
   *
   * @example
   * const price = await pubsub.request(priceOf.at('sku-1'), { currency: 'EUR' }, { timeout: '2s' });
   * @throws MillraceError NO_RESPONDER when nobody serves the topic; REQUEST_TIMEOUT; REQUEST_FAILED when the handler threw; INPUT_INVALID,
   *   PAYLOAD_TOO_LARGE; what publish() throws; the reason of the signal
   */
  async request<Input, Reply>(
    topic: Topic<Input, unknown, string, unknown, Reply>,
    data: NoInfer<Input>,
    options: RequestOptions = {},
  ): Promise<Reply> {
    this.#checkOpen();
    const { timeout, signal, headers } = checkOptions(requestSchema, options, 'request');
    return (await this.#requests.request(topic, data, { timeout, signal, headers })) as Reply;
  }

  /**
   * Answers requests with what the handler returns. Of all processes that serve a topic, one handles each request.
   *
   * @example
   * const serving = pubsub.serve(priceOf, async ({ values: [sku], data }, { signal }) => prices.of(sku, data, { signal }));
   * await serving.ready();
   * @throws MillraceError OPTIONS_INVALID, CLOSED
   */
  serve<Data, Name extends string, Answer>(
    topic: Topic<unknown, Data, Name, Answer>,
    handler: (request: MessageOf<Data, Name>, context: RequestContext) => NoInfer<Answer> | Promise<NoInfer<Answer>>,
    options: ServeOptions = {},
  ): Serving {
    this.#checkOpen();
    mustBeFunction('serve', handler);
    const parts = {
      speaker: this.#speaker,
      clock: this.#clock,
      log: this.#log,
      onClose: (closed: Stoppable) => this.#open.delete(closed),
    };
    const checked = checkOptions(serveSchema, options, 'serve');
    const serving = new TopicServing(topic, handler as unknown as RequestHandler, checked, parts);
    this.#open.add(serving);
    return serving;
  }

  /**
   * Has the handler told of keys that have expired, by servers that are configured to say so: see docs/pubsub.md for how little that is.
   *
   * @example
   * const listener = await pubsub.expirations(({ key }) => log.info({ key }), { match: 'session:*' });
   * @throws MillraceError KEY_EVENTS_OFF when a server is not configured to; OPTIONS_INVALID, CLOSED; what Redis says when it cannot be asked
   */
  async expirations(
    handler: (expiration: Expiration, context: MessageContext) => unknown,
    options: ExpirationOptions = {},
  ): Promise<ExpirationListener> {
    this.#checkOpen();
    mustBeFunction('expirations', handler);
    const parts = {
      connections: this.#connections,
      log: this.#log,
      onClose: (closed: Stoppable) => this.#open.delete(closed),
    };
    const expirations = new Expirations(parts, handler, options);
    this.#open.add(expirations);
    await expirations.open();
    return expirations;
  }

  /**
   * Closes all that listens, and tells those who wait for an answer CLOSED. Safe twice.
   *
   * @example
   * await pubsub.stop();
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#requests.stop();
    await Promise.all([...this.#open].map((listener) => listener.stop()));
    this.#guard.close();
  }

  #subscribe(what: Topic | string, handler: Handler, options: SubscribeOptions): TopicSubscription {
    this.#checkOpen();
    mustBeFunction('subscribe', handler);
    const checked = checkOptions(subscribeSchema, options, 'subscribe');
    const targets = typeof what === 'string' ? this.#known(what) : [topicParts(what)];
    const name = typeof what === 'string' ? what : (targets[0]?.segments.join('.') ?? '');
    const plain = targets.find(({ contract }) => !contract.reliable);
    if (plain && (checked.onOverflow === 'catch-up' || checked.from !== 'now')) throw notReliable(plain.contract.name);
    if (targets.length > 1 && checked.from !== 'now' && checked.from !== 'start') {
      throw new MillraceError(
        'OPTIONS_INVALID',
        `subscribe ${name}: a position is that of one definition, and ${targets.length} fit`,
        { name },
      );
    }
    const subscription = new TopicSubscription({
      name,
      options: checked,
      handler,
      clock: this.#clock,
      log: this.#log,
      targets: targets.map(({ contract, segments }) => ({ channel: this.#channels.of(contract), pattern: segments })),
      onClose: (closed) => {
        this.#open.delete(closed);
        this.#channels.closeUnused();
      },
    });
    if (!subscription.isEnded) this.#open.add(subscription);
    return subscription;
  }

  #known(pattern: string): Array<{ contract: TopicContract; segments: readonly string[] }> {
    const segments = parsePattern(pattern);
    const fitting = this.#topics.filter((contract) => overlaps(segments, contract));
    if (fitting.length > 0) return fitting.map((contract) => ({ contract, segments }));
    const known = this.#topics.map(({ name }) => name).join(', ');
    throw new MillraceError(
      'OPTIONS_INVALID',
      `subscribe: no known topic fits ${pattern}; known are those in the option topics of pub/sub: ${known || 'none'}`,
      { pattern },
    );
  }

  #checkOpen(): void {
    if (this.#stopping) throw new MillraceError('CLOSED', 'the pub/sub has been stopped', {});
  }

  async #say(contract: TopicContract, message: string): Promise<{ receivers: number; position: undefined }> {
    const receivers = await this.#speaker.say(topicKeys(this.#keys, contract.name).channel, message);
    return { receivers, position: undefined };
  }

  #keep(
    contract: TopicContract,
    { keep, ageMs }: NonNullable<TopicContract['reliable']>,
    topic: string,
    echo: string | undefined,
    body: string,
  ): Promise<{ receivers: number; position: string }> {
    const { channel, ...keys } = topicKeys(this.#keys, contract.name);
    const args = { channel, publishVerb: this.#speaker.verb, topic, echo: echo ?? NONE, body, keep, ageMs };
    return this.#speaker.ask(() => publishScript(this.#connections.commands(), keys, args));
  }
}

function notReliable(name: string): MillraceError {
  const message = `subscribe ${name}: from and catch-up are for reliable topics, and this one keeps no messages`;
  return new MillraceError('OPTIONS_INVALID', message, { topic: name });
}

function mustBeFunction(owner: string, handler: unknown): void {
  if (typeof handler === 'function') return;
  throw new MillraceError('OPTIONS_INVALID', `${owner}: expected a function, got ${describeValue(handler)}`, {});
}
