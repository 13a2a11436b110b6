/** What the page of streams tells, and what it lets whom do. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  createKeySpace,
  defineEvents,
  defineStream,
  type StreamContract,
  type StreamOptions,
} from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedDashboards, ownedPlatform, type Opened } from './support.ts';

const platform = ownedPlatform();
const open = ownedDashboards(platform);
const anything = z.record(z.string(), z.unknown());

let streams = 0;
const freshStream = (options: Partial<StreamOptions<typeof anything>> = {}) =>
  defineStream({ name: `orders-${streams++}`, schema: anything, ...options });

const keyOf = (name: string): string => createKeySpace(platform().prefix, 'streams')(name, 'entries');
const fill = (stream: StreamContract, count: number): Promise<unknown> =>
  platform().streams.publishMany(
    stream,
    Array.from({ length: count }, (_one, n) => ({ n })),
  );

/** A group that was given so many entries and has finished none. */
async function take(stream: StreamContract, group: string, count: number): Promise<void> {
  const redis = platform().redis.commands();
  await platform().streams.createGroup(stream, 'billing');
  if (group !== 'billing') await redis.xgroup('CREATE', keyOf(stream.name), group, '0');
  await redis.xreadgroup('GROUP', group, '<i>someone</i>', 'COUNT', count, 'STREAMS', keyOf(stream.name), '>');
}

async function audited({ browserAs }: Opened, action: string): Promise<string> {
  const { body } = await (await browserAs('admin')).get(`/audit?action=${action}`);
  return body;
}

/** The text of a page as it is read, without its marks. */
const textOf = (html: string): string =>
  html
    .replace(/^.*<main/s, '<main')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ');

/** The streams of that family, as they stand one below the other. */
const orderOf = (body: string): string[] => [...body.matchAll(/>(sorted\.\w+)</g)].map(([, name = '']) => name);

describe('the list', () => {
  test('tells of each stream how far it has come and what holds it back, and of what was never used', async () => {
    const stream = freshStream({ groups: ['billing', 'search'], keep: { count: 2 } });
    await fill(stream, 5);
    await take(stream, 'billing', 3);
    const { browserAs } = await open({ streams: [freshStream({ name: 'declared.only' })] });
    const { status, body } = await (await browserAs('viewer')).get(`/streams?name=${stream.name.toUpperCase()}`);
    expect(status).toBe(200);
    expect(textOf(body)).toMatch(
      new RegExp(`${stream.name} 5 1 and 1 not made yet 2 3 [\\d.]+ m?s 0 search, which was never made`),
    );
    const declared = await (await browserAs('viewer')).get('/streams?name=declared');
    expect(textOf(declared.body)).toContain('declared.only not used yet');
    expect((await (await browserAs('viewer')).get('/streams?name=%3Cb%3E')).body).toContain('No stream has this');
  });

  test('is sorted by a figure, the greatest first', async () => {
    const [few, many] = [freshStream({ name: 'sorted.few' }), freshStream({ name: 'sorted.many' })];
    await Promise.all([fill(few, 1), fill(many, 7)]);
    const user = await (await open()).browserAs('viewer');
    expect(orderOf((await user.get('/streams?name=sorted')).body)).toEqual(['sorted.few', 'sorted.many']);
    const { body } = await user.get('/streams?name=sorted&sort=length');
    expect(orderOf(body)).toEqual(['sorted.many', 'sorted.few']);
    expect(body).toContain('href="/streams?name=sorted&amp;sort=lag"');
    expect(orderOf((await user.get('/streams?name=sorted&sort=__proto__')).body)).toHaveLength(2);
  });
});

