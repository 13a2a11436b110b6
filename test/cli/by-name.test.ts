/** Commands that are given the name of a contract or the id of a job, beside an application whose code they do not load. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle, unrecoverable } from '../../src/jobs/handler.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import { ownedCommands } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import type { Ran } from '../support/host.ts';
import { ends } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const greet = defineJob({
  name: 'greet.say',
  queue: 'greetings',
  version: 3,
  attempts: 2,
  input: z.object({ name: z.string(), password: z.string().max(3).optional() }),
  secrets: ['password'],
});

const prefix = `t-${randomUUID()}`;
const cwd = temporaryFolder();
const command = ownedCommands();
let server: TestServer;
let platform: Platform;

const run = (...args: string[]): Promise<Ran> =>
  command(args, { cwd, env: { REDIS_URL: server.url, MILLRACE_PREFIX: prefix } });
const idOf = ({ out }: Ran): string => (JSON.parse(out) as { id: string }).id;

const contractIsTold = (): Promise<void> =>
  eventually(async () => expect(await platform.jobs.contracts()).toHaveLength(1));
const isDead = (id: string): Promise<void> =>
  eventually(async () => expect(await platform.deadLetters.get(id)).toBeDefined());

beforeAll(async () => {
  server = await startRedis();
  platform = createPlatform({ redis: { url: server.url }, prefix, log: silentLogger });
  await platform.start();
  const greeter = handle(greet, ({ name, password }) => {
    if (name === 'nobody') throw unrecoverable('nobody is there');
    return { text: `Hello, ${name}!`, password };
  });
  await platform.work({ handlers: [greeter] });
  await contractIsTold();
  // Each connection is opened when it is first needed; a test that needed one would seem to leave it open.
  const { id } = await platform.jobs.enqueue(greet, { name: 'nobody' });
  await isDead(id);
  await platform.deadLetters.discard(`${id}~0`);
});
afterAll(async () => {
  await platform.stop();
  await server.stop();
});

describe('millrace enqueue', () => {
  test('takes queue, version and attempts of the contract from what its workers have told', async () => {
    const added = await run('enqueue', 'greet.say', '{"name":"Ada"}', '--json');
    expect([added.code, added.err]).toEqual([0, '']);
    const job = await ends(platform, idOf(added), 'completed'); // A job of an older version would be a dead letter.
    expect(job).toMatchObject({ queue: 'greetings', version: 3, attempts: 2, result: { text: 'Hello, Ada!' } });
    const waited = await run('enqueue', 'greet.say', '{"name":"Bob"}', '--wait');
    expect(waited).toMatchObject({ code: 0, out: '{"text":"Hello, Bob!"}\n', err: '' });
  });

  test('refuses an input that the contract would, and repeats no secret', async () => {
    const { code, out, err } = await run('enqueue', 'greet.say', '{"name":1,"password":"hunter22"}');
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain('the input of greet.say does not match its schema: name: ');
    expect(err).not.toContain('hunter22');
  });

  test('adds a job of a contract that nobody has told, and says what may have been meant', async () => {
    const { code, out, err } = await run('enqueue', 'greet.sya', '{}', '--json');
    expect(err).toBe(
      'No worker has told of a contract greet.sya; did you mean greet.say? The job waits for one that has it.\n',
    );
    expect([code, JSON.parse(out)]).toEqual([0, { id: expect.any(String), status: 'added' }]);
    const elsewhere = await run('enqueue', 'greet.say', '{}', '--queue', 'aside');
    expect(elsewhere.code).toBe(0);
    expect(elsewhere.err).toContain('of a contract greet.say in the queue aside');
  });
});

describe('millrace jobs wait', () => {
  test('shows a job once it has completed, without its secrets', async () => {
    const id = idOf(await run('enqueue', 'greet.say', '{"name":"Cy","password":"abc"}', '--delay', '300ms', '--json'));
    const waited = await run('jobs', 'wait', id);
    expect([waited.code, waited.err]).toEqual([0, '']);
    expect(waited.out).toMatch(
      /^greet\.say [\s\S]*^State +completed$[\s\S]*^Input +\{"name":"Cy","password":"\[secret\]"\}$/m,
    );
    const json = await run('jobs', 'wait', id, '--json', '--secrets');
    expect(JSON.parse(json.out)).toMatchObject({ id, result: { text: 'Hello, Cy!', password: 'abc' } });
  });

  test('ends with 1 for one that died, was cancelled, is not there, or goes on', async () => {
    const [dies, goes, stops] = await Promise.all([
      run('enqueue', 'greet.say', '{"name":"nobody"}', '--json'),
      run('enqueue', 'greet.say', '{"name":"Dan"}', '--delay', '1h', '--json'),
      run('enqueue', 'greet.say', '{"name":"Eve"}', '--delay', '1h', '--json'),
    ]);
    const [died, goesOn, stopped] = [idOf(dies), idOf(goes), idOf(stops)];
    await isDead(died);
    const dead = await run('jobs', 'wait', died);
    expect(dead).toEqual({
      code: 1,
      out: '',
      err: `millrace jobs wait: ${died} is a dead letter; npx millrace dead show ${died}~0\n`,
    });
    const late = await run('jobs', 'wait', goesOn, '--for', '50ms');
    expect(late).toMatchObject({ code: 1, out: '' });
    expect(late.err).toContain(`${goesOn} of queue greetings did not finish within 50 ms; it goes on`);
    await platform.jobs.cancel(stopped, { reason: 'not today' });
    const cancelled = await run('jobs', 'wait', stopped);
    expect([cancelled.code, cancelled.out]).toEqual([1, expect.stringMatching(/^State +cancelled: not today$/m)]);
    expect((await run('jobs', 'wait', 'nobody')).err).toContain('there is no job nobody');
    expect((await run('jobs', 'retry', stopped)).err).toContain(`${stopped} was cancelled, and runs no more`);
    expect((await run('jobs', 'wait', goesOn, '--for', 'ever')).code).toBe(2);
  });
});

describe('millrace dead', () => {
  test('takes the id of a job for that of its letter', async () => {
    const { id } = await platform.jobs.enqueue(greet, { name: 'nobody' });
    await isDead(id);
    expect((await run('dead', 'show', id)).out).toContain('nobody is there');
    expect((await run('dead', 'redrive', id)).out).toBe('1 found, 1 sent back, 0 skipped\n');
    await eventually(async () => expect((await platform.deadLetters.get(id))?.id).toBe(`${id}~1`));
    expect((await run('dead', 'discard', id, '--yes')).out).toBe('1 found, 1 removed\n');
    expect(await platform.deadLetters.get(id)).toBeUndefined();
  });
});
