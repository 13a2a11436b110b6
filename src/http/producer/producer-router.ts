/**
 * The producer API: jobs over HTTP, for programs that have no Redis and no TypeScript of ours.
 *
 *   request --> API key --> limit of the key --> body --> operation --> answer, or a problem document
 *
 * Promise: only the contracts given are reached, and each caller sees only those that his key has a scope for; what is answered with 201 is
 * in Redis; what is refused left nothing behind. Every refusal is a problem document; nothing of ours (stacks, addresses) is in it.
 * Redis down: 503 with Retry-After within the deadline of the key's check and, where that is known still, of the enqueue (2 s each).
 * Limits: a body's size, jobs in a batch, requests a second and requests that wait at once, of each key.
 */
import { json, Router, type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { z } from 'zod';
import { checkContract, type JobContract } from '../../jobs/contract.ts';
import type { Limiter } from '../../rate-limit/limiter.ts';
import type { Policy } from '../../rate-limit/policies.ts';
import { checkOptions } from '../../schema.ts';
import type { Middleware } from '../health.ts';
import { rateLimit, type HttpLimiter } from '../rate-limit.ts';
import { createApiKeys } from './api-keys.ts';
import { Asking, type ProducerPlatform } from './asking.ts';
import { factsOf } from './contract-facts.ts';
import { callerIn, contractFor, keyOf, letIn, refuseKey, type Desk } from './desk.ts';
import { docsPage, DOCS_POLICY } from './docs-page.ts';
import { addEnqueue } from './enqueue.ts';
import { addEvents } from './events.ts';
import { Requests } from './idempotency.ts';
import { addJobs } from './job-routes.ts';
import { JobFinder } from './job-sight.ts';
import { JobWatch } from './job-watch.ts';
import { producerOpenApi } from './openapi.ts';
import { answerFailure, refuse } from './problem.ts';
import { actsOn } from './scopes.ts';
import { WaitingRoom } from './waiting-room.ts';

/** Options of the producer API. */
export interface ProducerOptions {
  /** Those that can be reached; no other can. */
  contracts: readonly JobContract[];
  /** What an API key may take. Default 50 requests a second, 100 at once. */
  limit?: readonly Policy[] | undefined;
  /** What an address may take that comes without a good key. Default 60 a minute. Behind a proxy, set `trust proxy` of the app. */
  anonymousLimit?: readonly Policy[] | undefined;
  /** The largest body, in bytes. Default 4 MB. An input has a limit of its own, that of the platform's jobs. */
  maxBodyBytes?: number | undefined;
  /** How many requests of a key may wait for jobs at once, in each process. Default 20. */
  waitsPerKey?: number | undefined;
  /** `/openapi.json` and `/docs`, which are open to all who reach the port, with the schemas of all contracts. Default true. */
  docs?: boolean | undefined;
  /** What the document is called. Default `Jobs`. */
  title?: string | undefined;
  /** What its limits are called, as the metrics tell them. Default `producer-api`; of two routers with other limits in one process, each needs one. */
  name?: string | undefined;
}

const DEADLINE_MS = 2_000;
/** The longest that a key of a caller may be; a longer header is none of ours. */
const LONGEST_HEADER = 200;

const isContract = (value: unknown): boolean => {
  checkContract(value as JobContract);
  return true;
};
const policies = z.custom<readonly Policy[]>(
  Array.isArray,
  'expected a list of policies, as limits.limiter() takes them',
);

const optionsSchema = z.strictObject({
  contracts: z
    .array(z.custom<JobContract>(isContract))
    .min(1)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'expected one contract of each name'),
  limit: policies.default([{ name: 'key', limit: 50, per: '1s', burst: 100 }]),
  anonymousLimit: policies.default([{ name: 'address', limit: 60, per: '1m' }]),
  maxBodyBytes: z
    .int()
    .min(1)
    .default(4 * 1_024 * 1_024),
  waitsPerKey: z.int().min(1).default(20),
  docs: z.boolean().default(true),
  title: z.string().min(1).default('Jobs'),
  name: z
    .string()
    .regex(/^[\w.-]{1,50}$/, 'expected up to 50 letters, digits and _ . -')
    .default('producer-api'),
});

/**
 * A router with the producer API; mount it where you like.
 *
 * @example
 * const app = express();
 * app.use('/api', producerRouter(platform, { contracts: [sendEmail, buildReport] }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function producerRouter(platform: ProducerPlatform, options: ProducerOptions): Middleware {
  const checked = checkOptions(optionsSchema, options, 'producerRouter');
  const desk = deskOf(platform, checked.contracts, checked.waitsPerKey);
  const router = Router({ caseSensitive: true });
  const limiter = lazyLimiter(platform, `${checked.name}-keys`, checked.limit);
  const anonymous = lazyLimiter(platform, `${checked.name}-addresses`, checked.anonymousLimit);
  if (checked.docs) addDocs(router, anonymous, checked.contracts, checked.title);
  const limited = rateLimit<Request>({ limiter, user: (request) => callerIn(request)?.key.id, anonymous });
  router.use('/v1', identify(desk), limited as unknown as RequestHandler, needKey, onlyJson);
  router.use('/v1', json({ limit: checked.maxBodyBytes, strict: false, type: () => true }));
  addContracts(router, desk);
  addEnqueue(router, desk);
  addJobs(router, desk);
  addEvents(router, desk);
  addRest(router);
  router.use((error: unknown, request: Request, response: Response, _next: NextFunction) =>
    answerFailure(error, request, response, platform.log),
  );
  return router as unknown as Middleware;
}

function deskOf(platform: ProducerPlatform, contracts: readonly JobContract[], waitsPerKey: number): Desk {
  const asking = new Asking(platform, DEADLINE_MS);
  const jobs = new JobFinder(platform, asking, contracts);
  return {
    platform,
    contracts: new Map(contracts.map((contract) => [contract.name, contract])),
    keys: createApiKeys(platform, { deadline: DEADLINE_MS }),
    requests: new Requests(asking),
    jobs,
    watch: new JobWatch((id) => jobs.find(id)),
    room: new WaitingRoom(waitsPerKey),
  };
}

/** A platform has limits from its start on, and a router may be made before. */
function lazyLimiter(platform: ProducerPlatform, name: string, rules: readonly Policy[]): HttpLimiter {
  const limiter = (): Limiter => platform.limits.limiter(name, { policies: rules });
  return {
    get policies() {
      return limiter().policies;
    },
    consume: (key, options) => limiter().consume(key, options),
  };
}