describe('a stream', () => {
  test('shows its groups, consumers, dead letters and what is kept, with names of other tools as text', async () => {
    const stream = freshStream({ groups: ['billing'], keep: { count: 2, age: '1d' } });
    await fill(stream, 4);
    await take(stream, '<b>search</b>', 1);
    const dead = createKeySpace(platform().prefix, 'streams')(stream.name, 'group', 'billing', 'dead');
    await platform().redis.commands().xadd(dead, '*', 'data', '{}');
    const user = await (await open()).browserAs('viewer');
    const { body } = await user.get(`/streams/${stream.name}`);
    expect(body).not.toContain('<b>search');
    expect(body).not.toContain('<i>someone');
    const text = textOf(body);
    expect(text).toContain('are kept for 1 d, at most the newest 2 of them');
    expect(text).toContain('because the group billing has not read what was published from the first entry on');
    expect(text).toContain('billing nobody consumes it');
    expect(text).toMatch(/&lt;i>someone&lt;\/i> &lt;b>search&lt;\/b> gone 1/);
    expect(body).toContain(`href="/dead-letters/streams/${stream.name}/billing"`);
    expect(body).not.toContain('remove-group');
    expect((await user.get(`/dead-letters/streams/${stream.name}/billing`)).status).toBe(200);
    expect((await user.get('/streams/nobody.knows')).status).toBe(404);
    expect((await user.get('/streams/%2e%2e%2fadmin')).status).toBe(404);
    expect((await user.get('/streams/events%3Anone')).status).toBe(404);
  });

  test('shows its newest entries, escaped and cut, and fewer where they are large', async () => {
    const stream = freshStream({ maxBytes: 1_000_000 });
    await platform().streams.publish(stream, { html: '<script>alert(1)</script>', long: 'x'.repeat(5_000) });
    await fill(stream, 19);
    const user = await (await open()).browserAs('viewer');
    const { body } = await user.get(`/streams/${stream.name}`);
    expect(body).toContain('&lt;script>alert(1)');
    expect(body).not.toContain('<script>alert');
    expect(body).toContain('The beginning of it.');
    expect(body).not.toContain('x'.repeat(600));
    for (let count = 0; count < 6; count++) await platform().streams.publish(stream, { big: 'y'.repeat(900_000) });
    const large = await user.get(`/streams/${stream.name}`);
    expect(large.body).toContain('Only the newest 5 are shown');
    expect(large.body.length).toBeLessThan(30_000);
  });

  test('shows what its contract calls secret to nobody: not in entries, not in dead letters, not where an error tells it', async () => {
    const secrets = ['card.number', 'tokens.*'];
    const stream = freshStream({ secrets });
    const paid = { order: 'A-1', card: { number: '4111 1111', owner: 'Ada' }, tokens: ['hunter2'] };
    const { id } = await platform().streams.publish(stream, paid, { headers: { bearer: 'Bearer hunter2' } });
    const redis = platform().redis.commands();
    await redis.xadd(keyOf(stream.name), '*', 'data', '{"card":{"number":"4111 1111"'); // As another tool may.
    await platform().streams.createGroup(stream, 'billing');
    const error = { name: 'RangeError', message: 'no card 4111 1111', stack: 'RangeError: no card 4111 1111' };
    const letter = { entry: id, id, data: JSON.stringify(paid), key: 'hunter2', error: JSON.stringify(error) };
    const dead = createKeySpace(platform().prefix, 'streams')(stream.name, 'group', 'billing', 'dead');
    const died = String(await redis.xadd(dead, '*', ...Object.entries(letter).flat()));
    // A process of a version before: what was secret stays it.
    await eventually(async () => expect((await platform().streams.inspect(stream.name))?.secrets).toHaveLength(2));
    await platform().streams.publish(freshStream({ name: stream.name }), { order: 'A-2' });

    const { browserAs } = await open({ streams: [freshStream({ name: stream.name, secrets: ['card.owner'] })] });
    const user = await browserAs('admin');
    const letters = `/dead-letters/streams/${stream.name}/billing`;
    const [entries, list, one] = [
      await user.get(`/streams/${stream.name}`),
      await user.get(letters),
      await user.get(`${letters}/${died}`),
    ].map(({ body }) => body.replaceAll('&quot;', '"')) as [string, string, string];
    const masked = '"card":{"number":"[secret]","owner":"[secret]"},"tokens":["[secret]"]';
    expect(entries).toContain(`{"order":"A-1",${masked}}`);
    expect(entries).toContain('Bearer [secret]');
    expect(list).toContain('RangeError: no card [secret]');
    expect(one.replace(/\s+/g, '').replaceAll('[secret]', '')).toContain('"owner":""');
    for (const page of [entries, list, one]) expect(page).not.toMatch(/4111|hunter2|Ada/);
  });

  test('of events shows which there are, kept for ever', async () => {
    const events = defineEvents({ name: 'shop', events: { 'order.placed': anything } });
    await platform()
      .streams.events(events)
      .append('order-<1>', [{ type: 'order.placed', data: { secret: 'no' } }]);
    const user = await (await open()).browserAs('operator');
    const { body } = await user.get('/streams/events%3Ashop');
    expect(body).toContain('order.placed, version 1 of order-&lt;1>');
    expect(body).toContain('kept for ever');
    expect(body).not.toContain('Trim now');
    expect((await user.post('/streams/events%3Ashop/trim')).status).toBe(404);
  });

  test('of the audit shows what is in it to admins only', async () => {
    const { browserAs } = await open();
    await browserAs('viewer');
    expect((await (await browserAs('viewer')).get('/streams/dashboard.audit')).body).toContain('is for admins');
    expect((await (await browserAs('operator')).get('/streams/dashboard.audit')).body).not.toContain('&quot;address');
    expect((await (await browserAs('admin')).get('/streams/dashboard.audit')).body).toMatch(/127\.0\.0\.1/);
  });
});

