/**
 * Requests: a message that one of those who serve its topic answers.
 *
 *   request() --nobody serves--> NO_RESPONDER
 *      '--offered, and said on the topic's channel of requests--> claimed by one --answer on the caller's own channel--> resolved
 *                                                                                '--deadline--> REQUEST_TIMEOUT; a late answer is dropped
 *
 * Promise: a request is handled by one process at most, and is never sent twice. Whether it was handled is unknown after a
 * REQUEST_TIMEOUT.
 * Keys: `PREFIX:pubsub:{TOPIC}:offer:ID` STRING for as long as the caller waits, by the server's clock. Whoever deletes it handles the
 * request, so that of those who were frozen meanwhile, however long, none handles it again. A caller who gives up deletes it too.
 * The offer is no part of a script that says the request: while the slot moves to another node the key would be there already, and those
 * who serve would still listen here.
 */
import type { Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import { Dated, Deadlines } from '../redis/deadlines.ts';
import { encodePayload, parseWith } from '../payload.ts';
import { isRecord, isShortText, MOST_HEAD_CHARS, parsed, writeBody, writeEnvelope } from './envelope.ts';
import type { RequestOutcome } from './pubsub-metrics.ts';
import type { Speaker } from './speaker.ts';
import { concreteTopic, type Topic, type TopicContract } from './topic.ts';

/** What tells the channels of processes from those of topics, whose names begin with a letter. */
const INBOX_TAG = '~';

/** The answer of a handler. */
export interface Answer {
  readonly id: string;
  /** JSON, of a request that succeeded. */
  readonly json?: string;
  readonly failure?: { readonly name: string; readonly message: string; readonly code: string | undefined };
}

/** The channel on which a process hears answers. */
export function inboxOf({ keys }: Speaker, origin: string): string {
  return keys(INBOX_TAG + origin, 'inbox');
}

/** The channel on which requests of a topic are heard. */
export function requestChannel({ keys }: Speaker, name: string): string {
  return keys(name, 'requests');
}

/** The key that whoever deletes it may handle the request for. */
export function offerKey({ keys }: Speaker, name: string, id: string): string {
  return keys(name, 'offer', id);
}

/** `ID ok|failed JSON`, with a line break between them. */
export function writeAnswer({ id, json, failure }: Answer): string {
  return failure ? `${id}\nfailed\n${JSON.stringify(failure)}` : `${id}\nok\n${json ?? 'null'}`;
}

class Pending extends Dated {
  readonly id: string;
  readonly contract: TopicContract;
  readonly sentAtMs: number;
  readonly resolve: (json: string) => void;
  readonly reject: (error: Error) => void;
  /** Never rejects. */
  readonly send: (pending: Pending) => void;
  isSent = false;

  constructor(
    id: string,
    contract: TopicContract,
    sentAtMs: number,
    timeoutMs: number,
    send: (pending: Pending) => void,
    resolve: (json: string) => void,
    reject: (error: Error) => void,
  ) {
    super(sentAtMs + timeoutMs);
    this.id = id;
    this.contract = contract;
    this.sentAtMs = sentAtMs;
    this.send = send;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** Sends requests and waits for their answers. */
export class Requests {
  readonly #speaker: Speaker;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #inbox: Broadcast;
  readonly #pending = new Map<string, Pending>();
  readonly #deadlines: Deadlines<Pending>;
  #isStopped = false;

  constructor(speaker: Speaker, clock: Clock, log: Logger) {
    this.#speaker = speaker;
    this.#clock = clock;
    this.#log = log;
    const listener = { onMessage: (text: string) => this.#onAnswer(text), onLive: () => this.#sendWaiting() };
    this.#inbox = new Broadcast(inboxOf(speaker, speaker.origin), speaker.connections, log, listener, {
      sharded: true,
    });
    this.#deadlines = new Deadlines(clock, (pending) => this.#onLate(pending));
  }

  /** @throws MillraceError NO_RESPONDER, REQUEST_TIMEOUT, REQUEST_FAILED, INPUT_INVALID, PAYLOAD_TOO_LARGE, CLOSED; the reason of the signal */
  async request(
    topic: Topic,
    data: unknown,
    { timeout: timeoutMs, signal, headers }: { timeout: number; signal: AbortSignal | undefined; headers: object },
  ): Promise<unknown> {
    const { contract, text } = concreteTopic(topic);
    const what = `a request of ${contract.name}`;
    const json = await encodePayload(data, {
      schema: contract.schema,
      contract: contract.name,
      what,
      maxBytes: contract.maxBytes,
    });
    signal?.throwIfAborted();
    const startMs = this.#clock.monotonicMs();
    let answer: string;
    const id = this.#speaker.nextId();
    try {
      answer = await this.#answerTo(id, contract, startMs, timeoutMs, signal, async (pending) => {
        const offered = this.#offer(pending);
        // Commands to one server keep their order; on a Cluster the offer may go another way.
        if (this.#speaker.connections.topology === 'cluster') await offered;
        if (!this.#pending.has(id)) return; // It was given up meanwhile.
        const meta = { ...this.#speaker.meta(id, headers as Record<string, string>), withinMs: this.#leftMs(pending) };
        const message = writeEnvelope(text, undefined, writeBody(meta, json));
        const said = this.#speaker.say(requestChannel(this.#speaker, contract.name), message);
        const [heardBy] = await Promise.all([said, offered]);
        if (heardBy === 0) this.#fail(id, noResponder(contract));
      });
      const reply: unknown = JSON.parse(answer);
      const given = contract.reply ? await parseWith(contract.reply, reply, `the answer of ${contract.name}`) : reply;
      this.#count(contract, 'answered', startMs);
      return given;
    } catch (error) {
      this.#count(contract, outcomeOf(error), startMs);
      throw error;
    }
  }

  stop(): void {
    this.#isStopped = true;
    for (const pending of this.#deadlines.close()) {
      this.#withdraw(pending);
      pending.reject(closed());
    }
    this.#pending.clear();
    this.#inbox.close();
  }

  #answerTo(
    id: string,
    contract: TopicContract,
    startMs: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    send: (pending: Pending) => Promise<void>,
  ): Promise<string> {
    if (this.#isStopped) throw closed();
    let onAbort: (() => void) | undefined;
    const answer = new Promise<string>((resolve, reject) => {
      const attempt = (one: Pending): void => {
        one.isSent = true;
        send(one).catch((error: unknown) => this.#fail(id, error as Error));
      };
      const pending = new Pending(id, contract, startMs, timeoutMs, attempt, resolve, reject);
      onAbort = () => this.#fail(id, signal?.reason as Error);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, pending);
      this.#deadlines.add(pending);
      this.#speaker.connections.subscriber(); // Of connections that are closed nothing would ever be heard.
      if (this.#inbox.isLive) attempt(pending);
      else void this.#inbox.open(); // It is sent as soon as answers are heard.
    });
    return answer.finally(() => {
      if (onAbort) signal?.removeEventListener('abort', onAbort);
      this.#forget(id);
    });
  }

  #forget(id: string): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending) this.#deadlines.remove(pending);
  }

  #fail(id: string, error: Error): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#withdraw(pending);
    pending.reject(error);
  }

  #sendWaiting(): void {
    for (const pending of this.#pending.values()) if (!pending.isSent) pending.send(pending);
  }

  #leftMs({ atMs }: Pending): number {
    return Math.max(1, Math.round(atMs - this.#clock.monotonicMs()));
  }

  #offer(pending: Pending): Promise<unknown> {
    const { connections } = this.#speaker;
    const key = offerKey(this.#speaker, pending.contract.name, pending.id);
    return this.#speaker.ask(() => connections.commands().set(key, '1', 'PX', this.#leftMs(pending)));
  }

  /** Nobody is to begin it any more. Best effort: what cannot be withdrawn runs out by itself. */
  #withdraw({ id, contract, isSent }: Pending): void {
    if (!isSent) return;
    const key = offerKey(this.#speaker, contract.name, id);
    const onFailure = (error: unknown): void => this.#log.debug({ err: error, id }, 'a request was not withdrawn');
    this.#speaker.ask(() => this.#speaker.connections.commands().del(key)).catch(onFailure);
  }

  #onLate({ id, contract, sentAtMs, atMs, isSent }: Pending): void {
    const within = formatMs(atMs - sentAtMs);
    // Until answers are heard none is asked for.
    const what = isSent ? `no answer within ${within}` : `not sent within ${within}, because Redis cannot be reached`;
    const facts = { topic: contract.name, id, isSent };
    this.#fail(id, new MillraceError('REQUEST_TIMEOUT', `${contract.name}: ${what}`, facts));
  }

  /** Anybody may PUBLISH here: what is no answer to a request that waits is dropped. */
  #onAnswer(text: string): void {
    const [id = '', status = ''] = text.slice(0, 1_000).split('\n', 2);
    const pending = this.#pending.get(id);
    if (!pending) return this.#log.debug({ id: id.slice(0, 100) }, 'an answer came too late, or to nobody');
    const json = text.slice(id.length + status.length + 2);
    // Why it failed is told whatever the topic's limit is.
    const mostChars = status === 'ok' ? pending.contract.maxBytes : MOST_HEAD_CHARS;
    if (json.length > mostChars) return pending.reject(unreadable(pending.contract, 'it is too large'));
    const value = parsed(json);
    if (value === undefined) return pending.reject(unreadable(pending.contract, 'it is no JSON'));
    if (status === 'ok') return pending.resolve(json);
    pending.reject(failed(pending.contract, value));
  }

  #count(contract: TopicContract, outcome: RequestOutcome, startMs: number): void {
    this.#speaker.meterOf(contract.name).requested(outcome, this.#clock.monotonicMs() - startMs);
  }
}

function outcomeOf(error: unknown): RequestOutcome {
  const { code } = error as { code?: unknown };
  return code === 'NO_RESPONDER' ? 'no-responder' : code === 'REQUEST_TIMEOUT' ? 'timeout' : 'failed';
}

function noResponder({ name }: TopicContract): MillraceError {
  return new MillraceError('NO_RESPONDER', `${name}: nobody serves it now`, { topic: name });
}

function unreadable({ name }: TopicContract, reason: string): MillraceError {
  return new MillraceError('INPUT_INVALID', `the answer of ${name} cannot be read: ${reason}`, { topic: name });
}

/** What the handler threw, as far as it is told. */
function failed({ name }: TopicContract, told: unknown): MillraceError {
  const { name: kind, message, code } = isRecord(told) ? told : {};
  const said = isShortText(message) ? message : 'it did not say why';
  return new MillraceError('REQUEST_FAILED', `${name}: its handler failed: ${said}`, {
    topic: name,
    handlerError: isShortText(kind) ? kind : 'Error',
    handlerMessage: said,
    handlerCode: isShortText(code) ? code : undefined,
  });
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the pub/sub has been stopped', {});
}
