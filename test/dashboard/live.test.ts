/** What is live: one process collects, tabs are told, Redis has no more to do for ten tabs than for one. */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createPlatform, defineJob, type Platform } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { openTab, type EventTab } from './event-tab.ts';
import { freshPrefix, ownedDashboards, ownedPlatform, type Opened } from './support.ts';

const sendMail = defineJob({ name: 'email.send', input: z.object({ to: z.string() }) });
const brew = defineJob({ name: 'brew.tea', input: z.object({}) });

const tabs: EventTab[] = [];
/** Closed before the listener is, which waits for them. */
const opened = (tab: EventTab): EventTab => {
  tabs.push(tab);
  return tab;
};
const closeTabs = async (): Promise<void> => {
  await Promise.all(tabs.splice(0).map((tab) => tab.close()));
};

describe('a tab', () => {
  const platform = ownedPlatform();
  const open = ownedDashboards(platform);
  afterEach(closeTabs);

  test('is told of everything first, then of what changes', async () => {
    const { url, browserAs } = await open({ collectEvery: 100 });
    await platform().jobs.enqueue(sendMail, { to: 'ann' });
    const tab = opened(await openTab(url, await browserAs('viewer')));
    expect([tab.status, tab.headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
    await eventually(() => expect(tab.cells.get('queue:email:waiting')).toEqual(['1', 1]));
    await eventually(() => expect(tab.statuses.at(-1)?.state).toBe('live'));
    const [first] = tab.messages;
    expect(first?.isWhole).toBe(true);
    const lists = tab.cells.get('list:queues');

    const before = tab.messages.length;
    await platform().jobs.enqueue(sendMail, { to: 'bob' });
    await platform().jobs.enqueue(brew, {});
    await eventually(() =>
      expect([tab.cells.get('queue:email:waiting'), tab.cells.has('queue:brew:waiting')]).toEqual([['2', 2], true]),
    );
    const later = tab.messages.slice(before);
    expect(later.every(({ isWhole }) => isWhole === undefined)).toBe(true);
    expect(Object.keys(later.find(({ cells }) => 'queue:brew:waiting' in cells)?.cells ?? {})).not.toContain(
      'queue:email:delayed',
    );
    expect(tab.cells.get('list:queues')).not.toEqual(lists);
    expect(tab.text).toMatch(/^retry: \d+\n\n/);
  });

  test('that comes again with the id of what it knows is not told it twice', async () => {
    const { url, browserAs } = await open({ collectEvery: '1m' });
    const browser = await browserAs('viewer');
    const one = opened(await openTab(url, browser));
    await eventually(() => expect(one.messages).toHaveLength(1));
    const again = opened(await openTab(url, browser, { 'last-event-id': one.messages[0]?.id ?? '' }));
    await eventually(() => expect(again.statuses).toHaveLength(1));
    expect(again.messages).toEqual([]);
  });

  test('is refused to a stranger, and where as many are open as may be', async () => {
    const { url, browser, browserAs } = await open({ liveTabs: 1 });
    expect((await openTab(url, browser())).status).toBe(401);
    const viewer = await browserAs('viewer');
    opened(await openTab(url, viewer));
    const second = opened(await openTab(url, viewer));
    expect([second.status, second.headers['retry-after']]).toEqual([503, '30']);
    await closeTabs();
    await eventually(async () => expect(opened(await openTab(url, viewer)).status).toBe(200));
  });

  test('is not opened by who asks for its headers only', async () => {
    const { browserAs } = await open();
    const answer = await (await browserAs('viewer')).ask('HEAD', '/live/events');
    expect([answer.status, answer.headers['allow']]).toEqual([405, 'GET']);
  });

  test('ends with the dashboard', async () => {
    const { url, dashboard, browserAs } = await open();
    const tab = opened(await openTab(url, await browserAs('viewer')));
    await dashboard.stop();
    await eventually(() => expect([tab.isEnded, tab.events.at(-1)]).toEqual([true, 'bye']));
  });
});

describe('the collector', () => {
  const platform = ownedPlatform();
  const open = ownedDashboards(platform);
  afterEach(closeTabs);

  test('is one of several dashboards; when it stops, another one goes on', async () => {
    const one = await open({ collectEvery: 100 });
    const other = await open({ collectEvery: 100 });
    const browser = await other.browserAs('viewer');
    const left = opened(await openTab(one.url, await one.browserAs('viewer')));
    const right = opened(await openTab(other.url, browser));
    await eventually(() => {
      expect(right.messages.length).toBeGreaterThan(2);
      expect(left.messages.some(({ id }) => right.messages.some((message) => message.id === id))).toBe(true);
    });
    const [fence] = right.messages.at(-1)?.id.split('-') ?? [];
    await closeTabs();
    await one.dashboard.stop();
    const next = opened(await openTab(other.url, browser));
    await eventually(() => expect(Number(next.messages.at(-1)?.id.split('-')[0])).toBeGreaterThan(Number(fence)));
  });

  const holder = async () => (await platform().locks.inspect('dashboard.collector')).holder;

  test('looks only while somebody watches, where alerts are off', async () => {
    const { url, browserAs } = await open({ collectEvery: 100, alerts: false });
    expect(await holder()).toBeUndefined();
    const tab = opened(await openTab(url, await browserAs('viewer')));
    await eventually(() => expect(tab.messages.length).toBeGreaterThan(1));
    expect(await holder()).toBeDefined();
    expect(tab.cells.get('alerts:firing')).toEqual(['0', 0]);
  });
});

describe('failures', () => {
  const own = ownedByTest();
  let platform: Platform;
  const open = ownedDashboards(() => platform);
  afterEach(closeTabs);
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
    return () => server.stop();
  });

  test('a collector that freezes is replaced, and says so when Redis is back', async () => {
    const proxy = own(await startProxy(server.port));
    const prefix = freshPrefix();
    const openAt = async (url: string): Promise<Opened> => {
      platform = own(createPlatform({ redis: { url }, prefix, log: { level: 'silent' } }));
      await platform.start();
      return open({ collectEvery: 100 });
    };
    const frozen = await openAt(proxy.url);
    const one = opened(await openTab(frozen.url, await frozen.browserAs('viewer')));
    await eventually(() => expect(one.messages.length).toBeGreaterThan(1));
    const healthy = await openAt(server.url);
    const other = opened(await openTab(healthy.url, await healthy.browserAs('viewer')));
    await eventually(() => expect(one.messages.length).toBeGreaterThan(0));
    await eventually(() => expect(other.messages.length).toBeGreaterThan(0));
    const fence = Number(other.messages.at(-1)?.id.split('-')[0]);
    proxy.freeze();
    await eventually(() => expect(Number(other.messages.at(-1)?.id.split('-')[0])).toBeGreaterThan(fence), 15_000);
    await eventually(() => expect(one.statuses.at(-1)?.state).toBe('stale'), 15_000);
    proxy.restore();
    proxy.cut();
    await eventually(() => expect(one.statuses.at(-1)?.state).toBe('live'), 15_000);
  }, 60_000);
});

