/** A hundred thousand dead letters: pages read a bounded part of them, and the clusters are counted beside. */
import { beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { bury, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const platformOf = ownedPlatform();
const open = ownedDashboards(platformOf);
const MANY = 100_000;

/** Files copies of a letter under ids of their own. */
const FILE = `
local facts = redis.call('HGETALL', KEYS[1])
local id, from, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for at = 1, #facts, 2 do if facts[at] == 'data' then ARGV[4] = at + 1 end end
local data = facts[ARGV[4]]
for n = from, from + count - 1 do
  local own = 'copy' .. n .. '~0'
  facts[ARGV[4]] = string.gsub(data, '"id":"' .. id .. '"', '"id":"' .. own .. '"', 1)
  redis.call('HSET', string.gsub(KEYS[1], id .. '$', own), unpack(facts))
  redis.call('RPUSH', KEYS[2], own)
end`;

beforeAll(async () => {
  const platform = platformOf();
  const worker = await workOn(platform);
  await warmUp(platform);
  const [job = ''] = await bury(platform, ['ada']);
  await worker.stop();
  const { dead } = platform.jobs.bullmq('billing');
  const client = platform.redis.commands();
  const [key, wait] = [dead.toKey(`${job}~0`), dead.toKey('wait')];
  for (let from = 0; from < MANY; from += 5_000) await client.eval(FILE, 2, key, wait, `${job}~0`, from, 5_000);
});

test('the first page is there while the clusters are counted, and a text is looked for in a part of them', async () => {
  const { browserAs } = await open();
  const viewer = await browserAs('viewer');
  const first = await viewer.get('/dead-letters');
  expect(first.body.includes('Still counting')).toBe(true);
  expect(shownIn(first.body)).toMatch(/^50 shown$/);
  const searched = await viewer.get('/dead-letters?text=nobody');
  expect(shownIn(searched.body)).toMatch(/^0 shown, of 1,0\d\d that were looked at$/);
  const [, next = ''] = /rel="next" href="([^"]+)"/.exec(searched.body) ?? [];
  const further = await viewer.get(next.replaceAll('&amp;', '&'));
  expect(shownIn(further.body)).toMatch(/^0 shown, of 1,0\d\d that were looked at$/);
  expect(next).not.toBe(/rel="next" href="([^"]+)"/.exec(further.body)?.[1]);
});

test('the first page reads what it shows, in a few round trips, and pages take no memory that stays', async () => {
  const { browserAs } = await open();
  const viewer = await browserAs('viewer');
  // While the clusters are not counted anew, which reads all of them.
  await eventually(async () => expect((await viewer.get('/dead-letters')).body).toContain('counted'), 60_000);
  const before = process.memoryUsage().rss;
  const sent: Array<Record<string, number>> = [];
  for (let look = 0; look < 20; look++) {
    const earlier = await calls();
    await viewer.get('/dead-letters');
    sent.push(Object.fromEntries(Object.entries(await calls()).map(([name, n]) => [name, n - (earlier[name] ?? 0)])));
  }
  const least = (name: string): number => Math.min(...sent.map((one) => one[name] ?? 0));
  // The ids, twice at most; then all letters of them by one script, and when each died.
  expect([least('lrange') <= 2, least('evalsha') <= 3, least('hget') <= 2 * 50 + 20]).toEqual([true, true, true]);
  // Of a hundred thousand letters in memory this would not hold.
  expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1_048_576);
});

/** How often each command has been run. */
async function calls(): Promise<Record<string, number>> {
  const told = await platformOf().redis.commands().info('commandstats');
  return Object.fromEntries([...told.matchAll(/cmdstat_(\w+):calls=(\d+)/g)].map(([, name, n]) => [name, Number(n)]));
}

function shownIn(body: string): string | undefined {
  return /\d+ shown(?:, of [\d,]+ that were looked at)?/.exec(body)?.[0];
}
