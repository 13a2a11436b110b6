/** What responses tell of limits, field by field, over real HTTP; the limiter says what each test needs. */
import express from 'express';
import { describe, expect, test } from 'vitest';
import { listen, rateLimit, type HttpLimiter, type RateLimitOptions } from '../../src/http/index.ts';
import type { ConsumeResult, PolicyResult } from '../../src/rate-limit/limiter.ts';

const POLICIES = [
  { name: 'burst', limit: 20, perMs: 1_000, burst: 40 },
  { name: 'day', limit: 1_000, perMs: 86_400_000 },
] as const;

const state = (policy: string, over: Partial<PolicyResult> = {}): PolicyResult => ({
  policy,
  allowed: true,
  limit: 40,
  remaining: 39,
  retryAfterMs: 0,
  resetMs: 1_001,
  shadow: false,
  ...over,
});

const ALLOWED: ConsumeResult = {
  allowed: true,
  policy: 'burst',
  limit: 40,
  remaining: 39,
  retryAfterMs: 0,
  resetMs: 1_001,
  policies: [state('burst'), state('day', { limit: 1_000, remaining: 812, resetMs: 3_999_500 })],
  source: 'redis',
  shadow: false,
};

const REFUSED: ConsumeResult = {
  ...ALLOWED,
  allowed: false,
  remaining: 0,
  retryAfterMs: 2_500,
  resetMs: 40_000,
  policies: [
    state('burst', { allowed: false, remaining: 0, retryAfterMs: 2_500, resetMs: 40_000 }),
    state('day', { limit: 1_000, remaining: 812, resetMs: 3_999_500 }),
  ],
};

const limiterOf = (result: ConsumeResult, policies: HttpLimiter['policies'] = POLICIES): HttpLimiter => ({
  policies,
  consume: async () => result,
});

/** The response of an app whose middleware these are. */
async function ask(...all: Array<Omit<RateLimitOptions, 'anonymous'> & { result: ConsumeResult; told?: HttpLimiter }>) {
  const app = express();
  for (const { result, told = limiterOf(result), ...options } of all) {
    app.use(rateLimit({ retryJitter: 0, ...options, anonymous: told }));
  }
  app.get('/', (_request, response) => void response.send('in'));
  const listener = await listen(app, { host: '127.0.0.1', port: 0 });
  try {
    const response = await fetch(listener.url, { headers: { connection: 'close' } });
    const text = await response.text();
    const { status, headers } = response;
    const fields = Object.fromEntries([...headers].filter(([name]) => /ratelimit|retry-after/.test(name)));
    return { status, headers, fields, text };
  } finally {
    await listener.close();
  }
}

/** The names of the fields of a call that is let in. */
const names = async (options: Partial<RateLimitOptions>): Promise<string[]> =>
  Object.keys((await ask({ result: ALLOWED, ...options })).fields).toSorted();

const nowS = (): number => Date.now() / 1_000;

