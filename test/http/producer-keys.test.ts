/** Who may use the producer API: keys, scopes, expiry, revocation, limits; and requests that are sent twice. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createApiKeys } from '../../src/http/index.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import type { Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { startApi, warmUpOnly, type Api, type Ask } from './producer-app.ts';

let server: TestServer;
let api: Api;
let ask: Ask;
beforeAll(async () => {
  server = await startRedis();
  api = await startApi(server.url);
  ask = api.ask;
  await warmUpOnly(api);
});
afterAll(async () => {
  await api?.stop();
  await server?.stop();
});

const ECHO = '/v1/contracts/api.echo/jobs';
const later = (text: string, options: object = {}) => ({ input: { text }, options: { delay: '1h', ...options } });

describe('an API key', () => {
  test('is shown once, is random in 256 bits, and only its hash is kept', async () => {
    const keys = createApiKeys(api.platform);
    const { token, key } = await keys.create({ name: 'shop', scopes: ['read:*', 'read:*'], expiresIn: '1h' });
    expect(token).toMatch(new RegExp(`^mr_${key.id}_[\\w-]{43}$`));
    expect(key).toMatchObject({ name: 'shop', scopes: ['read:*'], expiresAt: key.createdAt + 3_600_000 });
    const redis = api.platform.redis.commands();
    const kept = JSON.stringify(await redis.hgetall(`${api.platform.prefix}:api-keys:{all}`));
    expect(kept).toContain('shop');
    expect(kept).not.toContain(token.slice(-43));
    expect(await keys.list()).toContainEqual(key);
  });

  test('that is missing, made up, or of another secret lets nobody in, and the refusal says what to send', async () => {
    const good = await api.newKey(['*:*']);
    const none = await ask('GET', '/v1/contracts', undefined, { key: '' });
    expect([none.status, none.body['code'], none.headers.get('www-authenticate')]).toEqual([
      401,
      'KEY_MISSING',
      'Bearer realm="millrace"',
    ]);
    const bad = [
      'x',
      `${good.slice(0, -1)}${good.endsWith('A') ? 'B' : 'A'}`,
      good.replace(/^mr_\w{4}/, 'mr_zzzz'),
      `${good}x`,
      `mr_${'a'.repeat(400)}`,
    ];
    for (const key of bad) {
      const refused = await ask('GET', '/v1/contracts', undefined, { key });
      expect([refused.status, refused.body['code']], key).toEqual([
        401,
        key.length > 200 ? 'KEY_MISSING' : 'KEY_REFUSED',
      ]);
    }
  });

  test('that is revoked is refused at once here, and within a second elsewhere', async () => {
    const token = await api.newKey(['*:*']);
    expect((await ask('GET', '/v1/contracts', undefined, { key: token })).status).toBe(200);
    const elsewhere = createApiKeys(api.platform); // Of another process: what the router remembers does not know of it.
    expect(await elsewhere.revoke(token.split('_')[1] ?? '')).toBe(true);
    await eventually(
      async () => expect((await ask('GET', '/v1/contracts', undefined, { key: token })).status).toBe(401),
      5_000,
    );
    expect(await elsewhere.check(token)).toBeUndefined();
    expect(await elsewhere.revoke('nobody')).toBe(false);
  });

  test('that has expired is refused', async () => {
    const keys = createApiKeys(api.platform);
    const { token } = await keys.create({ name: 'short', scopes: ['*:*'], expiresIn: 1 });
    await eventually(async () => expect(await keys.check(token)).toBeUndefined());
    expect((await ask('GET', '/v1/contracts', undefined, { key: token })).status).toBe(401);
  });

  test('that is not there is asked for once a second', async () => {
    const { prefix, log, redis } = api.platform;
    let questions = 0;
    const commands = (): RedisClient => {
      questions++;
      return redis.commands();
    };
    const keys = createApiKeys({ prefix, log, redis: { label: redis.label, commands } as unknown as Connections });
    for (let time = 0; time < 50; time++)
      expect(await keys.check(`mr_${'a'.repeat(12)}_${'b'.repeat(43)}`)).toBeUndefined();
    expect(questions).toBeLessThan(50);
  });

  test('that has expired makes room when there are too many', async () => {
    const { log, redis } = api.platform;
    const prefix = `${api.platform.prefix}-full`;
    const records = `${prefix}:api-keys:{all}`;
    const expired = JSON.stringify({ name: 'x', scopes: ['*:*'], hash: '', createdAt: 1, expiresAt: 2 });
    const kept = JSON.stringify({ name: 'x', scopes: ['*:*'], hash: '', createdAt: 1 });
    const many = Array.from({ length: 9_999 }, (_, index) => [`key-${index}`, index < 3 ? expired : kept]);
    await redis.commands().hset(records, ...many.flat());
    await redis.commands().hset(`${records}:used`, 'key-0', '1', 'key-3', '1');
    const keys = createApiKeys({ prefix, log, redis });
    for (let time = 0; time < 4; time++) await keys.create({ name: 'new', scopes: ['*:*'] });
    await expect(keys.create({ name: 'new', scopes: ['*:*'] })).rejects.toThrow(/there are 10000 already/);
    expect(await redis.commands().hkeys(`${records}:used`)).toEqual(['key-3']);
  });

  test('tells when it was used last', async () => {
    const keys = createApiKeys(api.platform);
    const { token, key } = await keys.create({ name: 'used', scopes: ['*:*'] });
    await keys.check(`${token.slice(0, -2)}__`);
    expect((await keys.list()).find(({ id }) => id === key.id)).not.toHaveProperty('lastUsedAt');
    await keys.check(token);
    await eventually(async () =>
      expect((await keys.list()).find(({ id }) => id === key.id)?.lastUsedAt).toBeGreaterThanOrEqual(key.createdAt),
    );
  });

  test.each([['email.send'], ['write:email'], ['READ:x.*'], ['enqueue:em*il'], ['enqueue:'], ['enqueue:*.x']])(
    'takes no scope %s',
    async (scope) => {
      await expect(createApiKeys(api.platform).create({ name: 'x', scopes: [scope] })).rejects.toThrow(
        /scopes\[0\]: expected an act/,
      );
    },
  );
});

describe('a scope', () => {
  test('lets a key do what it says, and tells what it lacks', async () => {
    const key = await api.newKey(['enqueue:api.*', 'read:api.slow']);
    const made = await ask('POST', ECHO, later('scoped'), { key });
    expect(made.status).toBe(201);
    const read = await ask('GET', `/v1/jobs/${String(made.body['id'])}`, undefined, { key });
    expect([read.status, read.body['code'], read.body['detail']]).toEqual([
      403,
      'SCOPE_MISSING',
      'This API key lacks the scope read:api.echo.',
    ]);
    expect((await ask('POST', `/v1/jobs/${String(made.body['id'])}/cancel`, {}, { key })).status).toBe(403);
  });

  test('hides what is of other contracts: they, and their jobs, are not there', async () => {
    const key = await api.newKey(['*:reports.*']);
    const other = await ask('POST', ECHO, later('hidden'));
    const id = String(other.body['id']);
    for (const [method, path] of [
      ['GET', `/v1/jobs/${id}`],
      ['GET', `/v1/jobs/${id}/result`],
      ['GET', `/v1/jobs/${id}/events`],
      ['POST', `/v1/jobs/${id}/cancel`],
    ] as const)
      expect(await ask(method, path, undefined, { key }), path).toMatchObject({
        status: 404,
        body: { code: 'JOB_UNKNOWN' },
      });
    expect(await ask('POST', ECHO, later('hidden'), { key })).toMatchObject({
      status: 404,
      body: { code: 'CONTRACT_UNKNOWN' },
    });
    const { body } = await ask('GET', '/v1/contracts', undefined, { key });
    expect(body['contracts']).toMatchObject([{ name: 'reports.tree', acts: ['enqueue', 'read', 'cancel'] }]);
  });
});

const sendOrder = (key?: string) => ask('POST', ECHO, later('same', { idempotencyKey: 'order-1' }), { key });

describe('an idempotency key of a job', () => {
  test('is one job of one API key, and another of another', async () => {
    const second = await api.newKey(['*:*']);
    const [first, again, other] = [await sendOrder(), await sendOrder(), await sendOrder(second)];
    expect([first.status, again.status, other.status]).toEqual([201, 200, 201]);
    expect(again.body).toEqual({ id: first.body['id'], status: 'duplicate' });
    expect(other.body['id']).not.toBe(first.body['id']);
  });
});

const send = (body: unknown, idempotencyKey: string, key?: string, path = ECHO) =>
  ask('POST', path, body, { key, headers: { 'idempotency-key': idempotencyKey } });

/** The id of the job that is made, alone or as a batch of one. */
const idOfOne = async (text: string, idempotencyKey: string, kind?: 'batch'): Promise<unknown> => {
  if (kind === undefined) return (await send(later(text), idempotencyKey)).body['id'];
  const { body } = await send({ jobs: [later(text)] }, idempotencyKey, undefined, `${ECHO}/batch`);
  return (body['jobs'] as Array<{ id: string }>)[0]?.id;
};

