/**
 * What one process hears of one definition: one channel, whoever in the process listens to which of its topics.
 *
 *   reliable:  starting --last position--> in step <--all that was missed-- following
 *                                             '------a gap, or live again------^
 *
 * Promise: listeners hear messages in the order of Redis. Of a plain topic they are told when some may have been missed, because the
 * connection was away. Of a reliable one each message names the one before it; what is missing is read from the ring before anything later
 * is heard, and what the ring has no more is told of.
 */
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { comparePositions, MOST_HEAD_CHARS, readEnvelope, type Envelope, type Position } from './envelope.ts';
import { followRing, persistently } from './follow-ring.ts';
import type { TopicMeter } from './pubsub-metrics.ts';
import { Ring, topicKeys, type Missing } from './ring.ts';
import { segmentsOf, type TopicContract } from './topic.ts';
import { TopicTrie } from './trie.ts';

/** Whoever listens to some topics of a definition. */
export interface TopicListener {
  hear(message: Envelope): void;
  /** Messages may have been missed while the connection was away. */
  onAway(): void;
  /** Messages that are kept no more. */
  onMissing(missing: Missing): void;
}

/** What all channels of a process share. */
export interface ChannelParts {
  readonly connections: Pick<Connections, 'commands' | 'subscriber'>;
  readonly keys: KeySpace;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Logger;
  /** This process. */
  readonly origin: string;
}

/** A message that says that it stands further ahead of our clock is believed only if the ring has it. */
const MOST_AHEAD_MS = 5_000;

/** The channel of a definition. */
export class TopicChannel {
  readonly contract: TopicContract;
  /** Of a reliable topic. */
  readonly ring: Ring | undefined;
  readonly meter: TopicMeter;
  readonly #parts: ChannelParts;
  readonly #broadcast: Broadcast;
  readonly #trie = new TopicTrie<TopicListener>();
  readonly #listeners = new Set<TopicListener>();
  readonly #closing = new AbortController();
  #opening: Promise<void> | undefined;
  #wasLive = false;
  /** How far it has heard; undefined until it knows. */
  #position: Position | undefined;
  #isFollowing = false;
  /** The last message that was heard of while it followed. */
  #heard: Position = '';
  #mustFollowAgain = false;
  #isRefusalTold = false;

  constructor(contract: TopicContract, meter: TopicMeter, parts: ChannelParts) {
    this.contract = contract;
    this.meter = meter;
    this.#parts = parts;
    const { ring, last, channel } = topicKeys(parts.keys, contract.name);
    if (contract.reliable) {
      this.ring = new Ring(parts.connections, parts.guard, { ring, last }, contract.maxBytes, () =>
        this.#refuse('envelope'),
      );
    }
    const listener = { onMessage: (text: string) => this.#onMessage(text), onLive: () => this.#onLive() };
    this.#broadcast = new Broadcast(channel, parts.connections, parts.log, listener, { sharded: true });
  }

  /** How far it has heard of a reliable topic. */
  get position(): Position {
    return this.#position ?? '';
  }

  get isLive(): boolean {
    return this.#broadcast.isLive;
  }

  get isUnused(): boolean {
    return this.#listeners.size === 0;
  }

  /** Whether the process that said it does not want to hear it, and is this one. */
  isOwn({ echo }: Envelope): boolean {
    return echo === this.#parts.origin;
  }

  /** Larger than the definition lets any be. */
  isTooLarge({ body }: Envelope): boolean {
    return body.length > this.contract.maxBytes + MOST_HEAD_CHARS;
  }

  add(pattern: readonly string[], listener: TopicListener): void {
    this.#listeners.add(listener);
    this.#trie.add(pattern, listener);
  }

  remove(pattern: readonly string[], listener: TopicListener): void {
    this.#listeners.delete(listener);
    this.#trie.remove(pattern, listener);
  }

  /** Resolves once everything that is said from now on is heard, or when it is closed. */
  open(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  close(): void {
    this.#closing.abort();
    this.#broadcast.close();
  }

  async #open(): Promise<void> {
    await this.#broadcast.open();
    const { ring } = this;
    if (!ring || this.#closing.signal.aborted) return;
    this.#isFollowing = true;
    const last = await persistently(this.#waits, () => ring.last());
    this.#position = last ?? '';
    this.#isFollowing = false;
    // What was said since may have come before the answer, and nothing may come after it.
    if (this.#mustFollowAgain || comparePositions(this.#heard, this.#position) > 0) void this.#follow();
  }

  get #waits(): { clock: Clock; log: Logger; signal: AbortSignal } {
    return { clock: this.#parts.clock, log: this.#parts.log, signal: this.#closing.signal };
  }

  #onMessage(text: string): void {
    const message = readEnvelope(text);
    if (!message) return this.#refuse('envelope');
    const { position, before } = message;
    this.meter.received();
    if (!this.ring || position === undefined || before === undefined) return this.#dispatch(message);
    if (this.#isFollowing || this.#position === undefined) {
      if (comparePositions(position, this.#heard) > 0) this.#heard = position;
      else this.#mustFollowAgain = true; // What was heard of may be made up, and this one be missing from what is read.
      return;
    }
    if (comparePositions(position, this.#position) <= 0) return; // It was in the ring already.
    // A position that somebody has made up would have all that is said until then count as heard already, so the ring is asked.
    if (before !== this.#position || Number.parseInt(position, 10) > this.#parts.clock.wallMs() + MOST_AHEAD_MS) {
      this.#heard = position;
      void this.#follow();
      return;
    }
    this.#position = position;
    this.#dispatch(message);
  }

  #onLive(): void {
    const isAgain = this.#wasLive;
    this.#wasLive = true;
    if (!isAgain) return;
    if (this.ring) void this.#follow();
    else for (const listener of this.#listeners) listener.onAway();
  }

  async #follow(): Promise<void> {
    const { ring } = this;
    if (!ring) return;
    if (this.#isFollowing || this.#position === undefined) {
      this.#mustFollowAgain = true;
      return;
    }
    this.#isFollowing = true;
    do {
      this.#mustFollowAgain = false;
      await followRing(
        {
          ...this.#waits,
          ring,
          target: () => this.#heard,
          hasRoom: () => Promise.resolve(),
          take: (message) => this.#takeFromRing(message),
          onMissing: (missing) => {
            for (const listener of this.#listeners) listener.onMissing(missing);
          },
          onMoved: (cursor) => (this.#position = cursor),
          onDone: () => {
            this.#isFollowing = this.#mustFollowAgain;
            this.#heard = this.position; // What was heard of and is not there is not waited for again.
          },
        },
        this.#position,
      );
    } while (this.#mustFollowAgain && !this.#closing.signal.aborted);
  }

  #takeFromRing(message: Envelope): boolean {
    if (message.position !== undefined) this.#position = message.position;
    this.#dispatch(message);
    return true;
  }

  #dispatch(message: Envelope): void {
    const segments = segmentsOf(this.contract, message.topic);
    if (!segments) return this.#refuse('topic');
    if (this.isTooLarge(message)) return this.#refuse('size');
    if (this.isOwn(message)) return;
    for (const listener of this.#trie.match(segments)) listener.hear(message);
  }

  /** Whoever may PUBLISH can say anything; of the first such message people are told. */
  #refuse(reason: 'envelope' | 'size' | 'topic'): void {
    this.meter.refused(reason);
    const level = this.#isRefusalTold ? 'debug' : 'warn';
    this.#isRefusalTold = true;
    this.#parts.log[level]({ topic: this.contract.name, reason }, 'a message that is none was refused');
  }
}
