/**
 * A topic: the name of what is said, the schema of it, and how it is kept. Shared by those who publish and those who listen.
 *
 * A name has segments with dots between them; `*` stands for one segment that each message names, such as the id of an order. What a
 * message names may come from users: it is percent-encoded, so that `a.b`, `*` or `{x}` is one segment like any other and never a pattern.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption, type Schema, schemaOption } from '../schema.ts';

/** What may stand for a `*`. */
export type SegmentValue = string | number;

/** One value for each `*` of the name. */
export type SegmentValues<Name extends string, Value = SegmentValue> = string extends Name
  ? Value[]
  : Name extends `${infer Head}.${infer Tail}`
    ? [...SegmentValues<Head, Value>, ...SegmentValues<Tail, Value>]
    : Name extends '*'
      ? [Value]
      : [];

/** How a reliable topic is kept for those who were away. */
export interface ReliableOptions {
  /** The last so many messages of all that the definition names, in Redis' memory. Default 1,000. Who missed more is told of a gap. */
  keep?: number | undefined;
  /** And none that is older. Default `1h`. */
  age?: Duration | undefined;
}

/** Options of a topic. */
export interface TopicOptions<Name extends string, Data extends StandardSchemaV1, Reply extends StandardSchemaV1> {
  /** Such as `orders.*.status`: segments of letters, digits, `_` and `-`, or `*`; the first one begins with a letter. */
  name: Name;
  /** The schema of the data: zod, valibot, arktype, or any other that follows Standard Schema. Checked when it is published and by each subscriber. */
  schema: Data;
  /** The schema of what those answer who serve it. Default: whatever has a JSON form. */
  reply?: Reply | undefined;
  /** Keep messages, so that a subscriber who was away misses none. Default `false`: who is away misses what is said meanwhile. */
  reliable?: ReliableOptions | boolean | undefined;
  /** The most bytes of JSON that a message may have, larger ones are refused on both sides. Default 64 KiB. */
  maxBytes?: number | undefined;
}

/** A topic, checked and frozen. `Input` is what is published, `Data` what subscribers get, `Answer` what a handler returns. */
export interface TopicContract<
  Input = unknown,
  Data = unknown,
  Name extends string = string,
  Answer = unknown,
  Reply = unknown,
> {
  readonly name: Name;
  readonly segments: readonly string[];
  readonly schema: Schema<Input, Data>;
  readonly reply: Schema<Answer, Reply> | undefined;
  readonly reliable: { readonly keep: number; readonly ageMs: number } | undefined;
  readonly maxBytes: number;
  /**
   * The topic with a value for each `*`, in order; to subscribe, one may be left open with `every`.
   *
   * @example
   * await pubsub.publish(orderStatus.at('42'), { status: 'paid' });
   * @throws MillraceError KEY_INVALID for a value that is empty, too long or no text; OPTIONS_INVALID for too few or too many.
   */
  at(...values: SegmentValues<Name, SegmentValue | typeof EVERY>): TopicAt<Input, Data, Name, Answer, Reply>;
  /**
   * Leaves a `*` open when it is given to at(). A value that is missing does not: a subscription with no user's id is not one to all users.
   *
   * @example
   * pubsub.subscribe(roomMessages.at('room-1', roomMessages.every), show);
   */
  readonly every: typeof EVERY;
}

/** A topic with values for its `*`. */
export interface TopicAt<
  Input = unknown,
  Data = unknown,
  Name extends string = string,
  Answer = unknown,
  Reply = unknown,
> {
  readonly contract: TopicContract<Input, Data, Name, Answer, Reply>;
  /** Encoded; `*` where it was left open. */
  readonly segments: readonly string[];
}

/** Both of them. */
export type Topic<Input = unknown, Data = unknown, Name extends string = string, Answer = unknown, Reply = unknown> =
  | TopicContract<Input, Data, Name, Answer, Reply>
  | TopicAt<Input, Data, Name, Answer, Reply>;

/** What {@link TopicContract.every} is: no value that a user could have chosen, or that is missing by mistake, is the same. */
export const EVERY: unique symbol = Symbol('every');

