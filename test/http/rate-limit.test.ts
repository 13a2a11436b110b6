/** The middleware over real HTTP, with real limiters: who is counted as whom, what is let in, what is refused. */
import express, { type Express } from 'express';
import { once } from 'node:events';
import { get, ServerResponse, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listen, rateLimit, type HttpLimiter, type RateLimitOptions } from '../../src/http/index.ts';
import { createLimits, type Limits, type LimitsOptions } from '../../src/rate-limit/limits.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

let prefixes = 0;

async function limitsOf(options: LimitsOptions = {}, url = server.url): Promise<Limits> {
  const connections = own(createConnections({ url }));
  await Promise.all([connections.commands().ping(), connections.subscriber().ping()]);
  return own(createLimits(connections, { prefix: `t-http-${prefixes++}`, deadline: '3s', ...options }));
}

const few = (limits: Limits, name: string, limit: number): HttpLimiter =>
  limits.limiter(name, { policies: [{ name: 'hour', algorithm: 'fixed-window', limit, per: '1h' }] });

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

type Ask = (headers?: Record<string, string>, path?: string) => Promise<Answer>;

/** An app behind the middleware that tells the names of its callers. */
async function serve(
  options: RateLimitOptions<express.Request>,
  { trustProxy, host = '127.0.0.1' }: { trustProxy?: unknown; host?: string } = {},
): Promise<{ ask: Ask; url: string; app: Express }> {
  const app = express();
  if (trustProxy !== undefined) app.set('trust proxy', trustProxy);
  app.use(rateLimit<express.Request>({ retryJitter: 0, ...options }));
  app.get('/{*path}', (request, response) => void response.send(`hello ${request.ip}`));
  // Of Express itself this would write to the console.
  app.use((error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
    response.status(500).send(error.message);
  });
  const listener = own(await listen(app, { host, port: 0 }));
  const ask: Ask = async (headers = {}, path = '/') => {
    const request = get({ port: listener.port, host: host === '::' ? '127.0.0.1' : host, path, headers, agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const pieces: Buffer[] = [];
    for await (const piece of response) pieces.push(piece as Buffer);
    return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(pieces).toString() };
  };
  return { ask, url: listener.url, app };
}

const statuses = async (ask: Ask, ...headers: Array<Record<string, string>>): Promise<number[]> => {
  const seen: number[] = [];
  for (const one of headers) seen.push((await ask(one)).status);
  return seen;
};
const from = (address: string): Record<string, string> => ({ 'x-forwarded-for': address });
const as = (user: string): Record<string, string> => ({ 'x-user': user });
const costOf = (request: express.Request): number => Number(request.get('x-cost') ?? 1);
const user = (request: express.Request): string | undefined => request.get('x-user');

describe('a caller', () => {
  test('who is signed in has a limit of his own, wherever he comes from, and others have the one of their address', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ limiter: few(limits, 'users', 3), user, anonymous: few(limits, 'anonymous', 1) });
    expect(await statuses(ask, as('ada'), as('ada'), as('ada'), as('ada'))).toEqual([200, 200, 200, 429]);
    expect(await statuses(ask, as('bob'), {}, {}, as(''))).toEqual([200, 200, 429, 429]);
  });

  test('who is signed in is told his own limit, and a refused one when to come again', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ limiter: few(limits, 'users', 2), user, anonymous: few(limits, 'anonymous', 1) });
    const { headers } = await ask(as('ada'));
    expect(headers).toMatchObject({
      'ratelimit-policy': '"hour";q=2;w=3600',
      // A window ends with a whole millisecond, so it may be a part of one longer.
      ratelimit: expect.stringMatching(/^"hour";r=1;t=360[01]$/),
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '1',
    });
    await ask(as('ada'));
    const refused = await ask(as('ada'));
    expect(refused.status).toBe(429);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(3_590);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(3_601);
    expect(refused.headers).toMatchObject({ 'x-ratelimit-remaining': '0' });
    expect(refused.headers['ratelimit']).toBe(`"hour";r=0;t=${refused.headers['retry-after']}`);
    expect(JSON.parse(refused.text)).toMatchObject({
      status: 429,
      code: 'RATE_LIMITED',
      'violated-policies': ['hour'],
    });
  });

  test('without a name is let in where only signed-in users are limited', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ limiter: few(limits, 'users', 1), user, anonymous: false });
    expect(await statuses(ask, {}, {}, as('ada'), as('ada'))).toEqual([200, 200, 200, 429]);
  });

  test('whose session cannot be read gets past no limit', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({
      limiter: few(limits, 'users', 1),
      user: () => Promise.reject(new Error('no session store')),
      anonymous: few(limits, 'anonymous', 1),
    });
    expect(await ask()).toMatchObject({ status: 500, text: 'no session store' });
  });
});