describe('what tabs cost', () => {
  const own = ownedByTest();
  let platform: Platform;
  const open = ownedDashboards(() => platform);
  afterEach(closeTabs);

  test('Redis has as much to do for ten tabs as for one', async () => {
    const server = own(await startRedis());
    platform = own(createPlatform({ redis: { url: server.url }, prefix: freshPrefix(), log: { level: 'silent' } }));
    await platform.start();
    for (const to of ['ann', 'bob']) await platform.jobs.enqueue(sendMail, { to });
    const { url, browserAs } = await open({ collectEvery: 100 });
    const browser = await browserAs('viewer');
    const tab = opened(await openTab(url, browser));

    /** Commands for each look of the collector, over many of them. */
    const commandsPerLook = async (): Promise<number> => {
      const [commands, looks] = [await commandsOf(server), tab.messages.length];
      await eventually(() => expect(tab.messages.length - looks).toBeGreaterThanOrEqual(15), 30_000);
      return ((await commandsOf(server)) - commands) / (tab.messages.length - looks);
    };
    await eventually(() => expect(tab.messages.length).toBeGreaterThan(3));
    const withOne = await commandsPerLook();
    for (let more = 0; more < 9; more += 1) opened(await openTab(url, browser));
    await eventually(() => expect(tabs.every(({ messages }) => messages.length > 1)).toBe(true));
    const withTen = await commandsPerLook();
    expect(withTen / withOne).toBeLessThanOrEqual(1.2);
  }, 60_000);
});

async function commandsOf(server: TestServer): Promise<number> {
  const text = await server.ask((redis) => redis.info('commandstats'));
  return [...text.matchAll(/cmdstat_[^:]+:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}
