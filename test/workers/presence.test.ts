/** Users who are told something now, and those who are away. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { handle, type Handler } from '../../src/index.ts';
import {
  attend,
  createPresenceNotifyHandler,
  emailSend,
  presenceNotify,
  readStockEnv,
  serveNotifications,
  stockHandlers,
  userNotifications,
  type Notification,
} from '../../workers/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ends, faultsOf, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

/** The handler, whose first attempt is done and then lost. */
function losing(handler: Handler): Handler {
  return impatient(
    handle(handler.contract, async (input, context) => {
      const result = await handler.run(input, context);
      if (context.job.attempt === 1) throw new Error('the answer was lost');
      return result;
    }),
  );
}

const line = (env: NodeJS.ProcessEnv): string | undefined => stockHandlers(readStockEnv(env).settings).summary.at(-1);

/** Reads until the text has come, and hangs up. */
const read = async (from: string, until: RegExp, lastId = ''): Promise<string> => {
  const hangUp = new AbortController();
  const response = await fetch(from, { signal: hangUp.signal, headers: { 'last-event-id': lastId } });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (until.test(text)) break;
  }
  hangUp.abort();
  return text;
};

const EMAIL = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' };

describe('presence.notify', () => {
  test('tells each connection of the user once, in every process, and nobody else', async () => {
    const worker = await startPlatform(own, redis.url);
    const { prefix } = worker;
    const servers = [worker, await startPlatform(own, redis.url, { prefix })];
    const told: string[] = [];
    const tell = (who: string) => (notification: Notification) =>
      told.push(`${who}: ${JSON.stringify(notification.data)}`);
    for (const [at, server] of servers.entries())
      for (const user of ['ada', 'bob']) await attend(server, user, { onNotification: tell(`${user} ${at}`) });
    await worker.work({ ...QUICK, handlers: [losing(createPresenceNotifyHandler())] });
    const { id } = await worker.jobs.enqueue(presenceNotify, {
      userId: 'ada',
      type: 'order.paid',
      data: { order: 7 },
      email: EMAIL,
    });
    expect((await ends(worker, id, 'completed')).result).toEqual({ id, connections: 2, processes: 2, away: false });
    // A publisher that asks twice: the copy has the same id.
    await worker.pubsub.publish(userNotifications.at('ada'), { id, type: 'order.paid', data: 'a copy', at: 0 });
    await worker.pubsub.publish(userNotifications.at('ada'), { id: 'last', type: 'x', data: 'last', at: 0 });
    await eventually(() => expect(told.filter((row) => row.endsWith('"last"'))).toHaveLength(2));
    expect(told.toSorted()).toEqual(['ada 0: "last"', 'ada 0: {"order":7}', 'ada 1: "last"', 'ada 1: {"order":7}']);
    expect(await worker.jobs.counts('email')).toMatchObject({ waiting: 0 });
  });

  test('has one mail sent when the user is away, though it runs twice, and tells whenAway', async () => {
    const platform = await startPlatform(own, redis.url);
    const missed: string[] = [];
    const whenAway = ({ userId, notification }: { userId: string; notification: Notification }): void => {
      missed.push(`${userId} ${notification.id}`);
    };
    await platform.work({ ...QUICK, handlers: [losing(createPresenceNotifyHandler({ whenAway }))] });
    const input = { userId: 'ada', type: 'order.paid', id: 'paid:7', email: EMAIL };
    const { id } = await platform.jobs.enqueue(presenceNotify, input);
    const { result } = (await ends(platform, id, 'completed')) as { result: { emailJob: string } };
    expect(result).toEqual({
      id: 'paid:7',
      connections: 0,
      processes: 0,
      away: true,
      emailJob: expect.any(String) as string,
    });
    expect((await platform.jobs.get(result.emailJob))?.input).toEqual(EMAIL);
    expect([missed, (await platform.jobs.counts('email')).waiting]).toEqual([['ada paid:7'], 1]);
  });

  test('what a topic does not take is refused when it is enqueued, and a dead letter at once if it has come by another way', async () => {
    const platform = await startPlatform(own, redis.url);
    const told: unknown[] = [];
    await attend(platform, 'ada', { onNotification: ({ data }) => told.push(data) });
    await platform.work({ ...QUICK, handlers: [createPresenceNotifyHandler()] });
    const rest = { type: 'note', id: 'ü'.repeat(200) };
    const room = 65_536 - Buffer.byteLength(JSON.stringify({ ...rest, data: '', at: 1e12 }));
    const largest = 'é'.repeat(Math.floor(room / 2)) + 'e'.repeat(room % 2);
    await platform.jobs.enqueueAndWait(presenceNotify, { userId: 'ada', ...rest, data: largest });
    await eventually(() => expect(told).toEqual([largest]));

    const tooLarge = { userId: 'ada', ...rest, data: `${largest}e` };
    expect(await faultsOf(presenceNotify, { ...tooLarge, id: undefined })).toEqual([]); // A job's id is shorter.
    const refused = platform.jobs.enqueue(presenceNotify, tooLarge);
    await expect(refused).rejects.toThrow(/data, type and id of at most 65536 bytes, got 65537/);
    await expect(refused).rejects.not.toThrow(/é/);
    const { id } = await platform.jobs.enqueue({ ...presenceNotify, input: z.any() }, tooLarge);
    const { attempts, error } = await letterOf(platform, id);
    expect([attempts.length, error.message]).toEqual([1, expect.stringContaining('at most 65536 bytes')]);
  });

  test('faults of inputs are told with the place in the mail; nothing is needed to run it, and a variable turns it off', async () => {
    const bad = { userId: '', type: 'a b', email: { to: 'nobody', subject: 'Hi', text: 'x' } };
    expect(await faultsOf(presenceNotify, bad)).toEqual(['userId', 'type', 'email.to']);
    expect(presenceNotify.secrets).toEqual(['data', 'email']);
    expect(emailSend.name).toBe('email.send');
    expect(line({})).toBe('presence.notify: runs');
    expect(line({ MILLRACE_PRESENCE_NOTIFY: 'false' })).toBe(
      'presence.notify: left out, turned off by MILLRACE_PRESENCE_NOTIFY',
    );
  });
});

