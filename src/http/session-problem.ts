/** The problem documents (RFC 9457) with which requests are refused for their session or their origin. */
import type { ServerResponse } from 'node:http';

/** Why a request is refused. */
export type SessionProblem = 'SESSION_MISSING' | 'SESSION_LEVEL_LOW' | 'SESSION_UNAVAILABLE' | 'CSRF_REFUSED';

const PROBLEMS = {
  SESSION_MISSING: { status: 401, title: 'Unauthorized' },
  SESSION_LEVEL_LOW: { status: 403, title: 'Forbidden' },
  SESSION_UNAVAILABLE: { status: 503, title: 'Service Unavailable' },
  CSRF_REFUSED: { status: 403, title: 'Forbidden' },
} as const satisfies Record<SessionProblem, { status: number; title: string }>;

/** Answers the request. */
export function refuse(
  response: ServerResponse,
  code: SessionProblem,
  detail: string,
  more: Readonly<Record<string, unknown>> = {},
): void {
  const { status, title } = PROBLEMS[code];
  const text = JSON.stringify({ type: 'about:blank', title, status, detail, code, ...more });
  response.statusCode = status;
  response.setHeader('Cache-Control', 'no-store');
  // No registered scheme is for cookies, and 401 must name one (RFC 9110): browsers ask for no password with this one.
  if (status === 401) response.setHeader('WWW-Authenticate', 'Cookie');
  if (status === 503) response.setHeader('Retry-After', 1);
  response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text);
}
