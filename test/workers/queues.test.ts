/** Stock jobs on queues of an application's own, beside a worker that runs the same jobs on theirs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPlatform, localEmbedder, type Platform, type Schedule } from '../../src/index.ts';
import {
  defineCatalog,
  emailSend,
  rebuildFlow,
  report,
  stockHandlers,
  stockJobs,
  type StockSettings,
} from '../../workers/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ends, startPlatform } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const EMAIL = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' };
const shop = stockJobs({ queues: 'shop' });
const named = (contracts: ReadonlyArray<{ name: string; queue: string }>): string[] =>
  contracts.map(({ name, queue }) => `${name} on ${queue}`).toSorted();
const timed = (schedules: readonly Schedule[]): string[] =>
  schedules.map(({ id, contract }) => `${id} on ${contract.queue}`);
const isContract = (value: unknown): value is typeof shop.emailSend => typeof value === 'object';

test('each stock job has its contract among them, and its handler and schedules on the same queue', () => {
  const catalog = { catalogs: [defineCatalog({ name: 'products', load: () => [], hot: () => [] })] };
  const settings: StockSettings = {
    email: { smtp: 'smtp://mail.example.com', from: 'shop@example.com' },
    webhooks: { secrets: { orders: `whsec_${Buffer.alloc(24, 7).toString('base64')}` } },
    catalog,
    reports: { reports: { none: report({ rows: () => [], columns: ['id'] }) }, folder: '.' },
    orders: { store: 'queues.orders' },
    leaderboards: { boards: { game: {} }, seasons: { game: { every: 'month' } } },
    sessionRevoke: { realms: { web: {} } },
    sessionSweep: { redis: { url: redis.url }, every: 86_400_000 },
    search: { indexes: { help: { ids: () => [], load: () => [], embedder: localEmbedder() } } },
  };
  const [there, moved] = [stockHandlers(settings), stockHandlers({ ...settings, queues: 'shop' })];
  expect(moved.summary.filter((line) => !line.endsWith(': runs'))).toEqual([]);
  const contracts = Object.values(shop).filter(isContract);
  expect(named(moved.handlers.map(({ contract }) => contract))).toEqual(named(contracts));
  expect(named(contracts)).toEqual(
    named(there.handlers.map(({ contract: { name, queue } }) => ({ name, queue: `shop.${queue}` }))),
  );
  expect(timed(there.schedules)).toEqual([
    'cache.warm on cache',
    'leaderboard.close-season.game on leaderboard',
    'session.sweep on session',
  ]);
  expect(timed(moved.schedules)).toEqual(
    timed(there.schedules).map((one) => `shop.${one.replace(' on ', ' on shop.')}`),
  );
  expect(Object.values(stockJobs({})).filter(isContract)).toContain(emailSend);
  for (const stock of [there, moved]) stock.close();
  for (const queues of ['', 'sh op', '.shop', 'x'.repeat(41)])
    for (const make of [
      () => stockJobs({ queues }),
      () => stockHandlers({ queues }),
      () => rebuildFlow({ index: 'i', queues }),
    ])
      expect(make, queues).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
  const mistaken = { queue: 'shop' } as object;
  expect(() => stockJobs(mistaken)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
});

test('of two workers under one prefix none takes a job of the other, nor one that follows from it', async () => {
  const { prefix } = await startPlatform(own, redis.url);
  const ran: string[] = [];
  const worker = async (queues: string | undefined): Promise<Platform> => {
    const vectors = { follow: 50 }; // Former versions of indexes go soon.
    const platform = own(createPlatform({ redis: { url: redis.url }, prefix, vectors, log: { level: 'silent' } }));
    await platform.start();
    const note = (what: string) => () => {
      ran.push(`${queues}: ${what}`);
      return [];
    };
    const stock = stockHandlers({
      queues,
      catalog: { catalogs: [defineCatalog({ name: 'products', load: () => [], hot: note('warm') })] },
      search: { indexes: { help: { ids: note('part'), load: () => [] } }, embedder: localEmbedder(), keepOld: 0 },
      sessionSweep: { redis: () => platform.redis, prefix, layout: 'keys', most: 500 },
      notify: { whenAway: note('away') },
    });
    await platform.work({ handlers: stock.handlers });
    return platform;
  };
  const app = await worker(undefined);
  await worker('shop');
  const commands = app.redis.commands();
  await Promise.all(Array.from({ length: 1_500 }, (_none, at) => commands.set(`${prefix}:filler:${at}`, '')));

  for (const [queues, jobs] of [
    ['undefined', stockJobs({})],
    ['shop', shop],
  ] as const) {
    const queue = (name: string): string => (queues === 'shop' ? `shop.${name}` : name);
    const before = ran.length;
    await app.jobs.enqueueAndWait(jobs.cacheWarm, {});
    const { id: rebuild } = await app.jobs.enqueueFlow(jobs.rebuildFlow({ index: 'help', parts: 1 }));
    await ends(app, rebuild, 'completed');
    const { id } = await app.jobs.enqueue(jobs.presenceNotify, { userId: 'ada', type: 'order.paid', email: EMAIL });
    const { result } = (await ends(app, id, 'completed')) as { result: { emailJob: string } };
    expect(ran.slice(before)).toEqual(['warm', 'part', 'away'].map((what) => `${queues}: ${what}`));
    const mail = { name: 'email.send', queue: queue('email'), state: 'waiting' };
    expect(await app.jobs.get(result.emailJob)).toMatchObject(mail);
    const others = queues === 'shop' ? 'session' : 'shop.session';
    const { completed: ofOthers } = await app.jobs.counts(others);
    expect(await app.jobs.enqueueAndWait(jobs.sessionSweep, {})).toMatchObject({ goesOn: true });
    await eventually(async () => {
      const { waiting, active, completed } = await app.jobs.counts(queue('session'));
      expect([waiting, active, completed > 2]).toEqual([0, 0, true]);
    });
    expect(await app.jobs.counts(others)).toMatchObject({ waiting: 0, active: 0, completed: ofOthers });
  }
});