describe('acts', () => {
  test('an operator trims what may go, by what processes have told of the contract, and it is audited', async () => {
    const stream = freshStream({ keep: { count: 0, age: false } });
    await fill(stream, 300);
    const opened = await open();
    const path = `/streams/${stream.name}`;
    expect((await (await opened.browserAs('viewer')).get(path)).body).not.toContain('Trim now');
    expect((await (await opened.browserAs('viewer')).post(`${path}/trim`)).status).toBe(403);
    const operator = await opened.browserAs('operator');
    expect((await operator.get(path)).body).toContain('Trim now');
    expect((await operator.post(`${path}/trim`)).headers.location).toBe(path);
    expect(textOf((await operator.get(path)).body)).toMatch(/\d+ entries are removed\./);
    expect((await platform().streams.inspect(stream.name))?.length).toBeLessThan(300);
    expect(await audited(opened, 'stream.trim')).toContain(stream.name);
  });

  test('a trim goes no further than a group that is not there yet, and says so', async () => {
    const stream = freshStream({ groups: ['late'], keep: { count: 0, age: false } });
    await fill(stream, 5);
    const operator = await (await open()).browserAs('operator');
    await operator.post(`/streams/${stream.name}/trim`);
    const { body } = await operator.get(`/streams/${stream.name}`);
    expect(body).toContain('0 entries are removed. The rest is held back by late, which was never made.');
    expect((await platform().streams.inspect(stream.name))?.length).toBe(5);
  });

  test('an admin removes a group after he was told what is lost, and nobody by accident', async () => {
    const stream = freshStream();
    await fill(stream, 5);
    await take(stream, 'a/<b>', 2);
    const opened = await open();
    const path = `/streams/${stream.name}/remove-group`;
    const group = 'a/<b>';
    expect((await (await opened.browserAs('operator')).get(`${path}?group=billing`)).status).toBe(403);
    expect((await (await opened.browserAs('operator')).post(path, { group })).status).toBe(403);
    const admin = await opened.browserAs('admin');
    expect((await admin.get(`/streams/${stream.name}`)).body).toContain('remove-group?group=a%2F%3Cb%3E');
    const asked = await admin.get(`${path}?group=${encodeURIComponent(group)}`);
    expect(textOf(asked.body)).toContain('Entries it has not read 3 Entries it has not finished 2 Dead letters 0');
    expect(asked.body).toContain('Remove it though all of this is lost');
    expect((await admin.post(path, { group })).status).toBe(409);
    expect((await platform().streams.inspect(stream.name))?.groups).toHaveLength(2);
    expect((await admin.post(path, { group, force: 'yes' })).status).toBe(303);
    expect((await platform().streams.inspect(stream.name))?.groups.map(({ name }) => name)).toEqual(['billing']);
    expect(await audited(opened, 'stream.remove-group')).toMatch(/3 not read, 2 pending/);
    expect((await admin.get(`${path}?group=none`)).status).toBe(404);
  });
});

describe('10,000 streams', () => {
  const crowded = ownedPlatform();
  const openCrowded = ownedDashboards(crowded);

  test('are a page at a time, and before the first one the page says how it comes', async () => {
    const user = await (await openCrowded()).browserAs('viewer');
    expect((await user.get('/streams')).body).toContain('No stream of yours was used yet');
    const names = Array.from({ length: 10_000 }, (_one, n) => [`s-${String(n).padStart(5, '0')}`, '']);
    const known = createKeySpace(crowded().prefix, 'streams')('~known');
    await crowded()
      .redis.commands()
      .hset(known, ...names.flat());
    const first = await user.get('/streams?name=s-');
    expect(first.body).toContain('Page 1 of 200, 10,000 streams');
    expect(first.body.match(/<tr>/g)).toHaveLength(51);
    const last = await user.get('/streams?name=s-&page=999');
    expect(last.body).toContain('s-09999');
    const sorted = await user.get('/streams?name=s-&sort=lag&page=2');
    expect(sorted.body).toContain('Only the first 500 streams by name were compared');
    expect(sorted.body).toContain('Page 2 of 10');
  });
});