describe('the header Idempotency-Key', () => {
  test('gives the same request the same answer, whatever the order of its fields', async () => {
    const first = await send(later('once'), 'k-1');
    const again = await send({ options: { delay: '1h' }, input: { text: 'once' } }, '"k-1"');
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect([first, again].map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, 'true']);
  });

  test('refuses another body or path, and is of one API key only', async () => {
    await send(later('mine'), 'k-2');
    expect(await send(later('other'), 'k-2')).toMatchObject({ status: 422, body: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    const slow = await send({ input: { id: 'x' } }, 'k-2', undefined, '/v1/contracts/api.slow/jobs');
    expect(slow.status).toBe(422);
    expect((await send(later('other'), 'k-2', await api.newKey(['*:*']))).status).toBe(201);
    expect((await send(later('x'), 'two words')).body['code']).toBe('REQUEST_INVALID');
  });

  test('of requests at one moment makes one job; the others are told to come again', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => send(later('at once'), 'k-3')));
    const made = answers.filter(({ status }) => status === 201);
    expect(new Set(made.map(({ body }) => body['id'])).size).toBe(1);
    for (const { status, headers } of answers.filter((one) => one.status !== 201))
      expect([status, headers.get('retry-after')]).toEqual([409, '1']);
  });

  test('is free again after a refusal, so that the request can be mended', async () => {
    expect((await send({ input: {} }, 'k-4')).status).toBe(422);
    expect((await send(later('mended'), 'k-4')).status).toBe(201);
  });

  test('is kept by a batch, job by job', async () => {
    const jobs = [later('a'), later('b')];
    const first = await send({ jobs }, 'k-5', undefined, `${ECHO}/batch`);
    const again = await send({ jobs }, 'k-5', undefined, `${ECHO}/batch`);
    expect(first.status).toBe(201);
    expect(again.body).toEqual(first.body);
  });

  test('of a single job never meets that of a batch', async () => {
    const ids = [
      await idOfOne('1', 'k-7/0'),
      await idOfOne('2', 'k-7', 'batch'),
      await idOfOne('3', 'k-8', 'batch'),
      await idOfOne('4', 'k-8/0'),
      await idOfOne('5', '0/k-8'),
    ];
    expect(new Set(ids).size).toBe(5);
  });

  test('finds the job of a first try that told nobody of its outcome', async () => {
    const first = await send(later('lost'), 'k-6');
    const redis = api.platform.redis.commands();
    const records = `${api.platform.prefix}:api-requests:`;
    let forgotten = 0;
    for await (const key of scan(redis, `${records}*`)) {
      if ((await redis.hget(key, 'answer'))?.includes(String(first.body['id'])) !== true) continue;
      await redis.hdel(key, 'answer'); // As of a process that died before it could keep the answer.
      await redis.hset(key, 'until_ms', systemClock.wallMs() + 20_000);
      const early = await send(later('lost'), 'k-6');
      expect(early).toMatchObject({ status: 409, body: { code: 'REQUEST_UNDER_WAY' } });
      expect(Number(early.headers.get('retry-after')), 'its lease').toBeGreaterThan(10);
      await redis.hset(key, 'until_ms', '0'); // Its lease has run out.
      forgotten++;
    }
    expect(forgotten).toBe(1);
    expect((await send(later('another'), 'k-6')).status).toBe(422);
    const again = await send(later('lost'), 'k-6');
    expect([again.status, again.body]).toEqual([201, first.body]);
  });
});

