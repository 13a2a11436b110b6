/** What viewers must not read, and what they must not make dear: secrets on each page, and pages of a large installation. */
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, flow, handle, unrecoverable, type JobContract } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { eventually } from '../support/eventually.ts';
import { bury, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const platformOf = ownedPlatform();
const open = ownedDashboards(platformOf);
const PASSWORD = 'hunter2';

const logIn = defineJob({
  name: 'account.log-in',
  input: z.object({ user: z.string(), password: z.string() }),
  attempts: 1,
  secrets: ['password'],
});
const audit = defineJob({ name: 'audit.report', input: z.object({}), attempts: 1 });

beforeAll(async () => {
  const platform = platformOf();
  await workOn(platform);
  await platform.work({
    handlers: [
      handle(logIn, async ({ user, password }, { log, progress }) => {
        log.info(`${user} tries ${password}`);
        progress({ tried: password });
        if (user === 'eve') throw unrecoverable(new Error(`${password} is wrong`));
        return { user, echoed: [password] };
      }),
      handle(audit, (_input, { job }) => {
        if (job.redriven === 0) throw new Error('it is not the time');
      }),
    ],
  });
  await warmUp(platform);
});

test('a viewer reads no secret, wherever its value stands, and finds none by searching', async () => {
  const { jobs, deadLetters } = platformOf();
  const { browserAs } = await open();
  const viewer = await browserAs('viewer');
  const done = await jobs.enqueue(logIn, { user: 'ann', password: PASSWORD });
  const dead = await jobs.enqueue(logIn, { user: 'eve', password: PASSWORD });
  const letter = `${dead.id}~0`;
  await eventually(async () => {
    expect((await jobs.get(done.id))?.state).toBe('completed');
    expect(await deadLetters.get(letter)).toBeDefined();
  });
  const job = await viewer.get(`/jobs/${done.id}`);
  expect(job.body).toContain('ann tries [secret]');
  expect(job.body).toContain('echoed');
  const page = await viewer.get(`/dead-letters/letter/${encodeURIComponent(letter)}`);
  expect(page.body).toContain('[secret] is wrong');
  expect(page.body).toContain('eve tries [secret]');
  const list = await eventually(async () => {
    const found = await viewer.get('/dead-letters?contract=account.log-in');
    expect(found.body.match(/Error: \[secret\] is wrong/g)).toHaveLength(2); // Of the letter, and of its cluster.
    return found;
  });
  const bare = await viewer.get('/jobs?contract=account.log-in');
  const noted = await jobs.enqueue(logIn, { user: `kim, not ${PASSWORD}`, password: PASSWORD }, { delay: '1h' });
  await jobs.cancel(noted.id);
  const cancelled = await viewer.get('/jobs?state=cancelled');
  expect(cancelled.body).toContain('kim, not [secret]');
  expect(cancelled.body).toContain(`/jobs/${noted.id}`);
  for (const { status, body } of [job, page, list, bare, cancelled]) {
    expect(status).toBe(200);
    expect(body).not.toContain(PASSWORD);
  }
  for (const text of [PASSWORD, 'hunter', 'unter2 is'])
    expect((await viewer.get(`/dead-letters?text=${encodeURIComponent(text)}`)).body).toContain('0 shown');
  expect((await viewer.get('/dead-letters?text=is%20wrong')).body).toContain('1 shown');
});

test('what a parent was told of its children is on none of its pages: whose secrets are in it is not known', async () => {
  const { jobs, deadLetters } = platformOf();
  const viewer = await (await open()).browserAs('viewer');
  const children = [flow(logIn, { user: 'ann', password: PASSWORD })];
  const { id } = await jobs.enqueueFlow(flow(audit, {}, { children }));
  const letter = await eventually(async () => {
    const found = await deadLetters.get(id);
    expect(JSON.stringify(found?.children)).toContain(PASSWORD);
    return found?.id ?? '';
  });
  const page = await viewer.get(`/dead-letters/letter/${encodeURIComponent(letter)}`);
  const dead = await viewer.get(`/queues/api/queues/audit.dead/${encodeURIComponent(letter)}`);
  await deadLetters.redrive(letter);
  await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
  const job = await viewer.get(`/queues/api/queues/audit/${id}`);
  expect(job.body).toContain('"redriven":1');
  for (const { status, body } of [page, dead, job]) {
    expect(status).toBe(200);
    expect(body).not.toContain(PASSWORD);
  }
});

test('what no worker could have told takes no page down', async () => {
  const { platform, browserAs } = await open();
  const told = defineJob({ name: 'broken.told', input: z.object({ a: z.string() }) });
  await platform.jobs.register([told] as JobContract[]);
  const facts = `${platform.prefix}:contracts:{book}:facts`;
  const bad = JSON.stringify({ name: 'broken.told', queue: 'broken', version: 1, attempts: 0, secrets: [] });
  await platform.redis.commands().hset(facts, 'broken broken.told 1', bad);
  const seen = `${platform.prefix}:contracts:{book}:seen`;
  await platform.redis.commands().multi().zadd(seen, 5, 'no json').hset(facts, 'no json', '{').exec();
  const { id } = await platform.jobs.enqueue(told, { a: 'b' });
  const operator = await browserAs('operator');
  for (const path of ['/jobs', '/dead-letters', '/jobs/enqueue', `/jobs/${id}`])
    expect((await operator.get(path)).status, path).toBe(200);
  expect((await operator.get('/jobs/enqueue?contract=broken.told')).status).toBe(404);
});

test('of many queues none is sent to choose from, and an id that is not there costs each a few commands, so many times', async () => {
  const { platform, browserAs } = await open();
  const client = platform.redis.commands();
  const names = Array.from({ length: 201 }, (_item, index) => `many-${index}`);
  await client.sadd(createJobKeys(platform.prefix).queues, ...names);
  const [redriven = ''] = await bury(platform, ['twice']);
  await platform.deadLetters.redrive(`${redriven}~0`);
  await eventually(async () => expect(await platform.deadLetters.get(`${redriven}~1`)).toBeDefined());
  const viewer = await browserAs('viewer');
  for (const path of ['/jobs', '/dead-letters']) {
    const { body } = await viewer.get(path);
    expect(body).not.toContain('many-100');
    expect(body).toMatch(/<input[^>]*name="queue"/);
  }
  const preview = await (await browserAs('operator')).post('/dead-letters/act', { act: 'redrive', all: 'yes' });
  expect(preview.body).not.toContain('many-100');
  expect(preview.body).toMatch(/<input[^>]*name="toQueue"/);
  expect((await viewer.get(`/jobs/${redriven}`)).headers.location).toContain(encodeURIComponent(`${redriven}~1`));
  expect((await viewer.get('/jobs/nobody')).status).toBe(404); // Opens what is opened once.
  const commands = async (): Promise<number> =>
    Number(/total_commands_processed:(\d+)/.exec(await client.info('stats'))?.[1]);
  const costs: number[] = [];
  for (let tried = 0; tried < 3; tried++) {
    const before = await commands();
    expect((await viewer.get('/jobs/nobody')).status).toBe(404);
    costs.push((await commands()) - before);
  }
  expect(Math.min(...costs)).toBeLessThan(5 * names.length); // Whoever else asks meanwhile does not do so each time.
  const answers = await Promise.all(Array.from({ length: 30 }, (_item, index) => viewer.get(`/jobs/no-${index}`)));
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(4);
  expect((await (await browserAs('operator')).get('/jobs/nobody')).status).toBe(404);
});