describe('an address', () => {
  test('is that of the connection when no proxy is trusted, whatever the caller claims', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1) });
    expect(await statuses(ask, from('198.51.100.1'), from('198.51.100.2'), {})).toEqual([200, 429, 429]);
  });

  test('is what the trusted proxy says, and not what the caller put before it', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1) }, { trustProxy: 1 });
    const asked = [from('198.51.100.1'), from('198.51.100.2'), from('198.51.100.1'), from('9.9.9.9, 198.51.100.1')];
    expect(await statuses(ask, ...asked)).toEqual([200, 200, 429, 429]);
  });

  test('of IPv6 counts with all of its /56', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1) }, { trustProxy: 'loopback' });
    const asked = ['2001:db8:0:100::1', '2001:db8:0:1ff:ffff::9', '2001:db8:0:200::1', '2001:db8::1'];
    expect(await statuses(ask, ...asked.map(from))).toEqual([200, 429, 200, 200]);
  });

  test('of IPv6 counts by another prefix where the option says so', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1), ipv6Prefix: 64 }, { trustProxy: 1 });
    expect(await statuses(ask, from('2001:db8:0:100::1'), from('2001:db8:0:101::1'))).toEqual([200, 200]);
  });

  test('of IPv4 is the same on a socket of IPv6', async () => {
    const limits = await limitsOf();
    const anonymous = few(limits, 'anonymous', 1);
    const mapped = await serve({ anonymous }, { host: '::' });
    const plain = await serve({ anonymous });
    expect((await mapped.ask()).text).toBe('hello ::ffff:127.0.0.1');
    expect((await plain.ask()).status).toBe(429);
  });

  test('that is made up counts with all others that are', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1) }, { trustProxy: true });
    expect(await statuses(ask, from('me'), from('me too'), from('198.51.100.1'))).toEqual([200, 429, 200]);
  });

  test('stands nowhere in Redis', async () => {
    const prefix = `t-http-${prefixes++}`;
    const limits = await limitsOf({ prefix });
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 1) }, { trustProxy: 1 });
    await ask(from('198.51.100.77'));
    const keys = await server.ask((redis) => redis.keys(`${prefix}:*`));
    expect(keys.length).toBeGreaterThan(0);
    expect(keys.join(' ')).not.toContain('198.51.100');
  });
});

describe('a request', () => {
  test('takes its cost, and one that costs nothing is let in', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 10), cost: costOf });
    const never = await ask({ 'x-cost': '11' });
    expect(never.status).toBe(429);
    expect(never.headers['retry-after']).toBeUndefined();
    const { headers } = await ask({ 'x-cost': '7' });
    expect(headers['x-ratelimit-remaining']).toBe('3');
    expect(await statuses(ask, { 'x-cost': '4' }, { 'x-cost': '0' }, { 'x-cost': '3' })).toEqual([429, 200, 200]);
    expect((await ask({ 'x-cost': '-1' })).status).toBe(500);
  });

  test('that is skipped takes nothing', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({
      anonymous: few(limits, 'anonymous', 1),
      skip: (request) => request.path === '/free',
    });
    for (let round = 0; round < 3; round++) {
      const { status, headers } = await ask({}, '/free');
      expect(status).toBe(200);
      expect(headers['ratelimit']).toBeUndefined();
    }
    expect(await statuses(ask, {}, {})).toEqual([200, 429]);
  });

  test('that is refused is answered by the app where it wants to', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({
      anonymous: few(limits, 'anonymous', 1),
      onRefused: (_request, response, { policy }) => response.end(`no more of ${policy}`),
    });
    await ask();
    const { status, text, headers } = await ask();
    expect({ status, text }).toEqual({ status: 429, text: 'no more of hour' });
    expect(headers['retry-after']).toBeDefined();
  });

  test('comes in again once the wait that it was told is over', async () => {
    const limits = await limitsOf();
    const anonymous = limits.limiter('second', { policies: [{ name: 'second', limit: 1, per: '1s' }] });
    const { ask } = await serve({ anonymous });
    await ask();
    const { status, headers } = await ask();
    expect({ status, wait: headers['retry-after'] }).toEqual({ status: 429, wait: expect.stringMatching(/^[12]$/) });
    await new Promise((resolve) => setTimeout(resolve, Number(headers['retry-after']) * 1_000));
    expect((await ask()).status).toBe(200);
  });

  test('of many at once is let in as often as the limit says', async () => {
    const limits = await limitsOf();
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 25) });
    const all = await Promise.all(Array.from({ length: 60 }, () => ask()));
    expect(all.filter(({ status }) => status === 200)).toHaveLength(25);
    expect(all.filter(({ status }) => status === 429)).toHaveLength(35);
  });
});

