/** The overview and the charts, as they read without script. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { Charts, type ChartColumns } from '../../dashboard/live/chart-data.ts';
import { defineJob, handle, type HistoryPoint, type Platform } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const sendMail = defineJob({ name: 'email.send', input: z.object({ fails: z.boolean() }), attempts: 1 });

describe('the overview', () => {
  const platform = ownedPlatform();
  const open = ownedDashboards(platform);

  test('says the next step where nothing was done yet', async () => {
    const viewer = await (await open()).browserAs('viewer');
    const page = (await viewer.get('/')).body;
    expect(page).toContain('No queue was used yet');
    expect(page).toContain('platform.jobs.enqueue');
    await eventually(async () => expect((await viewer.get('/')).body).toMatch(/Nothing is wrong|How to mend it/));
  });

  test('has each queue with its figures, marked for what is live', async () => {
    for (const fails of [true, false]) await platform().jobs.enqueue(sendMail, { fails });
    await platform().jobs.pause('email');
    const viewer = await (await open({ collectEvery: 100 })).browserAs('viewer');
    await eventually(async () => {
      const page = (await viewer.get('/')).body;
      expect(page).toContain('<span class="number" data-live="queue:email:waiting">2</span>');
      expect(page).toContain('<span class="badge tone-paused" data-live-tone="queue:email:state">paused</span>');
      expect(page).toMatch(/data-live-part="queues" data-live-when="list:queues" data-live-is="\w+"/);
      expect(page).toContain('href="/charts/email"');
    });
    await platform().jobs.resume('email');
  });
});

describe('the charts', () => {
  const platform = ownedPlatform();
  const open = ownedDashboards(platform);
  // Before the tests, as the connections that a worker needs are kept.
  beforeAll(async () => {
    const worker = await platform().work({
      handlers: [
        handle(sendMail, ({ fails }) => {
          if (fails) throw new Error('refused');
        }),
      ],
    });
    for (const fails of [true, false, false]) await platform().jobs.enqueue(sendMail, { fails });
    await eventually(async () => {
      const { completed, dead } = await platform().jobs.counts('email');
      if (completed !== 2 || dead !== 1) throw new Error('they still run');
    });
    await worker.stop(); // What it has counted is in the history then.
  });

  test('have the figures of a queue as columns and as a table, for each range', async () => {
    const viewer = await (await open({ collectEvery: 100 })).browserAs('viewer');
    for (const [range, points] of [
      ['1h', 61],
      ['24h', 1_441],
      ['30d', 721],
    ] as const) {
      const columns = JSON.parse(
        (await viewer.get(`/live/charts.json?queue=email&range=${range}`)).body,
      ) as ChartColumns;
      expect(columns.at.length, range).toBeLessThanOrEqual(points);
      expect(columns.at.length, range).toBeGreaterThanOrEqual(points - 1);
      const perMinute = range === '30d' ? 60 : 1;
      const sum = (column: readonly number[]): number => column.reduce((total, value) => total + value * perMinute, 0);
      expect([Math.round(sum(columns.completed)), Math.round(sum(columns.failed))], range).toEqual([2, 1]);
      expect(columns.run50.filter((value) => value !== null).length).toBeGreaterThan(0);
      const page = (await viewer.get(`/charts/email?range=${range}`)).body;
      expect(page).toContain('The same figures as a table');
      expect(page.match(/<tr>/g)?.length).toBeGreaterThan(24);
    }
    expect((await viewer.get('/charts?queue=email&range=6h')).headers.location).toBe('/charts/email?range=6h');
    expect((await viewer.get('/charts')).body).toContain('data-chart="oldest"');
    expect((await viewer.get('/charts/no-such')).status).toBe(404);
  });

  test('of all who look at the same, Redis is asked once', async () => {
    const { browserAs } = await open({ alerts: false });
    const viewer = await browserAs('viewer');
    const answers = await Promise.all(Array.from({ length: 5 }, () => viewer.get('/live/charts.json?range=1h')));
    expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
    expect((await viewer.get('/assets/uplot.js')).headers['content-type']).toContain('text/javascript');
    expect((await viewer.get('/assets/uplot.css')).status).toBe(200);
  });

  test('that take long to read are not read twice at once, and rest three times as long', async () => {
    let [nowMs, reads] = [0, 0];
    const read = gate();
    const series = async (): Promise<HistoryPoint[]> => (reads++, await read.opened, []);
    const charts = new Charts({ redis: platform().redis, history: { series } } as unknown as Platform, () => nowMs);
    const first = charts.points(undefined, '1h');
    nowMs = 20_000;
    const second = charts.points(undefined, '1h');
    read.open();
    await Promise.all([first, second]);
    expect(reads).toBe(1);
    nowMs = 79_000;
    await charts.points(undefined, '1h');
    expect(reads).toBe(1);
    nowMs = 81_000;
    await charts.points(undefined, '1h');
    expect(reads).toBe(2);
  });
});
