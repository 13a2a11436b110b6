/**
 * An entry as Redis keeps it.
 *
 *   data                      JSON, always and first
 *   headers                   JSON of texts by name, if it was published with some
 *   key                       the idempotency key, if it was published under one
 *   only, origin, redriven    of one that came back from the dead letters: the one group that it is for, the id that it was first published
 *                             under, and how often it came back
 *
 * The usual entry has one field, so reading it costs next to nothing. What other tools have put into the stream is read too: without `data` its
 * text is empty, which is no JSON, so that it becomes a dead letter instead of an endless retry.
 */

/** The names of the fields. */
export const ENTRY_FIELDS = {
  data: 'data',
  headers: 'headers',
  key: 'key',
  only: 'only',
  origin: 'origin',
  redriven: 'redriven',
} as const;

/** What a publisher may send beside the data. */
export type Headers = Readonly<Record<string, string>>;

/** An entry, with its data as it travelled. */
export interface RawEntry {
  /** Its id in the stream now. */
  readonly id: string;
  /** The id that it was first published under: the same after each redrive. */
  readonly originId: string;
  /** JSON; empty if there is none. */
  readonly data: string;
  readonly headers: Headers;
  /** The idempotency key that it was published under. */
  readonly key: string | undefined;
  /** The one group that it is for; undefined when it is for all. */
  readonly only: string | undefined;
  /** How often it came back from the dead letters. */
  readonly redriven: number;
}

/** Of an entry without any. */
export const NO_HEADERS: Headers = Object.freeze({});

/** The entry of an id and its fields, as XREADGROUP, XRANGE and XCLAIM give them. */
export function decodeEntry(id: string, fields: readonly string[]): RawEntry {
  if (fields.length === 2 && fields[0] === ENTRY_FIELDS.data) {
    return {
      id,
      originId: id,
      data: fields[1] as string,
      headers: NO_HEADERS,
      key: undefined,
      only: undefined,
      redriven: 0,
    };
  }
  const found = fieldsOf(fields);
  const headers = found.get(ENTRY_FIELDS.headers);
  return {
    id,
    originId: found.get(ENTRY_FIELDS.origin) ?? id,
    data: found.get(ENTRY_FIELDS.data) ?? '',
    headers: headers === undefined ? NO_HEADERS : readHeaders(headers),
    key: found.get(ENTRY_FIELDS.key),
    only: found.get(ENTRY_FIELDS.only),
    redriven: Number(found.get(ENTRY_FIELDS.redriven) ?? 0) || 0,
  };
}

/** When an entry was published, in ms since 1970 on the server's clock: the first half of its id. */
export function publishedAtOf(id: string): number {
  return Number.parseInt(id, 10);
}

/** Fields as Redis lists them, by name. */
export function fieldsOf(flat: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let at = 0; at + 1 < flat.length; at += 2) fields.set(flat[at] as string, flat[at + 1] as string);
  return fields;
}

/** Headers as they travelled. What is not of ours reads as none: a handler must not die of it. */
export function readHeaders(json: string): Headers {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return NO_HEADERS;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return NO_HEADERS;
  return Object.fromEntries(
    Object.entries(parsed).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  );
}

/** Below zero when the first id comes before the second in a stream. Halves of ids go beyond what a number holds exactly. */
export function compareIds(left: string, right: string): number {
  const [leftMs = '', leftSeq = '0'] = left.split('-');
  const [rightMs = '', rightSeq = '0'] = right.split('-');
  return compareHalves(leftMs, rightMs) || compareHalves(leftSeq, rightSeq);
}

function compareHalves(left: string, right: string): number {
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : Number(left > right);
}
