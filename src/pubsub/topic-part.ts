/**
 * What one subscription hears of one definition.
 *
 *   in step with the channel --no room in the queue--> behind --has read all that the channel has heard--> in step
 *
 * One that begins at an earlier position begins behind. While it is behind it hears nothing of the channel: it reads the ring at its own
 * pace, so that what waits for its handler is bounded by its queue.
 */
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import { comparePositions, type Envelope, type Position } from './envelope.ts';
import { followRing } from './follow-ring.ts';
import type { GapReason } from './pubsub-metrics.ts';
import type { Missing } from './ring.ts';
import type { TopicChannel, TopicListener } from './topic-channel.ts';
import { ANY, REST, segmentsOf } from './topic.ts';

/** What it needs. */
export interface TopicPartOptions {
  readonly channel: TopicChannel;
  readonly pattern: readonly string[];
  /** `now`, `start`, or a position. */
  readonly from: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** @returns false when there was no room. */
  push(message: Envelope): boolean;
  hasRoom(): Promise<void>;
  room(): number;
  onGap(reason: GapReason, missing: { from?: string | undefined; to?: string | undefined }): void;
}

/** Hears one definition for a subscription. */
export class TopicPart implements TopicListener {
  readonly #options: TopicPartOptions;
  /** What it has read itself, and so does not take from the channel; `''` when it has read nothing. */
  #cursor: Position = '';
  #isBehind: boolean;

  constructor(options: TopicPartOptions) {
    this.#options = options;
    this.#isBehind = options.channel.ring !== undefined && options.from !== 'now';
    options.channel.add(options.pattern, this);
  }

  /** Resolves once all that is said from now on is heard, or will be read. */
  async open(): Promise<void> {
    const { channel, from, signal } = this.#options;
    await channel.open();
    if (this.#isBehind && !signal.aborted) void this.#catchUp(from === 'start' ? undefined : from);
  }

  close(): void {
    const { channel, pattern } = this.#options;
    channel.remove(pattern, this);
  }

  hear(message: Envelope): void {
    if (this.#isBehind) return;
    const { position, before } = message;
    if (position !== undefined && comparePositions(position, this.#cursor) <= 0) return;
    if (this.#options.push(message) || before === undefined) return;
    this.#isBehind = true;
    void this.#catchUp(comparePositions(before, this.#cursor) > 0 ? before : this.#cursor);
  }

  onAway(): void {
    this.#options.onGap('connection', {});
  }

  onMissing(missing: Missing): void {
    if (!this.#isBehind) this.#options.onGap('expired', missing);
  }

  async #catchUp(from: Position | undefined): Promise<void> {
    const options = this.#options;
    const { channel, clock, log, signal } = options;
    const { ring } = channel;
    if (!ring) return;
    await followRing(
      {
        ring,
        clock,
        log,
        signal,
        target: () => channel.position,
        hasRoom: () => options.hasRoom(),
        pageSize: () => Math.max(1, options.room()),
        take: (message) => this.#take(message),
        onMissing: (missing) => options.onGap('expired', missing),
        // Of a position that the app has kept; where the channel has got to, it has heard all.
        onAhead: (after) => after === options.from && options.onGap('expired', { from: after }),
        onMoved: (cursor) => (this.#cursor = cursor),
        onDone: () => (this.#isBehind = false),
      },
      from,
    );
  }

  #take(message: Envelope): boolean {
    const { channel, pattern } = this.#options;
    const segments = segmentsOf(channel.contract, message.topic);
    if (!segments || !fits(pattern, segments) || channel.isOwn(message) || channel.isTooLarge(message)) return true;
    return this.#options.push(message);
  }
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  for (const [index, wanted] of pattern.entries()) {
    if (wanted === REST) return segments.length > index;
    if (wanted !== ANY && wanted !== segments[index]) return false;
  }
  return pattern.length === segments.length;
}