describe('the fields of draft-10', () => {
  test('tell all policies, and what is left of each', async () => {
    const { status, fields } = await ask({ result: ALLOWED, headers: ['draft-10'] });
    expect(status).toBe(200);
    expect(fields).toEqual({
      'ratelimit-policy': '"burst";q=20;w=1;millrace-burst=40, "day";q=1000;w=86400',
      ratelimit: '"burst";r=39;t=2, "day";r=812;t=4000',
    });
  });

  test('of a refused call tell no time that is later than Retry-After', async () => {
    const { status, fields } = await ask({ result: REFUSED, headers: ['draft-10'] });
    expect(status).toBe(429);
    expect(fields).toMatchObject({ 'retry-after': '3', ratelimit: '"burst";r=0;t=3, "day";r=812' });
  });

  test('tell no window that is not of whole seconds, and no burst that is the limit', async () => {
    const policies = [
      { name: 'half', limit: 5, perMs: 500, burst: 5 },
      { name: 'odd', limit: 5, perMs: 1_500 },
    ];
    const { fields } = await ask({ result: ALLOWED, told: limiterOf(ALLOWED, policies), headers: ['draft-10'] });
    expect(fields['ratelimit-policy']).toBe('"half";q=5, "odd";q=5');
  });

  test('leave out what only watches', async () => {
    const result = { ...ALLOWED, policies: [state('burst'), state('day', { shadow: true })] };
    const policies = [POLICIES[0], { ...POLICIES[1], shadow: true }];
    const { fields } = await ask({ result, told: limiterOf(result, policies), headers: ['draft-10'] });
    expect(fields).toEqual({ 'ratelimit-policy': '"burst";q=20;w=1;millrace-burst=40', ratelimit: '"burst";r=39;t=2' });
  });

  test('tell whose they are where that is asked for, without telling his address', async () => {
    const { fields } = await ask({ result: ALLOWED, headers: ['draft-10'], partitionKey: true });
    const [key] = /;pk=:[A-Za-z0-9+/]{12}:/.exec(fields['ratelimit'] ?? '') ?? [];
    expect(fields['ratelimit']).toBe(`"burst";r=39;t=2${key}, "day";r=812;t=4000${key}`);
    expect(fields['ratelimit-policy']).toBe(`"burst";q=20;w=1;millrace-burst=40${key}, "day";q=1000;w=86400${key}`);
  });

  test('are integers that a structured field can hold', async () => {
    const result = { ...ALLOWED, policies: [state('burst', { remaining: 1e17, resetMs: 1e300 })] };
    const { fields } = await ask({ result, told: limiterOf(result, []), headers: ['draft-10'] });
    expect(fields).toEqual({ ratelimit: '"burst";r=999999999999999;t=999999999999999' });
  });

  test('of several limits of one request stand side by side', async () => {
    const other = { ...ALLOWED, policies: [state('login', { remaining: 4 })] };
    const { fields } = await ask(
      { result: ALLOWED, headers: ['draft-10'] },
      { result: other, told: limiterOf(other, [{ name: 'login', limit: 5, perMs: 60_000 }]), headers: ['draft-10'] },
    );
    expect(fields['ratelimit']).toBe('"burst";r=39;t=2, "day";r=812;t=4000, "login";r=4;t=2');
    expect(fields['ratelimit-policy']).toContain(', "login";q=5;w=60');
  });
});

describe('the fields of draft-6', () => {
  test('tell the policy that is the nearest to its limit, and the windows of all', async () => {
    const { fields } = await ask({ result: ALLOWED, headers: ['draft-6'] });
    expect(fields).toEqual({
      'ratelimit-policy': '20;w=1, 1000;w=86400',
      'ratelimit-limit': '40',
      'ratelimit-remaining': '39',
      'ratelimit-reset': '2',
    });
  });
});

describe('the fields of x-ratelimit', () => {
  test('tell when all is there again, in Unix seconds', async () => {
    const before = nowS();
    const { fields } = await ask({ result: ALLOWED, headers: ['x-ratelimit'] });
    expect(fields).toMatchObject({ 'x-ratelimit-limit': '40', 'x-ratelimit-remaining': '39' });
    expect(Object.keys(fields)).toHaveLength(3);
    const resetS = Number(fields['x-ratelimit-reset']);
    expect(resetS).toBeGreaterThanOrEqual(before + 1);
    expect(resetS).toBeLessThanOrEqual(nowS() + 3);
  });

  test('of a refused call tell when it will be let in', async () => {
    const before = nowS();
    const { fields } = await ask({ result: REFUSED, headers: ['x-ratelimit'] });
    expect(Number(fields['x-ratelimit-reset'])).toBeLessThanOrEqual(nowS() + 4);
    expect(Number(fields['x-ratelimit-reset'])).toBeGreaterThanOrEqual(before + 2);
  });
});