/** Stands for one segment. */
export const ANY = '*';
/** As the last segment of a pattern, for one or more of them. */
export const REST = '>';

const DEFAULT_MAX_BYTES = 64 * 1_024;
const LONGEST_SEGMENT = 512;
/** Headers and what else stands before the data must fit beside it; see MOST_HEAD_CHARS. */
const LONGEST_TOPIC = 8_192;
const NAME = /^[a-z][\w-]*(?:\.(?:[\w-]+|\*))*$/i;
/** What stands in one segment of a message's topic. */
const SEGMENT = /^(?:[\w-]|%[0-9A-F]{2})+$/;
const DEFAULT_RELIABLE = { keep: 1_000, age: 3_600_000 };

const reliableOption = z.union([
  z.boolean().transform((isReliable) => (isReliable ? DEFAULT_RELIABLE : undefined)),
  z.strictObject({
    keep: z.int().min(1).max(1_000_000).default(DEFAULT_RELIABLE.keep),
    age: durationOption.refine((ms) => ms >= 1_000, 'expected at least 1 s').default(DEFAULT_RELIABLE.age),
  }),
]);
const topicSchema = z.strictObject({
  name: z
    .string()
    .max(100)
    .regex(NAME, { error: "expected segments of letters, digits, '_' and '-', or '*', with dots between them" }),
  schema: schemaOption,
  reply: schemaOption.optional(),
  reliable: reliableOption.optional(),
  maxBytes: z.int().min(1).max(8_388_608).default(DEFAULT_MAX_BYTES),
});

/**
 * A topic.
 *
 * @example
 * export const orderStatus = defineTopic({
 *   name: 'orders.*.status',
 *   schema: z.object({ status: z.enum(['paid', 'shipped']) }),
 *   reliable: { keep: 1_000, age: '1h' },
 * });
 * @throws MillraceError OPTIONS_INVALID, with every fault.
 */
export function defineTopic<
  const Name extends string,
  Data extends StandardSchemaV1,
  Reply extends StandardSchemaV1 = Schema,
>(
  options: TopicOptions<Name, Data, Reply>,
): TopicContract<
  StandardSchemaV1.InferInput<Data>,
  StandardSchemaV1.InferOutput<Data>,
  Name,
  StandardSchemaV1.InferInput<Reply>,
  StandardSchemaV1.InferOutput<Reply>
> {
  const given: unknown = (options as { name?: unknown } | undefined)?.name;
  const checked = checkOptions(topicSchema, options, `defineTopic${typeof given === 'string' ? ` ${given}` : ''}`);
  const { name, reliable, maxBytes } = checked;
  const segments = Object.freeze(name.split('.'));
  const contract: TopicContract = Object.freeze({
    name,
    segments,
    schema: checked.schema,
    reply: checked.reply,
    reliable: reliable && Object.freeze({ keep: reliable.keep, ageMs: reliable.age }),
    maxBytes,
    every: EVERY,
    at: (...values: Array<SegmentValue | typeof EVERY>): TopicAt =>
      Object.freeze({ contract, segments: Object.freeze(fillIn(name, segments, values)) }),
  });
  return contract as never;
}

/** Whether defineTopic() has made it. */
export function isContract(value: unknown): value is TopicContract {
  return typeof value === 'object' && value !== null && 'every' in value && value.every === EVERY;
}

/** The definition, and the segments that are asked for. @throws MillraceError OPTIONS_INVALID for what defineTopic() did not make. */
export function topicParts(topic: Topic): TopicAt {
  if (topic !== null && typeof topic === 'object') {
    if ('contract' in topic) return topic;
    if (isContract(topic)) return { contract: topic, segments: topic.segments };
  }
  throw new MillraceError('OPTIONS_INVALID', `expected a topic of defineTopic(), got ${describeValue(topic)}`, {});
}

