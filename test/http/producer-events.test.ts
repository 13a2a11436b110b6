/** The producer API where it takes time: streams of events, waits, and a Redis that is away. */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createApiKeys } from '../../src/http/index.ts';
import { JobWatch, type Look } from '../../src/http/producer/job-watch.ts';
import type { Sight } from '../../src/http/producer/job-sight.ts';
import { systemClock } from '../../src/clock.ts';
import { eventually } from '../support/eventually.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { handlers, startApi, warmUp, warmUpOnly, type Api } from './producer-app.ts';

let server: TestServer;
let api: Api;
const { handlers: all, release, started } = handlers();
beforeAll(async () => {
  server = await startRedis();
  api = await startApi(server.url, { waitsPerKey: 2 });
  await api.platform.work({ handlers: all, concurrency: 50 });
  await warmUp(api);
});
afterAll(async () => {
  await api?.stop();
  await server?.stop();
});

interface Event {
  event: string;
  data: Record<string, unknown>;
}

/** A stream that is read to its end. */
interface Following {
  readonly events: Event[];
  readonly ended: Promise<void>;
  leave(): void;
}

const open: Following[] = [];
afterEach(async () => {
  for (const following of open.splice(0)) {
    following.leave();
    await following.ended;
  }
});

async function follow(id: string, key = api.key, url = api.url): Promise<Following> {
  const headers = { authorization: `Bearer ${key}` };
  const request = get(`${url}/v1/jobs/${id}/events`, { headers, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  expect([response.statusCode, response.headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
  expect(response.headers['cache-control']).toBe('no-store');
  const events: Event[] = [];
  let rest = '';
  response.setEncoding('utf8').on('data', (piece: string) => {
    const blocks = (rest + piece).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      if (event !== undefined) events.push({ event, data: JSON.parse(data ?? '') as Record<string, unknown> });
    }
  });
  request.on('error', () => undefined); // Of who has left.
  const ended = new Promise<void>((resolve) => {
    response.once('close', resolve);
  });
  const following = { events, ended, leave: () => void request.destroy() };
  open.push(following);
  return following;
}

async function start(id: string): Promise<string> {
  const { body } = await api.ask('POST', '/v1/contracts/api.slow/jobs', { input: { id } });
  await eventually(() => expect(started.has(id)).toBe(true));
  return String(body['id']);
}

describe('a stream of events', () => {
  test('tells where the job is, its progress and its end, and then ends', async () => {
    const id = await start('stream');
    const { events, ended } = await follow(id);
    await eventually(() =>
      expect(events.at(-1)).toMatchObject({ event: 'state', data: { id, state: 'active', progress: 50 } }),
    );
    release('stream');
    await ended;
    expect(events.at(-1)).toMatchObject({ event: 'end', data: { id, state: 'completed', result: 'released' } });
    expect(new Set(events.map((one) => JSON.stringify(one))).size, 'nothing is told twice').toBe(events.length);
  });

  test('of a job that has ended tells the end at once', async () => {
    const { body } = await api.ask('POST', '/v1/contracts/api.echo/jobs', { input: { text: 'a' } });
    await api.ask('GET', `/v1/jobs/${String(body['id'])}/wait`);
    const { events, ended } = await follow(String(body['id']));
    await ended;
    expect(events).toMatchObject([{ event: 'end', data: { state: 'completed', result: { said: 'a' } } }]);
  });

  test('ends with its key', async () => {
    const id = await start('revoked');
    const key = await api.newKey(['read:*']);
    const { events, ended } = await follow(id, key);
    await eventually(() => expect(events).not.toEqual([]));
    await createApiKeys(api.platform).revoke(key.split('_')[1] ?? '');
    await ended;
    release('revoked');
    expect(events.every(({ event }) => event === 'state')).toBe(true);
  });

  test('tells the end at once, however many jobs are watched', async () => {
    const many = await startApi(server.url, { waitsPerKey: 100 });
    const look = many.platform.jobs.get.bind(many.platform.jobs);
    try {
      const others = Array.from({ length: 60 }, () => ({ input: { text: 'a' }, options: { delay: '1h' } }));
      const { body } = await many.ask('POST', '/v1/contracts/api.echo/jobs/batch', { jobs: others });
      const ids = (body['jobs'] as Array<{ id: string }>).map(({ id }) => id);
      await many.platform.work({ handlers: all });
      const slow = await many.ask('POST', '/v1/contracts/api.slow/jobs', { input: { id: 'watched' } });
      await eventually(() => expect(started.has('watched')).toBe(true));
      for (const id of ids) await follow(id, many.key, many.url);
      const { events, ended } = await follow(String(slow.body['id']), many.key, many.url);
      let looks = 0;
      many.platform.jobs.get = async (id) => {
        const info = await look(id);
        looks++;
        if (id === slow.body['id'] && info?.state === 'active') {
          looks = 0; // Its turn comes again after that of all others.
          release('watched');
        }
        return info;
      };
      await ended;
      expect(events.at(-1)).toMatchObject({ event: 'end', data: { state: 'completed' } });
      expect(looks).toBeLessThan(30);
    } finally {
      await many.stop();
    }
  });

  test('that its client has left frees its place; a key has so many places', async () => {
    const id = await start('places');
    const first = await follow(id);
    await follow(id);
    const refused = await api.ask('GET', `/v1/jobs/${id}/wait?timeout=1s`);
    expect(refused).toMatchObject({ status: 429, body: { code: 'TOO_MANY_WAITS' } });
    expect(refused.headers.get('retry-after')).toBe('1');
    // Another key has places of its own.
    expect(
      (await api.ask('GET', `/v1/jobs/${id}/wait?timeout=1ms`, undefined, { key: await api.newKey(['read:*']) }))
        .status,
    ).toBe(202);
    first.leave();
    await eventually(async () => expect((await api.ask('GET', `/v1/jobs/${id}/wait?timeout=1ms`)).status).toBe(202));
    release('places');
  });
});

describe('a wait', () => {
  test('tells the end as its worker tells it: looks are taken when it begins and when it is over', async () => {
    const { jobs } = api.platform;
    const look = jobs.get.bind(jobs);
    const job = await start('told');
    let looks = 0;
    jobs.get = (id) => {
      looks++;
      return look(id);
    };
    try {
      const waiting = api.ask('GET', `/v1/jobs/${job}/wait`);
      await systemClock.sleep(1_000); // Time for more.
      release('told');
      expect(await waiting).toMatchObject({ status: 200, body: { state: 'completed', result: 'released' } });
      expect(looks).toBe(2);
    } finally {
      jobs.get = look;
    }
  });

  test('tells where the job is when its time is over', async () => {
    const job = await start('goes-on');
    const { status, body } = await api.ask('GET', `/v1/jobs/${job}/wait?timeout=20ms`);
    expect([status, body['state']]).toEqual([202, 'active']);
    release('goes-on');
  });

  test('tells nothing to a key that was revoked meanwhile', async () => {
    const job = await start('secret');
    const key = await api.newKey(['read:*']);
    const waiting = api.ask('GET', `/v1/jobs/${job}/wait`, undefined, { key });
    await systemClock.sleep(300);
    await createApiKeys(api.platform).revoke(key.split('_')[1] ?? '');
    await systemClock.sleep(1_200); // So long a process remembers the key.
    release('secret');
    expect(await waiting).toMatchObject({ status: 401, body: { code: 'KEY_REFUSED' } });
  });

  test('or stream whose client left before it began takes no place', async () => {
    const proxy = await startProxy(server.port);
    const far = await startApi(proxy.url, { waitsPerKey: 2 });
    try {
      const { body } = await far.ask('POST', '/v1/contracts/api.echo/jobs', {
        input: { text: 'a' },
        options: { delay: '1h' },
      });
      const path = `/v1/jobs/${String(body['id'])}`;
      const options = { headers: { authorization: `Bearer ${far.key}` }, agent: false };
      await far.ask('GET', path);
      proxy.slowDown(300);
      const left = ['events', 'wait', 'events', 'wait'].map((what) =>
        get(`${far.url}${path}/${what}`, options).on('error', () => undefined),
      );
      await systemClock.sleep(100); // They have been read, and ask Redis for what they need.
      for (const request of left) request.destroy();
      // It takes the same way after them.
      expect((await far.ask('GET', `${path}/wait?timeout=1ms`)).status).toBe(202);
    } finally {
      await far.stop();
      await proxy.stop();
    }
  });
});

describe('watching', () => {
  const sight = { job: { id: 'a' } } as Sight;

  test('looks once for all who watch a job, and not at all once nobody does', async () => {
    let looks = 0;
    const watch = new JobWatch(async () => {
      looks++;
      return sight;
    });
    const seen: Look[] = [];
    const ends = Array.from({ length: 50 }, () => watch.watch('a', (look) => seen.push(look)));
    await eventually(() => expect(seen.length).toBeGreaterThanOrEqual(100));
    expect(seen.length).toBe(looks * 50);
    for (const end of ends) end();
    expect(watch.size).toBe(0);
    const before = looks;
    await systemClock.sleep(600);
    expect(looks).toBe(before);
  });

  test('of many jobs is paced: no more than 100 looks a second', async () => {
    let looks = 0;
    const watch = new JobWatch(async () => {
      looks++;
      return sight;
    });
    const ends = Array.from({ length: 60 }, (_, index) => watch.watch(`job-${index}`, () => undefined));
    const startMs = systemClock.monotonicMs();
    await eventually(() => expect(looks).toBeGreaterThanOrEqual(120));
    const seconds = (systemClock.monotonicMs() - startMs) / 1_000;
    for (const end of ends) end();
    expect(looks / seconds).toBeLessThanOrEqual(110);
  });

  test('of many jobs is spread over time', async () => {
    let looks = 0;
    const watch = new JobWatch(async () => {
      looks++;
      return sight;
    });
    const ends = Array.from({ length: 100 }, (_, index) => watch.watch(`job-${index}`, () => undefined));
    await eventually(() => expect(looks).toBeGreaterThan(1)); // The first to come is looked at alone.
    expect(looks).toBeLessThan(100);
    for (const end of ends) end();
  });

  test('takes a job for gone when it was missed twice', async () => {
    const answers = [undefined, sight, undefined, undefined];
    const watch = new JobWatch(async () => answers.shift());
    const seen: Look[] = [];
    const end = watch.watch('a', (look) => seen.push(look));
    await eventually(() => expect(seen).toEqual([{ sight }, { gone: true }]));
    end();
  });
});

describe('while Redis is away', () => {
  test('requests are answered with 503 within their deadline, and nothing is left behind', async () => {
    const proxy = await startProxy(server.port);
    const away = await startApi(proxy.url);
    const job = { input: { text: 'never' }, options: { delay: '1h' } };
    try {
      const { body } = await away.ask('POST', '/v1/contracts/api.echo/jobs', job);
      const id = String(body['id']);
      await away.ask('POST', '/v1/contracts/reports.tree/jobs', { input: { user: 'x' } }); // Opens all connections.
      const before = await away.platform.jobs.counts('api');
      proxy.freeze();
      const startMs = systemClock.monotonicMs();
      // The first still knows the key and fails at its own deadline; later ones cannot even check it.
      const answers = await Promise.all([
        away.ask('POST', '/v1/contracts/api.echo/jobs', job),
        away.ask('POST', '/v1/contracts/api.echo/jobs', job, { headers: { 'idempotency-key': 'away' } }),
        away.ask('GET', `/v1/jobs/${id}`),
        away.ask('GET', `/v1/jobs/${id}/result`),
        away.ask('POST', `/v1/jobs/${id}/cancel`, {}),
      ]);
      expect(systemClock.monotonicMs() - startMs).toBeLessThan(20_000);
      for (const { status, body: told, headers, text } of answers) {
        expect([status, told['title']]).toEqual([503, 'The service is not available now']);
        expect(told['code']).toMatch(/^(?:REDIS_|ENQUEUE_TIMEOUT)/);
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
        expect(text).not.toMatch(/127\.0\.0\.1|\bat /);
      }
      expect((await away.ask('GET', '/openapi.json')).status).toBe(200);
      proxy.restore();
      proxy.cut();
      await eventually(async () => expect((await away.ask('GET', `/v1/jobs/${id}`)).status).toBe(200));
      expect(await away.platform.jobs.counts('api')).toEqual(before);
      const again = await away.ask('POST', '/v1/contracts/api.echo/jobs', job, {
        headers: { 'idempotency-key': 'away' },
      });
      expect(again.status).toBe(201);
    } finally {
      await away.stop();
      await proxy.stop();
    }
  });

  test('a request whose claim was lost on the way can be sent again at once', async () => {
    const proxy = await startProxy(server.port);
    const away = await startApi(proxy.url);
    const job = { input: { text: 'claimed' }, options: { delay: '1h' } };
    const sendIt = () =>
      away.ask('POST', '/v1/contracts/api.echo/jobs', job, { headers: { 'idempotency-key': 'lost' } });
    try {
      await warmUpOnly(away);
      proxy.loseAnswers();
      expect((await sendIt()).status).toBe(503);
      proxy.restore();
      proxy.cut();
      await eventually(async () => expect((await sendIt()).status).toBe(201), 15_000);
    } finally {
      await away.stop();
      await proxy.stop();
    }
  });

  test('so does the router of a platform that was stopped', async () => {
    const stopped = await startApi(server.url);
    await stopped.platform.stop();
    const { status, body } = await stopped.ask('GET', '/v1/contracts');
    await stopped.stop();
    expect([status, body['code']]).toEqual([503, 'CLOSED']);
  });
});
