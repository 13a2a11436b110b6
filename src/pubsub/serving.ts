/**
 * Serves the requests of a topic: of all processes that do, the first to claim a request handles it.
 *
 * A process claims only what it can begin at once, so that a busy one leaves requests to others. A request whose caller has given up is not
 * begun.
 */
import { withDeadline, type Clock } from '../clock.ts';
import { describeError } from '../describe-error.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { encodePayload, parseWith } from '../payload.ts';
import { Broadcast } from '../redis/broadcast.ts';
import { Delivery } from './delivery.ts';
import { MOST_HEAD_CHARS, readBody, readEnvelope, type Envelope } from './envelope.ts';
import { LONGEST_REQUEST_MS, type ParsedServeOptions } from './options.ts';
import type { ServeOutcome, TopicMeter } from './pubsub-metrics.ts';
import { inboxOf, offerKey, requestChannel, writeAnswer, type Answer } from './requests.ts';
import type { Speaker } from './speaker.ts';
import type { TopicMessage } from './subscription.ts';
import { segmentsOf, topicParts, valuesOf, ANY, type Topic, type TopicContract } from './topic.ts';

/** What a handler of requests gets beside the request. */
export interface RequestContext {
  /** Aborts when the caller has given up, or serving ends. */
  readonly signal: AbortSignal;
}

/** What serves. */
export interface Serving {
  /** Whether every request arrives now. */
  readonly isLive: boolean;
  /** Resolves once requests are heard. @throws MillraceError CLOSED when it was closed before. */
  ready(): Promise<void>;
  /** Takes no more requests; resolves when those under way are answered, or after 5 s. Safe twice. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Answers a request. */
export type RequestHandler = (request: TopicMessage, context: RequestContext) => unknown;

interface Waiting {
  readonly envelope: Envelope;
  readonly cameAtMs: number;
}

const CLOSE_WITHIN_MS = 5_000;

/** Serves one topic. */
export class TopicServing implements Serving {
  readonly #contract: TopicContract;
  readonly #segments: readonly string[];
  readonly #handler: RequestHandler;
  readonly #speaker: Speaker;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #meter: TopicMeter;
  readonly #delivery: Delivery<Waiting | undefined>;
  readonly #broadcast: Broadcast;
  readonly #underWay = new Set<AbortController>();
  readonly #onClose: (serving: TopicServing) => void;
  readonly #signal: AbortSignal | undefined;
  #ending: Promise<void> | undefined;
  #isRefusalTold = false;