/** What is published to. @throws MillraceError OPTIONS_INVALID while a `*` has no value; KEY_INVALID where they are too long together. */
export function concreteTopic(topic: Topic): { contract: TopicContract; text: string } {
  const { contract, segments } = topicParts(topic);
  if (!segments.includes(ANY)) {
    const text = segments.join('.');
    if (text.length <= LONGEST_TOPIC) return { contract, text };
    const message = `topic ${contract.name}: its values have more than ${LONGEST_TOPIC} characters together`;
    throw new MillraceError('KEY_INVALID', message, { topic: contract.name });
  }
  throw new MillraceError(
    'OPTIONS_INVALID',
    `topic ${contract.name}: name a value for each * with at(), got ${segments.join('.')}`,
    { topic: contract.name },
  );
}

/** The segments of a message's topic if it is one that the definition names; undefined for all others. */
export function segmentsOf(contract: TopicContract, text: string): string[] | undefined {
  const segments = text.split('.');
  if (segments.length !== contract.segments.length) return undefined;
  const fits = contract.segments.every((expected, index) => {
    const came = segments[index] ?? '';
    return expected === ANY ? SEGMENT.test(came) : came === expected;
  });
  return fits ? segments : undefined;
}

/** What was given for each `*`. @throws URIError for what at() has not made. */
export function valuesOf(contract: TopicContract, text: string): string[] {
  const segments = text.split('.');
  return contract.segments.flatMap((expected, index) =>
    expected === ANY ? [decodeURIComponent(segments[index] ?? '')] : [],
  );
}

/** The segments of a pattern such as `orders.*.status` or `orders.>`. @throws MillraceError OPTIONS_INVALID */
export function parsePattern(pattern: string): string[] {
  const segments = pattern.split('.');
  const isPattern = segments.every(
    (segment, index) =>
      segment === ANY || SEGMENT.test(segment) || (segment === REST && index === segments.length - 1 && index > 0),
  );
  if (isPattern) return segments;
  const form = "segments with dots between them, '*' for any one, and '>' at the end for one or more";
  throw new MillraceError('OPTIONS_INVALID', `subscribe: expected ${form}, got ${describeValue(pattern)}`, { pattern });
}

/** Whether some message of the definition fits the pattern. */
export function overlaps(pattern: readonly string[], { segments }: TopicContract): boolean {
  const hasRest = pattern.at(-1) === REST;
  const fixed = hasRest ? pattern.slice(0, -1) : pattern;
  if (hasRest ? segments.length < pattern.length : segments.length !== pattern.length) return false;
  return fixed.every((wanted, index) => wanted === ANY || segments[index] === ANY || segments[index] === wanted);
}

function fillIn(
  name: string,
  segments: readonly string[],
  values: ReadonlyArray<SegmentValue | typeof EVERY>,
): string[] {
  const stars = segments.filter((segment) => segment === ANY).length;
  if (values.length !== stars) {
    throw new MillraceError('OPTIONS_INVALID', `topic ${name}: expected ${stars} values, got ${values.length}`, {
      name,
    });
  }
  let next = 0;
  return segments.map((segment) => {
    if (segment !== ANY) return segment;
    const value = values[next++] as SegmentValue | typeof EVERY;
    return value === EVERY ? ANY : encodeSegment(name, value);
  });
}

function encodeSegment(topic: string, value: SegmentValue): string {
  const encoded = tryEncode(Number.isFinite(value) ? String(value) : value);
  if (encoded !== undefined) return encoded;
  throw new MillraceError(
    'KEY_INVALID',
    `topic ${topic}: expected a number or text of 1 to ${LONGEST_SEGMENT} characters, got ${describeValue(value)}`,
    { topic },
  );
}

function tryEncode(value: unknown): string | undefined {
  // Half of a surrogate pair has no UTF-8: two different ones would become one segment.
  if (typeof value !== 'string' || value === '' || /\p{Surrogate}/u.test(value)) return undefined;
  const encoded = encodeURIComponent(value).replaceAll(/[.!~*'()]/g, (char) => `%${hex(char)}`);
  return encoded.length > LONGEST_SEGMENT ? undefined : encoded;
}

function hex(char: string): string {
  return char.charCodeAt(0).toString(16).toUpperCase();
}
