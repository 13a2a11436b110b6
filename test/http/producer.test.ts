/** The producer API over real HTTP: contracts, jobs from their enqueue to their end, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { handlers, startApi, warmUp, type Api, type Ask } from './producer-app.ts';

let server: TestServer;
let api: Api;
let ask: Ask;
const { handlers: all, release, started } = handlers();

beforeAll(async () => {
  server = await startRedis();
  api = await startApi(server.url);
  ask = api.ask;
  await api.platform.work({ handlers: all, concurrency: 50 });
  await warmUp(api);
});
afterAll(async () => {
  await api?.stop();
  await server?.stop();
});

const idOf = async (contract: string, input: unknown, options?: unknown): Promise<string> => {
  const { status, body } = await ask('POST', `/v1/contracts/${contract}/jobs`, { input, options });
  expect(status).toBe(201);
  return String(body['id']);
};
const problem = (status: number, code: string): object => ({
  status,
  body: {
    type: expect.stringMatching(/^urn:millrace:problem:/),
    title: expect.any(String),
    detail: expect.any(String),
    status,
    code,
  },
});

describe('contracts', () => {
  test('are listed with their schemas, limits and what the key may do', async () => {
    const { status, body } = await ask('GET', '/v1/contracts');
    expect(status).toBe(200);
    const contracts = body['contracts'] as Array<Record<string, unknown>>;
    expect(contracts.map(({ name }) => name)).toEqual(['api.echo', 'api.slow', 'reports.tree']);
    expect(contracts[0]).toMatchObject({
      queue: 'api',
      version: 1,
      acts: ['enqueue', 'read', 'cancel'],
      limits: { attempts: 2, timeoutMs: 3_600_000, batch: 1_000 },
      input: { type: 'object', required: ['text'], additionalProperties: false },
      output: { type: 'object', required: ['said'] },
    });
    expect((await ask('GET', '/v1/contracts/reports.tree')).body).toMatchObject({
      unique: { onConflict: 'ignore', forMs: 3_600_000 },
    });
    expect(await ask('GET', '/v1/contracts/no.such')).toMatchObject(problem(404, 'CONTRACT_UNKNOWN'));
  });
});

describe('a job', () => {
  test('is enqueued, runs, and its result is told', async () => {
    const { status, body, headers } = await ask('POST', '/v1/contracts/api.echo/jobs', {
      input: { text: 'ab', times: 2 },
    });
    expect([status, body['status']]).toEqual([201, 'added']);
    expect(headers.get('location')).toBe(`/api/v1/jobs/${String(body['id'])}`);
    expect(headers.get('ratelimit-policy')).toContain('q=100000');
    const ended = await ask('GET', `/v1/jobs/${String(body['id'])}/wait`);
    expect(ended).toMatchObject({
      status: 200,
      body: { state: 'completed', hasEnded: true, result: { said: 'abab' } },
    });
    expect((await ask('GET', `/v1/jobs/${String(body['id'])}`)).body).toMatchObject({
      id: body['id'],
      contract: 'api.echo',
      state: 'completed',
      attempts: { made: 1, most: 2 },
      enqueuedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    });
    expect((await ask('GET', `/v1/jobs/${String(body['id'])}/result`)).body).toEqual(ended.body);
  });

  test('that failed for good is told with its reason, and nothing that its contract calls secret', async () => {
    const id = await idOf('api.echo', { text: 'a', fail: 'no luck with', password: 'hunter2-hunter2' });
    const { status, body, text } = await ask('GET', `/v1/jobs/${id}/wait`);
    expect([status, body['state'], body['hasEnded']]).toEqual([200, 'failed', true]);
    expect(body['reason']).toContain('no luck with [secret]');
    expect(text).not.toContain('hunter2');
    // Now as a dead letter too.
    await eventually(async () => expect((await api.platform.deadLetters.get(`${id}~0`))?.jobId).toBe(id));
    const dead = await ask('GET', `/v1/jobs/${id}/result`);
    expect(dead.body).toMatchObject({ id, state: 'failed', attempts: { made: 2, most: 2 } });
    expect(dead.body['reason']).toContain('no luck with [secret]');
    expect(await ask('POST', `/v1/jobs/${id}/cancel`)).toMatchObject(problem(409, 'JOB_ENDED'));
  });

  test('that waits for its time is told as delayed, has no result yet, and can be cancelled', async () => {
    const id = await idOf('api.echo', { text: 'later' }, { delay: '1h', priority: 3, attempts: 7 });
    expect((await ask('GET', `/v1/jobs/${id}`)).body).toMatchObject({
      state: 'delayed',
      hasEnded: false,
      attempts: { made: 0, most: 7 },
    });
    const early = await ask('GET', `/v1/jobs/${id}/result`);
    expect(early).toMatchObject(problem(409, 'JOB_UNFINISHED'));
    expect(early.headers.get('retry-after')).toBe('1');
    expect(await ask('GET', `/v1/jobs/${id}/wait?timeout=0`)).toMatchObject({
      status: 202,
      body: { state: 'delayed' },
    });
    expect((await ask('GET', `/v1/jobs/${id}/wait?timeout=300ms`)).status).toBe(202);
    expect(await ask('POST', `/v1/jobs/${id}/cancel`, { reason: 'changed my mind' })).toMatchObject({
      status: 200,
      body: { id, status: 'cancelled' },
    });
    expect((await ask('GET', `/v1/jobs/${id}/result`)).body).toMatchObject({
      state: 'cancelled',
      reason: 'changed my mind',
      hasEnded: true,
    });
    expect((await ask('POST', `/v1/jobs/${id}/cancel`)).body).toMatchObject({ status: 'cancelled' });
  });

  test('may be asked for at a time that has passed, be it before 1970', async () => {
    for (const at of ['2020-01-01T00:00:00Z', '1960-01-01T00:00:00Z']) {
      const { status } = await ask('POST', '/v1/contracts/api.echo/jobs', { input: { text: 'past' }, options: { at } });
      expect(status, at).toBe(201);
    }
  });

  test('that runs is told with its progress, and a cancellation reaches it', async () => {
    const id = await idOf('api.slow', { id: 'run' });
    await eventually(async () =>
      expect((await ask('GET', `/v1/jobs/${id}`)).body).toMatchObject({ state: 'active', progress: 50 }),
    );
    expect(await ask('POST', `/v1/jobs/${id}/cancel`, { deadline: '10s' })).toMatchObject({ status: 200 });
    expect((await ask('GET', `/v1/jobs/${id}`)).body).toMatchObject({ state: 'cancelled' });
  });

  test('can be waited for while it runs', async () => {
    const id = await idOf('api.slow', { id: 'wait' });
    await eventually(() => expect(started.has('wait')).toBe(true));
    const waiting = ask('GET', `/v1/jobs/${id}/wait?timeout=60s`);
    release('wait');
    expect(await waiting).toMatchObject({ status: 200, body: { state: 'completed', result: 'released' } });
  });

  test('of a unique key is told to be there already; such a contract takes no other key', async () => {
    const first = await ask('POST', '/v1/contracts/reports.tree/jobs', { input: { user: 'ada' } });
    const second = await ask('POST', '/v1/contracts/reports.tree/jobs', { input: { user: 'ada' } });
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.body).toEqual({ id: first.body['id'], status: 'duplicate' });
    const keyed = await ask('POST', '/v1/contracts/reports.tree/jobs', {
      input: { user: 'ada' },
      options: { idempotencyKey: 'x' },
    });
    expect(keyed).toMatchObject(problem(400, 'REQUEST_INVALID'));
    expect(keyed.body['errors']).toEqual([{ path: 'options.idempotencyKey', reason: expect.any(String) }]);
  });

  test('of nobody, or of a contract that the API was not given, is not there', async () => {
    for (const path of ['', '/result', '/wait', '/events'])
      expect(await ask('GET', `/v1/jobs/nobody${path}`), path).toMatchObject(problem(404, 'JOB_UNKNOWN'));
    expect(await ask('POST', '/v1/jobs/nobody/cancel')).toMatchObject(problem(404, 'JOB_UNKNOWN'));
    const hidden = defineJob({ name: 'api.hidden', input: z.object({}) });
    const { id } = await api.platform.jobs.enqueue(hidden, {}, { delay: '1h' });
    expect(await ask('GET', `/v1/jobs/${id}`)).toMatchObject(problem(404, 'JOB_UNKNOWN'));
  });
});

describe('many jobs', () => {
  test('are answered in order', async () => {
    const jobs = Array.from({ length: 20 }, (_, index) => ({
      input: { text: `n${index}` },
      options: { delay: '1h', ...(index % 2 === 0 && { idempotencyKey: `batch-${index % 4}` }) },
    }));
    const { status, body } = await ask('POST', '/v1/contracts/api.echo/jobs/batch', { jobs });
    expect(status).toBe(201);
    const told = body['jobs'] as Array<{ id: string; status: string }>;
    expect(told).toHaveLength(20);
    expect(told.filter((one) => one.status === 'duplicate')).toHaveLength(8);
    const infos = await Promise.all([1, 3, 19].map((index) => api.platform.jobs.get(told[index]?.id ?? '')));
    expect(infos.map((info) => info?.input)).toEqual([{ text: 'n1' }, { text: 'n3' }, { text: 'n19' }]);
  });

  test('are enqueued all or none: the first bad one is named', async () => {
    const before = await api.platform.jobs.counts('api');
    const jobs = [{ input: { text: 'good' } }, { input: { text: '' } }];
    const refused = await ask('POST', '/v1/contracts/api.echo/jobs/batch', { jobs });
    expect(refused).toMatchObject(problem(422, 'INPUT_INVALID'));
    expect(refused.body['errors']).toEqual([{ path: 'jobs[1].input.text', reason: expect.any(String) }]);
    const tooMany = await ask('POST', '/v1/contracts/api.echo/jobs/batch', {
      jobs: Array.from({ length: 1_001 }, () => jobs[0]),
    });
    expect(tooMany).toMatchObject(problem(400, 'REQUEST_INVALID'));
    expect(await ask('POST', '/v1/contracts/api.echo/jobs/batch', { jobs: [] })).toMatchObject(
      problem(400, 'REQUEST_INVALID'),
    );
    expect(await api.platform.jobs.counts('api')).toEqual(before);
  });
});

const post = (body: unknown, headers: Record<string, string> = {}) =>
  ask('POST', '/v1/contracts/api.echo/jobs', body, { headers });

/** An input of reports.tree, as text. */
const treeOf = (levels: number): string =>
  `{"user":"deep","node":${'{"name":"a","children":['.repeat(levels)}${']}'.repeat(levels)}}`;