describe('the choice of fields', () => {
  test('is draft-10 and x-ratelimit by default, and may be none', async () => {
    expect(await names({})).toEqual([
      'ratelimit',
      'ratelimit-policy',
      'x-ratelimit-limit',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
    ]);
    expect(await names({ headers: [] })).toEqual([]);
  });

  test('nothing is told that is not known: after an outage, or of a limiter without policies', async () => {
    const outage: ConsumeResult = { ...ALLOWED, source: 'outage', policies: [] };
    expect((await ask({ result: outage })).fields).toEqual({});
    const known: ConsumeResult = { ...ALLOWED, source: 'deny-cache', policies: [] };
    const bare: HttpLimiter = { consume: async () => known };
    expect((await ask({ result: known, told: bare, headers: ['draft-10'] })).fields).toEqual({});
  });
});

describe('the answer to a refused call', () => {
  test('is a problem document with the policies that refused it', async () => {
    const { headers, text } = await ask({ result: REFUSED });
    expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(JSON.parse(text)).toEqual({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      title: 'Too many requests',
      status: 429,
      detail: 'The limit is used up. Come again in 3 s.',
      code: 'RATE_LIMITED',
      'violated-policies': ['burst'],
      retryAfterMs: 2_500,
    });
  });

  test('names what refused it where no policy is known to have', async () => {
    const result: ConsumeResult = { ...REFUSED, policy: 'block', policies: [], source: 'deny-cache' };
    expect(JSON.parse((await ask({ result })).text)).toMatchObject({ 'violated-policies': ['block'] });
  });

  test('tells no time for a call that never will be let in', async () => {
    const refused = state('burst', { allowed: false, retryAfterMs: Infinity });
    const result: ConsumeResult = { ...REFUSED, retryAfterMs: Infinity, policies: [refused] };
    const { status, fields, text } = await ask({ result });
    expect(status).toBe(429);
    expect(fields).not.toHaveProperty('retry-after');
    expect(fields).not.toHaveProperty('x-ratelimit-reset');
    expect(fields['ratelimit']).toBe('"burst";r=39');
    expect(JSON.parse(text)).toMatchObject({
      retryAfterMs: null,
      detail: 'This request takes more than the limit allows at once.',
    });
  });

  test('is 503 when it was refused because Redis is away', async () => {
    const result: ConsumeResult = { ...REFUSED, retryAfterMs: 1_000, source: 'outage' };
    const { status, fields, text } = await ask({ result });
    expect(status).toBe(503);
    expect(fields).toEqual({ 'retry-after': '1' });
    expect(JSON.parse(text)).toMatchObject({
      type: 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
      'violated-policies': [],
    });
  });

  test('spreads those that were refused until the same moment, and never tells less than the wait', async () => {
    const result: ConsumeResult = { ...REFUSED, retryAfterMs: 60_000 };
    const told = await Promise.all(
      Array.from({ length: 60 }, async () => Number((await ask({ result, retryJitter: 0.1 })).fields['retry-after'])),
    );
    expect(Math.min(...told)).toBeGreaterThanOrEqual(60);
    expect(Math.max(...told)).toBeLessThanOrEqual(66);
    expect(new Set(told).size).toBeGreaterThan(2);
    const day: ConsumeResult = { ...REFUSED, retryAfterMs: 86_400_000 };
    const { fields } = await ask({ result: day, retryJitter: 1 });
    expect(Number(fields['retry-after'])).toBeLessThanOrEqual(86_430);
  });

  test('spreads those that wait shortly over a second, unless they are not to be spread at all', async () => {
    const result: ConsumeResult = { ...REFUSED, retryAfterMs: 2_500 };
    const told = async (options: Pick<RateLimitOptions, 'retryJitter'>): Promise<number[]> => {
      const asked = Array.from({ length: 60 }, () => ask({ result, ...options }));
      const seconds = (await Promise.all(asked)).map(({ fields }) => Number(fields['retry-after']));
      return [...new Set(seconds)].toSorted((left, right) => left - right);
    };
    expect(await told({ retryJitter: undefined })).toEqual([3, 4]);
    expect(await told({ retryJitter: 0 })).toEqual([3]);
    expect(await told({ retryJitter: 1 })).toEqual([3, 4, 5, 6]);
  });
});
