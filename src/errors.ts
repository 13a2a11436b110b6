/**
 * Every failure that Millrace throws is a MillraceError with a code from this table.
 *
 * A code is for programs and never changes its meaning; the message is for people: it names the cause and the mend.
 * Facts are what the message is made of, as fields, so that nobody has to parse it. Outcomes (a refused rate limit,
 * a duplicate job) are returned and are not in this table. docs/errors.md explains each code; a test keeps it in step.
 */
export const ERROR_CODES = {
  CACHE_LOAD_TIMEOUT:
    'A loader of the cache, or the wait for one of another process, took longer than its hard timeout.',
  CACHE_SAVE_TIMEOUT: 'A store behind the cache did not save within its timeout.',
  CACHE_STORE_FULL: 'A write-behind store has as many changes pending as it may; nothing was accepted.',
  CACHE_VALUE_INVALID: 'A value cannot be kept in the cache as it is, or a loader gave none that can.',
  CAPABILITY_MISSING: 'The connected server lacks a feature that was asked for.',
  CLOSED: 'Something was used after it had been closed or stopped.',
  DURATION_INVALID:
    "A duration is neither a number of milliseconds nor a string such as '30s', or it is longer than the call takes.",
  EMBEDDING_FAILED:
    'An embedder gave no usable vectors: it could not be reached, refused the call, or answered with something else.',
  EMBEDDING_REFUSED: 'An embedder refused one or more texts; others in the same call may be well.',
  ENQUEUE_TIMEOUT: 'A job was not accepted within the deadline of the enqueue.',
  ENV_INVALID: 'One or more environment variables hold bad values; all of them are listed.',
  EVENT_ID_TAKEN:
    'Some but not all of the event ids of an append are in the stream, or they are there in another order.',
  EVENT_TIMEOUT: 'A handler took longer for an event than its timeout.',
  EVENT_UNREADABLE:
    'A stored event is of a type or form that the contract does not know, or does not match its schema.',
  FILTER_INVALID:
    'A filter names a field that the schema lacks, or holds a value of another type; all faults are listed.',
  FILTER_UNSUPPORTED: 'A filter asks for what the engine of the index cannot do.',
  FLOW_SLOTS_DIFFER: 'The jobs of one flow are in queues that a Cluster keeps on different nodes.',
  FOLDER_BUSY: 'Another process holds the folder and did not let go of it.',
  FOLDER_UNUSABLE: 'A folder that Millrace must write to cannot be written to.',
  GROUP_UNKNOWN: 'A stream has no consumer group of that name.',
  HANDLER_MISSING: 'No handler for a job of this name and queue is known to the worker.',
  HEADERS_SENT: 'A cookie was to be set after the response had begun.',
  INDEX_BUSY:
    'A vector index takes no writes, because a new version is about to take over, or another process rebuilds it.',
  INDEX_FAILED: 'The server took a document but could not index it, so that no search would find it.',
  INDEX_MISMATCH: 'A vector index on the server is another one than the options say; all differences are listed.',
  INPUT_INVALID: 'Data does not match its schema; every path and reason is listed.',
  JOB_CANCELLED: 'A running job was cancelled.',
  JOB_EXPIRED: 'A job was not started before it expired.',
  JOB_FAILED: 'A job that somebody waited for failed for the last time.',
  JOB_POSTPONED: 'A handler of a job or an entry asked to be run again later; no attempt is used up.',
  JOB_RELEASED: 'A running job or entry is handed back, because its worker stops.',
  JOB_TIMEOUT: 'An attempt of a job or an entry ran longer than its timeout.',
  JOB_UNKNOWN: 'There is no job, dead letter, queue or contract of that name.',
  JOB_UNRECOVERABLE: 'A handler says that trying the job or entry again is of no use.',
  JOB_VERSION_UNSUPPORTED:
    'A job was enqueued by another version of its contract, and the handler cannot convert its input.',
  KEY_EVENTS_OFF: 'A server is not configured to say when keys expire.',
  KEY_INVALID: 'A part of a Redis key is empty or not a string.',
  LEADERBOARD_SETTINGS_DIFFER: 'A leaderboard is stored in another form than the options of this process say.',
  LEASE_LOST: 'A process no longer holds the lease of what it works on; another may work on it.',
  LOCK_LOST: 'A lock that was held ran out or was taken away.',
  LOCK_REPLICAS_MISSING: 'A lock was given back, because fewer replicas than asked for had acknowledged it in time.',
  LOCK_TIMEOUT: 'A lock was not granted within the time that the caller would wait.',
  LOCK_UNAVAILABLE: 'Redis could not be asked for a lock.',
  NO_RESPONDER: 'A request was made of a topic that nobody serves now.',
  OPTIONS_INVALID: 'One or more options are wrong or unknown; all of them are listed.',
  PAYLOAD_TOO_LARGE:
    'What is to be sent or kept (the input of a job, an entry, an event, a message, a state) is larger than its limit.',
  PORT_TAKEN: 'The HTTP port cannot be listened on.',
  PROVISION_FAILED: 'A private redis-server could not be downloaded or unpacked.',
  RATE_LIMITED: 'A rate limit refused a call; when it may come again is told.',
  REDIS_AUTH_FAILED: 'The server refused the user or the password, or wants one.',
  REDIS_CLUSTER_DOWN: 'The Cluster does not serve all of its slots, or none of its masters answers.',
  REDIS_FAILED: 'The server answered with an error that has no code of its own here.',
  REDIS_FORBIDDEN: 'The ACL user may not run a command, or touch a key, that Millrace needs.',
  REDIS_NOT_READY: 'The server is there but loads its data, is busy with a script, or takes no more connections.',
  REDIS_NOT_REDIS: 'Something answers at the address, but it is not a Redis server.',
  REDIS_TIMEOUT: 'A command had no answer within its deadline; whether it ran is unknown.',
  REDIS_TLS_FAILED: 'The TLS handshake with the server failed.',
  REDIS_TOO_OLD: 'The server is older than the oldest supported version.',
  REDIS_UNREACHABLE: 'No connection to the server, or the connection was lost.',
  REDIS_WRITES_REFUSED:
    'The server is there but takes no writes: a replica, out of memory, short of replicas, or its disk failed.',
  REDIS_WRONG_TOPOLOGY: 'The address is of another kind (standalone, Sentinel, Cluster) than the options say.',
  REQUEST_FAILED: 'The handler of a request ended with an error.',
  REQUEST_TIMEOUT: 'A request had no answer within its deadline; whether it was handled is unknown.',
  ROOM_FULL: 'A room of presence has as many members as it may; whoever asked did not come in.',
  SCORE_INVALID: 'A score is not a finite number, not within its bounds, or would make a sum too large.',
  SCRIPT_FAILED: 'A Lua script ended with an error.',
  SCRIPT_INVALID:
    'A Lua file is missing, its names differ from those given to defineScript, or a call passes what no script can take.',
  SCRIPT_SLOTS_DIFFER: 'The keys of one script call do not share a hash tag, so no Cluster could run it.',
  SERVER_START_FAILED: 'The embedded redis-server did not start, or stopped by itself.',
  SERVER_UNAVAILABLE: 'No redis-server could be found or provisioned; every way to get one is listed.',
  SUBSCRIPTION_OVERFLOWED: 'The queue of a subscription was full, and it was to be closed then.',
  THREAD_BOUNDARY: 'Something cannot cross between a worker and the thread of an isolated handler.',
  THREAD_DIED: 'The thread of an isolated handler ended before the handler did.',
  VECTOR_INVALID: 'A vector has the wrong type or size, holds what is not finite, or is zero.',
  WAIT_TIMEOUT: 'Whoever waited for a job gave up before it had finished.',
} as const satisfies Record<string, string>;