describe('a request that is refused', () => {
  test('for its input tells each place, and quotes no secret', async () => {
    const refused = await post({ input: { text: 5, times: 9, extra: 1, password: 12_345_678 } });
    expect(refused).toMatchObject(problem(422, 'INPUT_INVALID'));
    const places = (refused.body['errors'] as Array<{ path: string }>).map(({ path }) => path);
    expect(places.toSorted()).toEqual(['input', 'input.password', 'input.text', 'input.times']);
    expect(refused.text).not.toContain('12345678');
    expect(refused.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  });

  test.each<[string, unknown, number, string]>([
    ['no JSON', '{"input":', 400, 'BODY_UNREADABLE'],
    ['no object', '[1]', 400, 'REQUEST_INVALID'],
    ['no body', undefined, 422, 'INPUT_INVALID'],
    ['an unknown field', { input: { text: 'a' }, option: {} }, 400, 'REQUEST_INVALID'],
    ['an unknown option', { input: { text: 'a' }, options: { dellay: 1 } }, 400, 'REQUEST_INVALID'],
    ['a bad delay', { input: { text: 'a' }, options: { delay: '5 minutes' } }, 400, 'REQUEST_INVALID'],
    ['a bad time', { input: { text: 'a' }, options: { at: 'tomorrow' } }, 400, 'REQUEST_INVALID'],
    ['two times', { input: { text: 'a' }, options: { at: '2040-01-01T00:00:00Z', delay: 1 } }, 400, 'REQUEST_INVALID'],
    ['a deadline', { input: { text: 'a' }, options: { deadline: 1 } }, 400, 'REQUEST_INVALID'],
    ['no input', {}, 422, 'INPUT_INVALID'],
    ['a time too far away', { input: { text: 'a' }, options: { at: '9999-12-31T00:00:00Z' } }, 400, 'REQUEST_INVALID'],
    ['a deep input', `{"input":{"text":${'['.repeat(5_000)}${']'.repeat(5_000)}}}`, 400, 'REQUEST_INVALID'],
    ['too large an input', { input: { text: 'a'.repeat(300_000) } }, 413, 'PAYLOAD_TOO_LARGE'],
    ['too large a body', { input: { text: 'a'.repeat(5_000_000) } }, 413, 'PAYLOAD_TOO_LARGE'],
  ])('for %s', async (_what, body, status, code) => {
    expect(await post(body)).toMatchObject(problem(status, code));
  });

  test.each<[string, string, string, Record<string, string>, number, string]>([
    [
      'a body of another kind',
      'POST',
      '/v1/contracts/api.echo/jobs',
      { 'content-type': 'text/plain' },
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    ],
    [
      'another charset',
      'POST',
      '/v1/contracts/api.echo/jobs',
      { 'content-type': 'application/json; charset=latin1' },
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    ],
    [
      'a charset that can be read elsewhere',
      'POST',
      '/v1/contracts/api.echo/jobs',
      { 'content-type': 'application/json; charset=utf-16' },
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    ],
    [
      'a coding that is not known',
      'POST',
      '/v1/contracts/api.echo/jobs',
      { 'content-encoding': 'pigeon' },
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    ],
    ['a method that is not there', 'PUT', '/v1/contracts/api.echo/jobs', {}, 405, 'METHOD_NOT_ALLOWED'],
    ['a path that is not there', 'POST', '/v1/nothing', {}, 404, 'NOT_FOUND'],
    ['a path that cannot be read', 'POST', '/v1/jobs/%E0%A4%A/cancel', {}, 400, 'BODY_UNREADABLE'],
  ])('for %s', async (_what, method, path, headers, status, code) => {
    const answer = await ask(method, path, { input: { text: 'a' } }, { headers });
    expect(answer).toMatchObject(problem(status, code));
    expect(answer.headers.get('allow')).toBe(status === 405 ? 'POST' : null);
  });

  test('for an input that is deep, also where the contract has no end to it', async () => {
    const path = '/v1/contracts/reports.tree/jobs';
    const deep = treeOf(2_000);
    expect(await ask('POST', path, `{"input":${deep}}`)).toMatchObject(problem(400, 'REQUEST_INVALID'));
    expect(await ask('POST', `${path}/batch`, `{"jobs":[{"input":${deep}}]}`)).toMatchObject(
      problem(400, 'REQUEST_INVALID'),
    );
    expect((await ask('POST', path, `{"input":${treeOf(50)}}`)).status).toBe(201);
  });

  test('for a wait that is too long, or none', async () => {
    const id = await idOf('api.echo', { text: 'a' });
    for (const timeout of ['61s', 'soon', '-1', '1&timeout=2'])
      expect(await ask('GET', `/v1/jobs/${id}/wait?timeout=${timeout}`), timeout).toMatchObject(
        problem(400, 'REQUEST_INVALID'),
      );
  });
});
