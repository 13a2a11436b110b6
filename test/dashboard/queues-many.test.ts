/** Thousands of queues: what pages cost then is counted in commands and in objects of BullMQ, not in time. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Lock, Platform } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { bury, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform, type Browser } from './support.ts';

const NAMES = 10_000;
const WITH_LETTERS = 1_500;
const platform = ownedPlatform();
const open = ownedDashboards(platform);
const nameOf = (place: number): string => `many${String(place).padStart(5, '0')}`;

let collects: Lock;
beforeAll(async () => {
  const { redis, prefix } = platform();
  const names = Array.from({ length: NAMES }, (_, place) => nameOf(place));
  await redis.commands().sadd(createJobKeys(prefix).queues, ...names);
  // No dashboard looks at the queues beside what is counted.
  collects = await platform().locks.acquire('dashboard.collector', { ttl: '5m' });
});
afterAll(() => collects.release());

/** Commands of all clients so far, also those that scripts have run. */
async function commands({ redis }: Platform): Promise<number> {
  const text = await redis.commands().info('commandstats');
  return [...text.matchAll(/cmdstat_[^:]+:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

/** Objects of BullMQ that are open: each listens to the client that they share. */
function objects({ redis }: Platform): number {
  return redis.commands().listenerCount('error');
}

async function costOf(look: () => Promise<unknown>): Promise<{ sent: number; opened: number }> {
  const [sent, opened] = [await commands(platform()), objects(platform())];
  await look();
  return { sent: (await commands(platform())) - sent, opened: objects(platform()) - opened };
}

describe('of ten thousand names', () => {
  test('none opens an object of BullMQ by being looked through', async () => {
    const { browserAs } = await open({ alerts: false });
    const viewer = await browserAs('viewer');
    const pages = ['/dead-letters', '/dead-letters/letter/nobody~0', '/jobs', '/jobs/nobody', '/fleet/queues?page=7'];
    for (const page of pages) {
      const { opened } = await costOf(() => viewer.get(page));
      expect([page, opened]).toEqual([page, 0]);
    }
    const { opened } = await costOf(() => platform().history.sample());
    expect(opened).toBe(0);
  });

  test('a command asks for hundreds of them which has a dead letter, or a job', async () => {
    const { browserAs } = await open({ alerts: false });
    const viewer = await browserAs('viewer');
    for (const page of ['/dead-letters', '/dead-letters/letter/nobody~0', '/jobs/nobody']) {
      const { sent } = await costOf(() => viewer.get(page));
      expect([page, sent < NAMES / 25]).toEqual([page, true]);
    }
  });
});

describe('of fifteen hundred queues with a dead letter each', () => {
  beforeAll(async () => {
    const worker = await workOn(platform());
    await warmUp(platform());
    const [job = ''] = await bury(platform(), ['ada']);
    await worker.stop();
    await copyLetter(platform(), `${job}~0`);
    await platform().deadLetters.discard(`${job}~0`);
  });

  test('a page reads the newest, and pages show each of them once', async () => {
    const { browserAs } = await open({ alerts: false });
    const viewer = await browserAs('viewer');
    await viewer.get('/dead-letters'); // Has the clusters counted, which reads all.
    let first = '';
    const { sent, opened } = await costOf(async () => {
      first = (await viewer.get('/dead-letters')).body;
    });
    expect(shownIn(first)).toMatch(/^50 shown$/);
    expect(lettersIn(first)).toEqual(Array.from({ length: 50 }, (_, place) => letterOf(place)));
    // Which have some, how old the newest of each is, and fifty of them.
    expect(sent).toBeLessThan(3 * WITH_LETTERS + 1_000);
    expect(opened).toBe(0);
    expect((await all(viewer, '/dead-letters')).toSorted()).toEqual(
      Array.from({ length: WITH_LETTERS }, (_, place) => letterOf(place)).toSorted(),
    );
  });

  test('a text that nothing has is looked for in a bounded part of them', async () => {
    const { browserAs } = await open({ alerts: false });
    const viewer = await browserAs('viewer');
    const { body } = await viewer.get('/dead-letters?text=nobody');
    expect(shownIn(body)).toBe('0 shown, of 1,000 that were looked at');
    expect(await all(viewer, '/dead-letters?text=nobody')).toEqual([]);
    // An address that has outlived what Redis kept of it.
    expect((await viewer.get('/dead-letters?cursor=~gone')).body).toContain('This page of the list is not known');
  });
});

const letterOf = (place: number): string => `copy${place}~0`;

/** Files a copy of the letter in each of the first queues, the newest in the first. */
async function copyLetter({ redis, jobs }: Platform, id: string): Promise<void> {
  const client = redis.commands();
  const from = jobs.bullmq('billing').dead.toKey('wait');
  const facts = await client.hgetall(from.replace(/wait$/, id));
  const letter = JSON.parse(facts['data'] ?? '') as { diedAt: number };
  const batch = client.pipeline();
  for (let place = 0; place < WITH_LETTERS; place++) {
    const [queue, own, diedAt] = [nameOf(place), letterOf(place), letter.diedAt - place];
    const wait = from.replaceAll('billing', queue);
    const data = JSON.stringify({ ...letter, id: own, queue, diedAt });
    batch.hset(wait.replace(/wait$/, own), { ...facts, data, timestamp: String(diedAt) }).rpush(wait, own);
  }
  await batch.exec();
}

/** What all pages show, from one to the next. */
async function all(browser: Browser, path: string): Promise<string[]> {
  const shown: string[] = [];
  for (let next: string | undefined = path; next !== undefined;) {
    const { status, body } = await browser.get(next);
    expect(status).toBe(200);
    shown.push(...lettersIn(body));
    next = /rel="next" href="([^"]+)"/.exec(body)?.[1]?.replaceAll('&amp;', '&');
  }
  return shown;
}

function lettersIn(body: string): string[] {
  return [...body.matchAll(/aria-label="Select ([^"]+)"|<th[^>]*><a href="[^"]*\/letter\/([^"?]+)/g)].map(
    ([, , id = '']) => decodeURIComponent(id),
  );
}

function shownIn(body: string): string | undefined {
  return /\d+ shown(?:, of [\d,]+ that were looked at)?/.exec(body)?.[0];
}