/** One of the codes in the table. */
export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * The one error class of Millrace.
 *
 * @example
 * try {
 *   await platform.start();
 * } catch (error) {
 *   if (isMillraceError(error, 'REDIS_AUTH_FAILED')) console.error('check REDIS_PASSWORD:', error.facts.address);
 *   throw error;
 * }
 */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  /** What the message was made of, by name. Never holds a password. */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    { cause, ...facts }: { cause?: unknown; [fact: string]: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = Object.freeze(facts);
  }

  /** What logs and `--json` output show. */
  toJSON(): { code: ErrorCode; message: string; facts: Readonly<Record<string, unknown>> } {
    return { code: this.code, message: this.message, facts: this.facts };
  }
}

/**
 * Whether a caught value is a MillraceError, and of the given code if one is given.
 *
 * @example
 * if (isMillraceError(error, 'REDIS_TIMEOUT')) return fallback;
 */
export function isMillraceError(error: unknown, code?: ErrorCode): error is MillraceError {
  return error instanceof MillraceError && (code === undefined || error.code === code);
}

const LONGEST_SHOWN = 60;

/** What a message shows of a value that came: one short line, for any value at all, without the password of a URL. */
export function describeValue(value: unknown): string {
  const text = (asJson(value) ?? String(value)).replaceAll(/(\w:\/\/)[^"]*@/g, '$1***@');
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN - 3)}...` : text;
}

function asJson(value: unknown): string | undefined {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'number') return String(value); // JSON has no NaN and no Infinity.
  try {
    return JSON.stringify(value);
  } catch {
    return typeof value === 'bigint' ? `${value}n` : 'an object that has no JSON form';
  }
}
