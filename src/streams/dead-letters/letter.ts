/**
 * A dead letter of a group: an entry that this group will not be given again by itself.
 *
 * It is an entry of the group's STREAM of dead letters and holds all that it takes to publish it again and to see why it died, because the
 * stream itself may be trimmed past it. Fields: id, entry, data, headers?, key?, attempts, reason, redriven, diedAt, error, fingerprint.
 */
import type { DescribedError } from '../../describe-error.ts';
import { fieldsOf, NO_HEADERS, publishedAtOf, readHeaders, type Headers } from '../entry.ts';

/**
 * Why an entry is a dead letter. `attempts`: it failed as often as it may. `unrecoverable`: its handler said that trying again is of no use.
 * `input`: its data does not match the schema. `poison`: the processes that worked on it died as often as it may be tried.
 */
export const STREAM_DEATH_REASONS = ['attempts', 'unrecoverable', 'input', 'poison'] as const;
export type StreamDeathReason = (typeof STREAM_DEATH_REASONS)[number];

/** The names of the fields. */
export const LETTER_FIELDS = {
  /** The id that the entry was first published under. */
  id: 'id',
  /** The id of the entry that died: another one than `id` if it had been redriven. */
  entry: 'entry',
  data: 'data',
  headers: 'headers',
  key: 'key',
  attempts: 'attempts',
  reason: 'reason',
  redriven: 'redriven',
  /** In ms of the server's clock. */
  diedAt: 'diedAt',
  /** JSON of a DescribedError. */
  error: 'error',
  fingerprint: 'fingerprint',
} as const;

/** A dead letter. Times are ms since 1970 on the server's clock. */
export interface StreamDeadLetter {
  /** Its own id; the later one died later. */
  readonly id: string;
  /** The id that the entry was published under, as its handler saw it. */
  readonly entryId: string;
  readonly stream: string;
  readonly group: string;
  /** As it was published; the text itself where it is no JSON. */
  readonly data: unknown;
  readonly headers: Headers;
  /** The idempotency key that it was published under. */
  readonly key: string | undefined;
  readonly reason: StreamDeathReason;
  /** How often it was tried since it was published or redriven. */
  readonly attempts: number;
  /** How often it had come back from the dead letters before. */
  readonly redriven: number;
  readonly publishedAt: number;
  readonly diedAt: number;
  readonly error: DescribedError;
  /** The same for failures of one kind. */
  readonly fingerprint: string;
}

/** The letter of an entry of the STREAM of dead letters. */
export function decodeLetter(
  [id, flat]: readonly [string, readonly string[]],
  { stream, group }: { stream: string; group: string },
): StreamDeadLetter {
  const fields = fieldsOf(flat);
  const entryId = fields.get(LETTER_FIELDS.id) ?? id;
  const headers = fields.get(LETTER_FIELDS.headers);
  return {
    id,
    entryId,
    stream,
    group,
    data: parsedOr(fields.get(LETTER_FIELDS.data) ?? ''),
    headers: headers === undefined ? NO_HEADERS : readHeaders(headers),
    key: fields.get(LETTER_FIELDS.key),
    reason: (fields.get(LETTER_FIELDS.reason) ?? 'attempts') as StreamDeathReason,
    attempts: Number(fields.get(LETTER_FIELDS.attempts) ?? 0),
    redriven: Number(fields.get(LETTER_FIELDS.redriven) ?? 0),
    publishedAt: publishedAtOf(entryId),
    diedAt: Number(fields.get(LETTER_FIELDS.diedAt) ?? publishedAtOf(id)),
    error: errorOf(fields.get(LETTER_FIELDS.error) ?? ''),
    fingerprint: fields.get(LETTER_FIELDS.fingerprint) ?? '',
  };
}

function parsedOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Whatever the field holds, the letter can be read. */
function errorOf(json: string): DescribedError {
  const parsed = parsedOr(json);
  if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) return parsed as DescribedError;
  return { name: 'NonError', message: json, stack: json };
}
