/** What a request gets that no route answers, or whose handler fails: a page that gives away nothing but a reference, under which the log has it all. */
import { randomBytes } from 'node:crypto';
import type { ErrorRequestHandler, Request, RequestHandler, Response, Router } from 'express';
import { isMillraceError, type Logger } from 'millrace';
import { refusePage } from './refuse.tsx';

/** What is no fault of the dashboard, by the error's code or, of codes that begin alike, its beginning. */
const STATUS_OF: ReadonlyArray<[code: string, status: number, text: string]> = [
  ['JOB_UNKNOWN', 404, 'There is no such job, queue or schedule. It may have been removed.'],
  ['GROUP_UNKNOWN', 404, 'There is no such group.'],
  ['ENQUEUE_TIMEOUT', 503, 'Redis did not take the job in time. It does not run; try again.'],
  ['LOCK_UNAVAILABLE', 503, 'Redis does not answer as it should for now.'],
  ['REDIS_', 503, 'Redis does not answer as it should for now.'],
  ['CLOSED', 503, 'The dashboard is stopping.'],
];

/** Of requests that Express and its parsers refuse, by their status. */
const REFUSED_TEXTS: Readonly<Record<number, string>> = {
  400: 'What was sent cannot be read.',
  413: 'What was sent is too large.',
  415: 'What was sent has a form that is not read here.',
};

/** For what no route has answered: 405 where another method has a route, else 404. */
export function unanswered(routers: ReadonlyArray<{ path: string; router: Router }>): RequestHandler {
  return (request, response) => {
    const allowed = routers.flatMap(({ path, router }) => methodsOf(router, path, request.path));
    if (allowed.length === 0 || allowed.includes(request.method))
      return refusePage(response, 404, 'There is no such page.');
    response.set('Allow', [...new Set(allowed)].join(', '));
    refusePage(response, 405, 'This can be looked at, or it can be done, but not in this way.');
  };
}

/** The methods that a router answers at a path. */
function methodsOf(router: Router, mount: string, path: string): string[] {
  const base = mount === '/' ? '' : mount;
  if (base !== '' && path !== base && !path.startsWith(`${base}/`)) return [];
  const rest = path.slice(base.length) || '/';
  return router.stack.flatMap((layer) => {
    const route = layer.route as { methods: Record<string, boolean> } | undefined;
    // Of the layer's own method, which its types do not have.
    const { match } = layer as unknown as { match: (this: unknown, path: string) => boolean };
    if (!route || !match.call(layer, rest)) return [];
    const methods = Object.keys(route.methods).map((method) => method.toUpperCase());
    return methods.includes('GET') ? [...methods, 'HEAD'] : methods;
  });
}

/** For whatever a handler threw. */
export function failed(log: Logger): ErrorRequestHandler {
  return (error: unknown, request: Request, response: Response, next) => {
    const [, status, text] = known(error) ?? [];
    if (status === undefined || status === 503) logFailure(log, error, request, response);
    if (response.headersSent) return next(error); // Express hangs up, so that nobody takes the part for the whole.
    if (status !== undefined && text !== undefined) return refusePage(response, status, text);
    const reference = response.locals['reference'] as string;
    refusePage(response, 500, `The log has more under the reference ${reference}.`);
  };
}

function known(error: unknown): [code: string, status: number, text: string] | undefined {
  if (isMillraceError(error)) return STATUS_OF.find(([code]) => error.code.startsWith(code));
  const status = (error as { status?: unknown } | undefined)?.status;
  if (typeof status !== 'number' || status < 400 || status > 499) return undefined;
  return ['', status, REFUSED_TEXTS[status] ?? 'The request cannot be read.'];
}

function logFailure(log: Logger, error: unknown, { method, path }: Request, response: Response): void {
  const reference = randomBytes(6).toString('hex');
  response.locals['reference'] = reference;
  log.error({ err: error, reference, method, path }, 'a request failed');
}
