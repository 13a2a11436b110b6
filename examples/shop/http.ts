/** What all routes have in common: how a request is refused, and how that is told. */
import type { ErrorRequestHandler, Request } from 'express';
import { isMillraceError, parseInput, type Logger, type Schema } from 'millrace';
import { sessionOf } from 'millrace/http';

/** Thrown by a route: the request is answered with it. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const NOT_THERE = 'there is nothing here';
/** What is thrown when Redis cannot be asked in time, or the process stops. */
const AWAY = /^(REDIS_\w+|ENQUEUE_TIMEOUT|CACHE_LOAD_TIMEOUT|CLOSED)$/;

/** Where no route is. */
export function nowhere(): never {
  throw new Refused(404, NOT_THERE);
}

/** The body, as the schema gives it back. @throws MillraceError INPUT_INVALID, which is answered with 422 and all faults */
export function bodyOf<Output>(request: Request, schema: Schema<unknown, Output>): Promise<Output> {
  return parseInput(schema, request.body, 'the body');
}

/** Who is signed in; for routes behind requireSession(). */
export function userOf(request: Request): string {
  const { userId } = sessionOf(request);
  if (userId === undefined) throw new Refused(401, 'sign in first');
  return userId;
}

/** Answers with a problem document (RFC 9457) what routes throw. What nobody foresaw is logged, and told to nobody. */
export function problems(log: Logger): ErrorRequestHandler {
  return (error: unknown, _request, response, next) => {
    if (response.headersSent) return next(error);
    const { status, detail } = problemOf(error);
    if (status === 500) log.error({ err: error }, 'a request failed');
    response.status(status).type('application/problem+json').send(JSON.stringify({ status, detail }));
  };
}

function problemOf(error: unknown): { status: number; detail: string } {
  if (error instanceof Refused) return { status: error.status, detail: error.message };
  if (isMillraceError(error, 'INPUT_INVALID')) return { status: 422, detail: error.message };
  if (isMillraceError(error, 'KEY_INVALID')) return { status: 404, detail: NOT_THERE }; // An id that nothing can have.
  if (isMillraceError(error) && AWAY.test(error.code)) return { status: 503, detail: 'try again in a moment' };
  const status = (error as { status?: unknown } | null)?.status; // Such as that of express.json() for what is no JSON.
  if (status === 404) return { status, detail: NOT_THERE };
  return typeof status === 'number' && status < 500
    ? { status, detail: 'the request cannot be read' }
    : { status: 500, detail: 'something went wrong' };
}