describe('while Redis does not answer', () => {
  test.each([
    ['allow', 200],
    ['deny', 503],
  ] as const)('%s answers %d within the deadline, and counts again once it is back', async (onError, status) => {
    const proxy = own(await startProxy(server.port));
    const limits = await limitsOf({ onError, deadline: '300ms' }, proxy.url);
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 10_000) });
    expect((await ask()).status).toBe(200);
    proxy.freeze();
    for (let round = 0; round < 7; round++) {
      const start = performance.now();
      const answer = await ask();
      expect(answer.status).toBe(status);
      expect(answer.headers['ratelimit']).toBeUndefined();
      expect(performance.now() - start).toBeLessThan(3_000);
    }
    proxy.restore();
    proxy.cut();
    await eventually(async () => expect((await ask()).headers['ratelimit']).toContain('"hour";r='), 8_000);
  });

  test('local keeps a share of the limit, and its refusal is the caller’s', async () => {
    const proxy = own(await startProxy(server.port));
    const limits = await limitsOf({ onError: 'local', instances: 2, deadline: '300ms' }, proxy.url);
    const { ask } = await serve({ anonymous: few(limits, 'anonymous', 4) });
    proxy.freeze();
    expect(await statuses(ask, {}, {}, {})).toEqual([200, 200, 429]);
    proxy.restore();
    proxy.cut();
  });
});

const boom = (): never => {
  throw new Error('boom');
};

describe('a handler after it', () => {
  const anonymous: HttpLimiter = {
    consume: async () => ({
      allowed: true,
      policy: 'hour',
      limit: 1,
      remaining: 1,
      retryAfterMs: 0,
      resetMs: 0,
      policies: [],
      source: 'redis',
      shadow: false,
    }),
  };
  test.each<[string, (app: Express) => unknown]>([
    ['that throws', (app) => app.post('/', boom)],
    ['that rejects', (app) => app.post('/', async () => boom())],
    ['of a router that throws', (app) => app.use('/', express.Router().post('/', boom))],
    [
      'for errors that throws',
      (app) => app.post('/', boom).use((_error: Error, _q: unknown, _s: unknown, _n: unknown) => boom()),
    ],
  ])('%s is an error of the request', async (_what, add) => {
    const app = express();
    app.use(rateLimit<express.Request>({ anonymous }));
    add(app);
    app.use((error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      response.status(500).send(`told: ${error.message}`);
    });
    const listener = own(await listen(app, { host: '127.0.0.1', port: 0 }));
    const response = await fetch(listener.url, { method: 'POST', headers: { connection: 'close' } });
    expect({ status: response.status, text: await response.text() }).toEqual({ status: 500, text: 'told: boom' });
  });

  test('whose next() itself throws is told of it, and no rejection is left unhandled', async () => {
    const told: unknown[] = [];
    const middleware = rateLimit({ anonymous });
    middleware({ socket: {} } as never, new ServerResponse({} as never), (error?: unknown) => {
      told.push(error);
      if (error === undefined) boom();
    });
    await eventually(() => expect(told).toEqual([undefined, new Error('boom')]));
  });
});

describe('a limiter that throws', () => {
  const broken: HttpLimiter = { consume: () => Promise.reject(new Error('stopped')) };

  test('is an error of the request by default', async () => {
    const { ask } = await serve({ anonymous: broken });
    expect(await ask()).toMatchObject({ status: 500, text: 'stopped' });
  });

  test('lets it in where the option says so', async () => {
    const { ask } = await serve({ anonymous: broken, onError: 'allow' });
    expect((await ask()).status).toBe(200);
  });
});

describe('the options', () => {
  const limiter: HttpLimiter = { consume: () => Promise.reject(new Error('not asked')) };

  test.each<[object, string]>([
    [{}, 'anonymous: expected a limiter, as limits.limiter() gives one, or false'],
    [{ anonymous: {} }, 'anonymous: expected a limiter'],
    [{ anonymous: false, limiter }, 'user: expected with limiter'],
    [{ anonymous: limiter, user: () => 1 }, 'user: expected with limiter'],
    [{ anonymous: limiter, ipv6Prefix: 129 }, 'ipv6Prefix: expected at most 128'],
    [{ anonymous: limiter, headers: ['draft-6', 'draft-10'] }, 'headers: expected draft-6 or draft-10, not both'],
    [{ anonymous: limiter, headers: ['draft-7'] }, 'draft-7'],
    [{ anonymous: limiter, ipv6prefix: 64 }, 'unknown option ipv6prefix, did you mean ipv6Prefix?'],
  ])('%o are refused', (options, message) => {
    expect(() => rateLimit(options as RateLimitOptions)).toThrow(message);
  });

  test('that are refused tell no secret', () => {
    const options = { anonymous: limiter, secret: 'hunter2' };
    expect(() => rateLimit(options)).toThrow(/secret: expected at least 16 characters, got a string$/);
  });
});
