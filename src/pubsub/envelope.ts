/**
 * What travels over a channel.
 *
 *   TOPIC \n POSITION BEFORE ECHO \n META \n DATA
 *
 * JSON holds no line breaks, so what decides whether a message is wanted at all stands in front and is read without parsing any.
 * POSITION and BEFORE are those of the message and of the one before it in the ring of a reliable topic, else `-`; ECHO is the
 * process that does not want to hear it itself, else `-`. META is `{"i":id,"o":origin,"t":ms,"h":headers}`.
 * Whoever may PUBLISH can say anything here, so nothing of it is believed.
 */
import { MillraceError } from '../errors.ts';

/** Where a message stands in the ring of its topic: `ms-n` by the server's clock. */
export type Position = string;

/** A message whose topic and place are read; the rest is text. */
export interface Envelope {
  readonly topic: string;
  /** Of reliable topics. */
  readonly position: Position | undefined;
  /** The message before it, or `''` for the first ever. */
  readonly before: Position | undefined;
  /** The process that is not to hear it. */
  readonly echo: string | undefined;
  /** META and DATA. */
  readonly body: string;
}

/** What a message says of itself. */
export interface Meta {
  readonly id: string;
  readonly origin: string;
  /** By the publisher's clock. */
  readonly sentAt: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Of a request. */
export interface RequestMeta extends Meta {
  readonly withinMs: number;
}

/** Stands where nothing does. */
export const NONE = '-';
const FIRST = '0';
/** The most that all but the data may take. */
export const MOST_HEAD_CHARS = 16_384;
const LONGEST_TEXT = 300;

/** The message of a topic that keeps none. */
export function writeEnvelope(topic: string, echo: string | undefined, body: string): string {
  return `${topic}\n${NONE} ${NONE} ${echo ?? NONE}\n${body}`;
}

/** META and DATA. */
export function writeBody(meta: Meta | RequestMeta, json: string): string {
  const { id, origin, sentAt, headers } = meta;
  const short = { i: id, o: origin, t: sentAt, h: hasKeys(headers) ? headers : undefined };
  return `${JSON.stringify('withinMs' in meta ? { ...short, w: meta.withinMs } : short)}\n${json}`;
}

/** The message in the text; undefined where it is none. */
export function readEnvelope(text: string): Envelope | undefined {
  const topicEnd = text.indexOf('\n');
  const placeEnd = text.indexOf('\n', topicEnd + 1);
  if (topicEnd < 1 || placeEnd < 0 || placeEnd > MOST_HEAD_CHARS) return undefined;
  const [position, before, echo, ...more] = text.slice(topicEnd + 1, placeEnd).split(' ');
  if (!position || !before || !echo || more.length > 0) return undefined;
  return ofRing(text.slice(0, topicEnd), position, before, echo, text.slice(placeEnd + 1));
}

/** The message of an entry of the ring; undefined where it is none. */
export function ofRing(
  topic: string,
  position: string,
  before: string,
  echo: string,
  body: string,
): Envelope | undefined {
  const isPlain = position === NONE && before === NONE;
  if (!isPlain && !(isPosition(position) && (before === FIRST || isPosition(before)))) return undefined;
  return {
    topic,
    position: isPlain ? undefined : position,
    before: isPlain ? undefined : before === FIRST ? '' : before,
    echo: echo === NONE ? undefined : echo,
    body,
  };
}

/** @throws MillraceError INPUT_INVALID where the body is none. */
export function readBody(body: string): { meta: Meta & { readonly withinMs: number | undefined }; data: unknown } {
  const metaEnd = body.indexOf('\n');
  const meta = metaEnd > 0 && metaEnd <= MOST_HEAD_CHARS ? parsed(body.slice(0, metaEnd)) : undefined;
  if (!isRecord(meta)) throw malformed('it does not say who sent it');
  const { i: id, o: origin, t: sentAt, h: headers = {}, w: withinMs } = meta;
  if (!isShortText(id) || !isShortText(origin) || !isCount(sentAt) || !(withinMs === undefined || isCount(withinMs))) {
    throw malformed('it does not say who sent it');
  }
  if (!isRecord(headers) || !Object.values(headers).every((value) => typeof value === 'string')) {
    throw malformed('its headers are no texts');
  }
  const data = parsed(body.slice(metaEnd + 1));
  if (data === undefined) throw malformed('its data is no JSON');
  return { meta: { id, origin, sentAt, headers: headers as Record<string, string>, withinMs }, data };
}

/** Whether the text is a position. */
export function isPosition(text: string): boolean {
  return /^\d{1,15}-\d{1,15}$/.test(text);
}

/** Below 0 where the left one is earlier; `''` is earlier than all. */
export function comparePositions(left: Position, right: Position): number {
  if (left === right) return 0;
  if (left === '' || right === '') return left === '' ? -1 : 1;
  const [leftMs = 0, leftNumber = 0] = left.split('-').map(Number);
  const [rightMs = 0, rightNumber = 0] = right.split('-').map(Number);
  return leftMs - rightMs || leftNumber - rightNumber;
}

/** What a process or a message may call itself. */
export function isShortText(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= LONGEST_TEXT;
}

/** Undefined where it is no JSON. */
export function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined; // The caller says what is wrong with it.
  }
}

/** An object that JSON has made, and no array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function hasKeys(headers: object): boolean {
  for (const key in headers) return key !== '';
  return false;
}

function malformed(reason: string): MillraceError {
  return new MillraceError('INPUT_INVALID', `a message is malformed: ${reason}`, { reason });
}