/** Finds out who calls, and lets the limits count first: whoever guesses keys is refused by his address. */
function identify(desk: Desk): RequestHandler {
  return async (request, _response, next) => {
    const token = tokenOf(request);
    const key = token === undefined ? undefined : await desk.keys.check(token);
    if (key && token !== undefined) letIn(request, { key, token });
    next();
  };
}

function tokenOf(request: Request): string | undefined {
  const header = request.get('authorization') ?? '';
  return header.length <= LONGEST_HEADER ? /^bearer +(\S+) *$/i.exec(header)?.[1] : undefined;
}

function needKey(request: Request, response: Response, next: NextFunction): void {
  if (callerIn(request)) return next();
  if (tokenOf(request) === undefined)
    return refuse(response, 'KEY_MISSING', { detail: 'Send an API key: Authorization: Bearer mr_...' });
  refuseKey(response);
}

/** A body of another kind would be taken for none. */
function onlyJson(request: Request, response: Response, next: NextFunction): void {
  const isEmpty = request.get('content-length') === '0';
  const isJson = request.is(['application/json', 'application/*+json']); // null: there is no body.
  const charset = /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(request.get('content-type') ?? '')?.[1] ?? 'utf-8';
  if (isEmpty || isJson === null || (isJson !== false && charset.toLowerCase() === 'utf-8')) return next();
  refuse(response, 'MEDIA_TYPE_UNSUPPORTED', { detail: 'Expected Content-Type: application/json, in UTF-8.' });
}

function addContracts(router: Router, desk: Desk): void {
  router.get('/v1/contracts', (request, response) => {
    const { scopes } = keyOf(request);
    const seen = [...desk.contracts.values()].filter(({ name }) => actsOn(scopes, name).length > 0);
    const contracts = seen.map((contract) => factsOf(contract, scopes));
    response
      .set('Cache-Control', 'no-store')
      .json({ contracts: contracts.toSorted((one, other) => (one.name < other.name ? -1 : 1)) });
  });
  router.get('/v1/contracts/:contract', (request, response) => {
    const { scopes } = keyOf(request);
    const [act = 'enqueue'] = actsOn(scopes, request.params['contract']);
    const contract = contractFor(desk, request, response, act);
    if (contract) response.set('Cache-Control', 'no-store').json(factsOf(contract, scopes));
  });
}

/** Both are made once, as text: they are open to all. */
function addDocs(router: Router, anonymous: HttpLimiter, contracts: readonly JobContract[], title: string): void {
  const texts = once(() => {
    const document = producerOpenApi(contracts, { title });
    return { page: docsPage(document), json: JSON.stringify({ ...document, servers: [] }) };
  });
  const limited = rateLimit({ anonymous, onError: 'allow' }) as unknown as RequestHandler;
  router.use(['/openapi.json', '/docs'], limited);
  router.get('/openapi.json', (request, response) => {
    const servers = JSON.stringify([{ url: request.baseUrl === '' ? '/' : request.baseUrl }]);
    response.type('json').send(texts().json.replace('"servers":[]', () => `"servers":${servers}`));
  });
  router.get('/docs', (request, response) => {
    response
      .set({
        'Content-Security-Policy': DOCS_POLICY,
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
      })
      .type('html')
      .send(texts().page);
  });
}

function once<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

/** What is there, by methods; the paths are those of the routes above. */
const METHODS: Readonly<Record<string, string>> = {
  '/v1/contracts': 'GET, HEAD',
  '/v1/contracts/:contract': 'GET, HEAD',
  '/v1/contracts/:contract/jobs': 'POST',
  '/v1/contracts/:contract/jobs/batch': 'POST',
  '/v1/jobs/:id': 'GET, HEAD',
  '/v1/jobs/:id/result': 'GET, HEAD',
  '/v1/jobs/:id/wait': 'GET, HEAD',
  '/v1/jobs/:id/events': 'GET, HEAD',
  '/v1/jobs/:id/cancel': 'POST',
};

function addRest(router: Router): void {
  for (const [path, methods] of Object.entries(METHODS)) {
    router.all(path, (_request, response) => {
      response.set('Allow', methods);
      refuse(response, 'METHOD_NOT_ALLOWED', { detail: `Here are ${methods}.` });
    });
  }
  router.use('/v1', (_request, response) => {
    refuse(response, 'NOT_FOUND', { detail: 'The API has no such path; /openapi.json lists them.' });
  });
}
