/** The options of pub/sub, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { durationOption } from '../schema.ts';
import type { Duration } from '../durations.ts';
import { describeValue } from '../errors.ts';
import type { Logger } from '../log.ts';
import { OVERFLOW_POLICIES, type OverflowPolicy } from './delivery.ts';
import { isPosition } from './envelope.ts';
import type { PubSubMetricsRegistry } from './pubsub-metrics.ts';
import type { Gap } from './subscription.ts';
import { isContract, type TopicContract } from './topic.ts';

/** Options of the pub/sub of a process. */
export interface PubSubOptions {
  /** The first part of every key and channel. Default `millrace`. */
  prefix?: string | undefined;
  /** How long Redis may take for an answer. Default 2 s. Then publish() throws, and whether it was said is unknown. */
  deadline?: Duration | undefined;
  /** The topics that a pattern such as `orders.>` finds. Default none: subscribe to topics themselves. */
  topics?: readonly TopicContract[] | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: PubSubMetricsRegistry | undefined;
}

/** Options of a message. */
export interface PublishOptions {
  /** Subscribers of this process do not get it. Default false. */
  noEcho?: boolean | undefined;
  /** Short texts that travel beside the data; 4 KiB together. */
  headers?: Readonly<Record<string, string>> | undefined;
}

/** Options of a subscription. */
export interface SubscribeOptions {
  /** How many messages may wait for the handler. Default 1,000. More of them are memory, fewer overflow sooner. */
  queue?: number | undefined;
  /**
   * What becomes of what comes while the queue is full.
   * - `drop-oldest`: the oldest that waits is dropped. The default of plain topics.
   * - `drop-newest`: what comes is dropped.
   * - `close`: the subscription ends, and `closed` tells.
   * - `catch-up`: it is read again once there is room. For reliable topics only, whose default it is.
   */
  onOverflow?: OverflowPolicy | undefined;
  /** How many handlers run at once. Default 1: one after the other, in order. */
  concurrency?: number | undefined;
  /** Of a reliable topic: `now`, `start` for all that is kept, or the `position` of the last message that was handled. Default `now`. */
  from?: string | undefined;
  /** Told, in its place among the messages, when some were missed or may have been. */
  onGap?: ((gap: Gap) => unknown) | undefined;
  /** Closes the subscription. */
  signal?: AbortSignal | undefined;
}

/** Options of a request. */
export interface RequestOptions {
  /** How long to wait for the answer. Default 5 s; at most an hour. */
  timeout?: Duration | undefined;
  /** Ends the waiting. */
  signal?: AbortSignal | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
}

/** Options of serving requests. */
export interface ServeOptions {
  /** How many requests are handled at once. Default 16. What is beyond it waits, here or for another process that serves. */
  concurrency?: number | undefined;
  /** How many requests may wait. Default 1,000; then the oldest is dropped, whose caller meets its deadline. */
  queue?: number | undefined;
  signal?: AbortSignal | undefined;
}

const MOST_HEADER_CHARS = 4_096;
const MOST_QUEUED = 1_000_000;
/** No caller waits for longer. */
export const LONGEST_REQUEST_MS = 3_600_000;

const anObject = <T>(what: string): z.ZodType<T> =>
  z.custom<T>((value) => typeof value === 'object' && value !== null, `expected ${what}`);
export const signalOption = z
  .custom<AbortSignal>((value) => value instanceof AbortSignal, {
    error: ({ input }) => `expected an AbortSignal, got ${describeValue(input)}`,
  })
  .optional();
export const queueOption = z.int().min(1).max(MOST_QUEUED).default(1_000);
export const concurrencyOption = (byDefault: number): z.ZodDefault<z.ZodInt> =>
  z.int().min(1).max(10_000).default(byDefault);
const headersOption = z
  .record(z.string(), z.string())
  .refine((headers) => JSON.stringify(headers).length <= MOST_HEADER_CHARS, 'expected at most 4 KiB of headers')
  .default({});
const functionOption = z.custom<(gap: Gap) => unknown>((value) => typeof value === 'function', 'expected a function');

export const pubSubSchema = z.strictObject({
  prefix: z.string().optional(),
  deadline: durationOption.refine((ms) => ms >= 1, 'expected at least 1 ms').default(2_000),
  topics: z
    .array(z.custom<TopicContract>(isContract, 'expected a topic of defineTopic(), without at()'))
    .default([])
    .transform((topics) => [...new Set(topics)]),
  log: anObject<Logger>('a logger').optional(),
  clock: anObject<Clock>('a clock').optional(),
  metrics: anObject<PubSubMetricsRegistry>('a registry').optional(),
});

/** The options that an app gives, as the platform checks them. */
export const pubSubOptionsSchema = pubSubSchema.omit({ prefix: true, log: true, clock: true, metrics: true }).partial();

export const publishSchema = z.strictObject({ noEcho: z.boolean().default(false), headers: headersOption });

export const subscribeSchema = z.strictObject({
  queue: queueOption,
  onOverflow: z.enum(OVERFLOW_POLICIES).optional(),
  concurrency: concurrencyOption(1),
  from: z
    .string()
    .refine((from) => from === 'now' || from === 'start' || isPosition(from), {
      error: ({ input }) => `expected 'now', 'start' or the position of a message, got ${describeValue(input)}`,
    })
    .default('now'),
  onGap: functionOption.optional(),
  signal: signalOption,
});

/** A loop takes one message after the other. */
export const streamSchema = subscribeSchema.omit({ concurrency: true });

export const requestSchema = z.strictObject({
  timeout: durationOption.refine((ms) => ms >= 1 && ms <= LONGEST_REQUEST_MS, 'expected 1 ms to 1 h').default(5_000),
  signal: signalOption,
  headers: headersOption,
});

export const serveSchema = z.strictObject({
  concurrency: concurrencyOption(16),
  queue: queueOption,
  signal: signalOption,
});

/** Options of a subscription, as they are worked with. */
export type ParsedSubscribeOptions = z.output<typeof subscribeSchema>;
export type ParsedServeOptions = z.output<typeof serveSchema>;