test('a browser reads server-sent events, comes back with the last id to another process, and is told of a position that is none', async () => {
  const first = await startPlatform(own, redis.url);
  const second = await startPlatform(own, redis.url, { prefix: first.prefix });
  const url = async (platform: typeof first): Promise<string> => {
    const server: Server = createServer((request, response) => {
      void serveNotifications(platform, 'ada', request, response, { heartbeat: '50ms' });
    });
    own({
      async stop() {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const say = (id: string) =>
    first.pubsub.publish(userNotifications.at('ada'), { id, type: 'order.paid', data: id, at: 1 });
  const [one, other] = [await url(first), await url(second)];
  const reading = read(one, /"id":"n1".*\n\n/);
  const here = () => first.presence.whereIs('ada');
  await eventually(async () => expect((await here()).rooms).toHaveLength(1));
  await say('n1');
  const text = await reading;
  expect(text).toMatch(
    /^(?:: here\n\n)*id: \S+\nevent: order\.paid\ndata: \{"id":"n1","type":"order\.paid","data":"n1","at":1\}\n\n/,
  );
  const lastId = /id: (\S+)/.exec(text)?.[1] ?? '';
  await say('n2');
  const later = await read(other, /"id":"n2"/, lastId);
  expect(later).not.toContain('"id":"n1"');
  expect(await read(other, /gap/, 'nonsense')).toContain('event: gap\ndata: {}\n\n');
  // Who hangs up is away, once the debounce is over.
  await eventually(async () => expect((await here()).rooms).toEqual([]));
});

test('a browser that has hung up before it is served is not here', async () => {
  const platform = await startPlatform(own, redis.url);
  let served: Promise<void> | undefined;
  const server = createServer((request, response) => {
    response.once('close', () => {
      served = serveNotifications(platform, 'ada', request, response, { heartbeat: '50ms' });
    });
  });
  own({
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hangUp = new AbortController();
  const asked = fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { signal: hangUp.signal });
  await once(server, 'request');
  hangUp.abort();
  await expect(asked).rejects.toThrow(/abort/i);
  await eventually(() => expect(served).toBeDefined());
  await served;
  expect((await platform.presence.whereIs('ada')).rooms).toEqual([]);
});