async function* scan(redis: unknown, match: string): AsyncGenerator<string> {
  const client = redis as { scan(cursor: string, ...args: unknown[]): Promise<[string, string[]]> };
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, 'MATCH', match, 'COUNT', 1_000);
    yield* keys;
    cursor = next;
  } while (cursor !== '0');
}

describe('limits', () => {
  test('are of each key; strangers have one of their address, and waits one of their number', async () => {
    const rule = [{ algorithm: 'fixed-window' as const, name: 'hour', limit: 3, per: '1h' as const }];
    const limited = await startApi(server.url, { limit: rule, anonymousLimit: rule });
    try {
      const statuses = async (key?: string): Promise<number[]> => {
        const seen: number[] = [];
        for (let count = 0; count < 4; count++)
          seen.push((await limited.ask('GET', '/v1/contracts', undefined, { key })).status);
        return seen;
      };
      expect(await statuses()).toEqual([200, 200, 200, 429]);
      expect(await statuses('mr_bad')).toEqual([401, 401, 401, 429]);
      const other = await limited.newKey(['*:*']);
      expect(await statuses(other)).toEqual([200, 200, 200, 429]);
      const refused = await limited.ask('GET', '/v1/contracts', undefined, { key: other });
      expect(refused.body).toMatchObject({ status: 429, code: 'RATE_LIMITED' });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(1);
      expect(refused.headers.get('ratelimit')).toContain('r=0');
      // The document needs no key, so that it counts for its address.
      for (const path of ['/openapi.json', '/docs'])
        expect((await limited.ask('GET', path, undefined, { key: '' })).status).toBe(429);
    } finally {
      await limited.stop();
    }
  });
});
