/**
 * The problem documents (RFC 9457) of the producer API.
 *
 * `code` is for programs: of a MillraceError its own, else one of the table here. No document holds a stack, an address of ours, or what a
 * contract calls secret; a failure of ours is logged and told as INTERNAL.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isMillraceError, type ErrorCode, type MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Fault } from '../../schema.ts';

/** The statuses of what the API refuses, by code. */
export const PROBLEMS = {
  REQUEST_INVALID: { status: 400, title: 'The request is not one that this operation takes' },
  BODY_UNREADABLE: { status: 400, title: 'The body cannot be read' },
  KEY_MISSING: { status: 401, title: 'An API key is needed' },
  KEY_REFUSED: { status: 401, title: 'The API key is not good' },
  SCOPE_MISSING: { status: 403, title: 'The API key may not do this' },
  NOT_FOUND: { status: 404, title: 'There is nothing here' },
  CONTRACT_UNKNOWN: { status: 404, title: 'There is no such contract' },
  JOB_UNKNOWN: { status: 404, title: 'There is no such job' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'There is no such operation here' },
  JOB_UNFINISHED: { status: 409, title: 'The job has not ended' },
  JOB_ENDED: { status: 409, title: 'The job has ended' },
  REQUEST_UNDER_WAY: { status: 409, title: 'The same request is under way' },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The request is too large' },
  MEDIA_TYPE_UNSUPPORTED: { status: 415, title: 'The body is not JSON' },
  INPUT_INVALID: { status: 422, title: 'The input does not match its schema' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The idempotency key was used for another request' },
  TOO_MANY_WAITS: { status: 429, title: 'Too many requests wait' },
  INTERNAL: { status: 500, title: 'Something went wrong here' },
  UNAVAILABLE: { status: 503, title: 'The service is not available now' },
} as const satisfies Record<string, { status: number; title: string }>;

/** What a problem document says for programs. */
export type ProblemCode = keyof typeof PROBLEMS;

/** What a document may say beyond its code. */
export interface ProblemFacts {
  detail: string;
  /** In the place of the problem's own: the code of the failure behind it. */
  code?: ErrorCode | undefined;
  errors?: readonly Fault[] | undefined;
  retryAfterS?: number | undefined;
}

const CHALLENGE = 'Bearer realm="millrace"';
/** A platform that is not there now is there again soon, or not for long. */
const TRY_AGAIN_S = 2;

/** Not one that can be opened: programs go by `code`, and people have `detail`. */
function typeOf(problem: ProblemCode): string {
  return `urn:millrace:problem:${problem.toLowerCase().replaceAll('_', '-')}`;
}

/** Answers the request with a problem document. */
export function refuse(
  response: ServerResponse,
  problem: ProblemCode,
  { detail, code, errors, retryAfterS }: ProblemFacts,
): void {
  const { status, title } = PROBLEMS[problem];
  const text = JSON.stringify({ type: typeOf(problem), title, status, detail, code: code ?? problem, errors });
  response.statusCode = status;
  response.setHeader('Cache-Control', 'no-store');
  if (status === 401)
    response.setHeader(
      'WWW-Authenticate',
      problem === 'KEY_REFUSED' ? `${CHALLENGE}, error="invalid_token"` : CHALLENGE,
    );
  if (status === 503 || retryAfterS !== undefined) response.setHeader('Retry-After', retryAfterS ?? TRY_AGAIN_S);
  response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text);
}

/** Faults of the input as they stand in the body, such as `jobs[3].input.to`. */
export function faultsBelow(error: MillraceError, place: string): Fault[] {
  const faults = (error.facts['faults'] ?? []) as readonly Fault[];
  return faults.map(({ path, reason }) => ({
    path: path === '' ? place : path.startsWith('[') ? `${place}${path}` : `${place}.${path}`,
    reason,
  }));
}

const AWAY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CLOSED',
  'ENQUEUE_TIMEOUT',
  'REDIS_AUTH_FAILED',
  'REDIS_CLUSTER_DOWN',
  'REDIS_NOT_READY',
  'REDIS_TIMEOUT',
  'REDIS_TLS_FAILED',
  'REDIS_UNREACHABLE',
  'REDIS_WRITES_REFUSED',
]);

/** Whether the failure passes by itself, and the request may be sent again. */
export function isAway(error: unknown): boolean {
  return isMillraceError(error) && AWAY.has(error.code);
}

/** What Express's parser of bodies says of what it refuses. */
interface HttpError {
  readonly status?: unknown;
  readonly type?: unknown;
}

/** Answers for what an operation has thrown. */
export function answerFailure(error: unknown, request: IncomingMessage, response: ServerResponse, log: Logger): void {
  if (response.headersSent) {
    log.warn({ err: error }, 'a response of the producer API was cut short');
    response.destroy();
    return;
  }
  if (isMillraceError(error) && isAway(error)) {
    const detail =
      'The service cannot reach its Redis now. Nothing is known to have been changed; send the same request again.';
    return refuse(response, 'UNAVAILABLE', { code: error.code, detail });
  }
  if (isMillraceError(error, 'PAYLOAD_TOO_LARGE'))
    return refuse(response, 'PAYLOAD_TOO_LARGE', { detail: error.message });
  const { status, type } = error as HttpError;
  if (status === 413) {
    return refuse(response, 'PAYLOAD_TOO_LARGE', { detail: 'The body is larger than this API takes.' });
  }
  if (status === 415) {
    return refuse(response, 'MEDIA_TYPE_UNSUPPORTED', { detail: 'Expected application/json in UTF-8.' });
  }
  if (typeof status === 'number' && status >= 400 && status < 500) {
    const detail = type === 'entity.parse.failed' ? 'The body is no JSON.' : 'The request cannot be read.';
    return refuse(response, 'BODY_UNREADABLE', { detail });
  }
  log.error({ err: error, method: request.method }, 'the producer API failed');
  refuse(response, 'INTERNAL', { detail: 'The failure was logged.' });
}