  constructor(
    topic: Topic,
    handler: RequestHandler,
    { concurrency, queue, signal }: ParsedServeOptions,
    parts: { speaker: Speaker; clock: Clock; log: Logger; onClose: (serving: TopicServing) => void },
  ) {
    const { contract, segments } = topicParts(topic);
    this.#contract = contract;
    this.#segments = segments;
    this.#handler = handler;
    this.#speaker = parts.speaker;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#onClose = parts.onClose;
    this.#meter = parts.speaker.meterOf(contract.name);
    this.#delivery = new Delivery({
      size: queue,
      concurrency,
      onOverflow: 'drop-oldest',
      handle: (waiting) => waiting && this.#handle(waiting),
      dropped: (count) => this.#onDropped(count),
      onClose: () => undefined,
    });
    const channel = requestChannel(parts.speaker, contract.name);
    const listener = { onMessage: (text: string) => this.#onRequest(text) };
    this.#broadcast = new Broadcast(channel, parts.speaker.connections, parts.log, listener, { sharded: true });
    void this.#broadcast.open();
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) void this.close();
  }

  get isLive(): boolean {
    return this.#broadcast.isLive;
  }

  async ready(): Promise<void> {
    await this.#broadcast.open();
    if (this.#ending) throw new MillraceError('CLOSED', `serving ${this.#contract.name} has ended`, {});
  }

  close(): Promise<void> {
    this.#ending ??= this.#close();
    return this.#ending;
  }

  /** As close(), by whoever made it. */
  stop(): Promise<void> {
    return this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onAbort = (): void => void this.close();

  async #close(): Promise<void> {
    const { name } = this.#contract;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#broadcast.close();
    const idle = this.#delivery.close();
    await withDeadline(idle, CLOSE_WITHIN_MS, () => new MillraceError('CLOSED', 'a handler goes on', {})).catch(
      (error: unknown) => this.#log.warn({ err: error, topic: name }, 'a request is handled on though serving ended'),
    );
    for (const gone of this.#underWay) gone.abort(new MillraceError('CLOSED', `serving ${name} has ended`, {}));
    this.#onClose(this);
  }

  #onRequest(text: string): void {
    const envelope = text.length <= this.#contract.maxBytes + MOST_HEAD_CHARS ? readEnvelope(text) : undefined;
    const segments = envelope && segmentsOf(this.#contract, envelope.topic);
    if (!envelope || !segments) return this.#meter.served('refused');
    if (!this.#segments.every((wanted, index) => wanted === ANY || wanted === segments[index])) return;
    this.#delivery.push({ envelope, cameAtMs: this.#clock.monotonicMs() });
  }

  #onDropped(count: number): undefined {
    this.#log.warn({ topic: this.#contract.name, count }, 'requests found the queue full');
  }

  /** Never rejects. */
  async #handle({ envelope, cameAtMs }: Waiting): Promise<void> {
    let outcome: ServeOutcome | undefined;
    try {
      outcome = await this.#serve(envelope, cameAtMs);
    } catch (error) {
      outcome = 'failed';
      this.#log.warn({ err: error, topic: envelope.topic }, 'a request was not answered');
    }
    if (outcome) this.#meter.served(outcome);
  }

  /** @returns undefined when another process handles it. */
  async #serve({ topic, body }: Envelope, cameAtMs: number): Promise<ServeOutcome | undefined> {
    const { meta, data } = readBody(body);
    const { id, origin, withinMs = 0 } = meta;
    if (withinMs > LONGEST_REQUEST_MS) return this.#refuse(topic);
    const untilMs = cameAtMs + withinMs;
    if (untilMs <= this.#clock.monotonicMs()) return 'expired';
    if (!(await this.#claim(id))) return undefined;
    const leftMs = untilMs - this.#clock.monotonicMs(); // Redis may have taken its time.
    if (leftMs <= 0) return 'expired';
    const gone = new AbortController();
    const deadline = setTimeout(
      () => gone.abort(new MillraceError('REQUEST_TIMEOUT', `${topic}: its caller waits no more`, { topic, id })),
      leftMs,
    ).unref();
    this.#underWay.add(gone);
    let json: string;
    try {
      const { headers, sentAt } = meta;
      const head = { topic, values: valuesOf(this.#contract, topic), id, origin, sentAt, headers, position: undefined };
      const read = await parseWith(this.#contract.schema, data, `a request of ${this.#contract.name}`);
      json = await this.#encode(await this.#handler({ ...head, data: read }, { signal: gone.signal }));
    } catch (error) {
      const { name, message, code } = describeError(error);
      this.#log.debug({ err: error, topic, id }, 'a request failed');
      await this.#answer(origin, { id, failure: { name, message: message.slice(0, 250), code } });
      return 'failed';
    } finally {
      clearTimeout(deadline);
      this.#underWay.delete(gone);
    }
    // Whatever becomes of it: the request has not failed.
    await this.#answer(origin, { id, json });
    return 'answered';
  }

  /** Whoever takes the offer away handles the request; Redis has let it run out when the caller waits no more. */
  async #claim(id: string): Promise<boolean> {
    const { connections } = this.#speaker;
    const key = offerKey(this.#speaker, this.#contract.name, id);
    return (await this.#speaker.ask(() => connections.commands().del(key))) === 1;
  }

  /** No caller waits that long, so somebody has made it up; of the first one people are told. */
  #refuse(topic: string): 'refused' {
    const level = this.#isRefusalTold ? 'debug' : 'warn';
    this.#isRefusalTold = true;
    this.#log[level]({ topic }, 'a request that waits for longer than any may was refused');
    return 'refused';
  }

  async #encode(answer: unknown): Promise<string> {
    const { reply, name, maxBytes } = this.#contract;
    const what = `the answer of ${name}`;
    return encodePayload(answer ?? null, { schema: reply ?? ANYTHING, contract: name, what, maxBytes });
  }

  async #answer(origin: string, answer: Answer): Promise<void> {
    await this.#speaker.say(inboxOf(this.#speaker, origin), writeAnswer(answer));
  }
}

const ANYTHING: NonNullable<TopicContract['reply']> = {
  '~standard': { version: 1, vendor: 'millrace', validate: (value) => ({ value }) },
};
