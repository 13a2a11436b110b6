/** `npm start` and, beside it, the commands that enqueue, show, cancel and redrive: as a user types them. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { hello } from '../../src/cli/sample.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import { ownedCommands } from '../support/commands.ts';
import { embeddedOptions } from '../support/embedded.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import type { Ran } from '../support/host.ts';
import { ends } from '../support/jobs.ts';
import { millrace, type RunningCommand } from '../support/millrace.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort } from '../support/servers.ts';

describe('beside millrace dev', () => {
  const folder = temporaryFolder();
  const own = ownedByTest();
  let dev: RunningCommand;

  beforeAll(async () => {
    dev = millrace(['dev'], { cwd: folder, env: { PORT: String(await freePort()) } });
    await dev.says('Stop: Ctrl-C');
  });
  afterAll(async () => {
    dev.child.kill('SIGTERM');
    await dev.ended;
  });

  const command = ownedCommands();
  const say = (...args: string[]): Promise<Ran> => command(args, { cwd: folder });

  /** What the commands are told about, seen without starting one each time. */
  async function beside(): Promise<Platform> {
    const { log: _log, ...embedded } = embeddedOptions(join(folder, '.millrace'));
    const platform = own(createPlatform({ embedded, log: silentLogger }));
    await platform.start();
    return platform;
  }

  test('the screen says what runs, and what to try next', () => {
    expect(dev.out()).toContain('Worker     this process: sample.hello');
    expect(dev.out()).toContain('npx millrace enqueue sample.hello');
  });

  test('enqueue --wait prints what the handler returned; an idempotency key adds one job only', async () => {
    const waited = say('enqueue', 'sample.hello', '{"name":"Ada"}', '--wait');
    const keyed = Array.from({ length: 2 }, () =>
      say('enqueue', 'sample.hello', '{"name":"Cy"}', '--key', 'cy', '--json'),
    );
    expect(await waited).toMatchObject({ code: 0, out: '{"text":"Hello, Ada!"}\n', err: '' });
    const answers = (await Promise.all(keyed)).map(({ out }) => JSON.parse(out) as { id: string; status: string });
    expect(answers.map(({ status }) => status).toSorted()).toEqual(['added', 'duplicate']);
    expect(answers[0]?.id).toBe(answers[1]?.id);
  });

  test('enqueue says the id and the next command; jobs show tells all of the job', async () => {
    const { code, out } = await say('enqueue', 'sample.hello', '{"name":"Bob"}');
    expect(code).toBe(0);
    const id = /^added (\S+)\nnpx millrace jobs show \1\n$/.exec(out)?.[1] ?? '';

    await ends(await beside(), id, 'completed', 20_000);
    const shown = await say('jobs', 'show', id);
    expect(shown).toMatchObject({ code: 0, err: '' });
    expect(shown.out).toContain(`sample.hello ${id}\nState      completed\n`);
    expect(shown.out).toContain('Result     {"text":"Hello, Bob!"}');
    expect(shown.out).toMatch(/Log:\n {2}\S+ info greeting/);
  });

  test('a job that fails for good is listed, shown, grouped and sent back', async () => {
    const { jobs, deadLetters } = await beside();
    const { id } = await jobs.enqueue(hello, { name: 'Dan', fail: 'for-good' });
    const isDead = (letterId: string): Promise<void> =>
      eventually(async () => expect((await deadLetters.get(letterId))?.id).toBe(letterId), 20_000);
    const letter = `${id}~0`;
    await isDead(letter);

    const [list, show, clusters, jobsShow, dryRun] = await Promise.all([
      say('dead', 'list'),
      say('dead', 'show', letter),
      say('dead', 'clusters'),
      say('jobs', 'show', id),
      say('dead', 'redrive', 'all', '--queue', 'sample', '--dry-run'),
    ]);
    expect(list.out).toContain(letter);
    expect(show.out).toContain('Reason       unrecoverable');
    expect(clusters.out).toContain('Dan does not want to be greeted');
    expect(jobsShow.err).toContain(`npx millrace dead show ${letter}`);
    expect(dryRun.out).toMatch(/^1 found, 0 sent back/);
    expect((await say('dead', 'redrive', letter)).out).toMatch(/^1 found, 1 sent back/);
    await isDead(`${id}~1`);
    const unasked = await say('dead', 'discard', 'all');
    expect(unasked.err).toContain(
      'Remove 1 dead letter for good? There is no terminal to ask at, so nothing was done; say --yes',
    );
    expect(unasked.code).toBe(2);
    expect((await say('dead', 'discard', 'all', '--yes')).out).toMatch(/^1 found, 1 removed/);
    expect((await say('dead', 'list')).out).toBe('no dead letters\n');
  }, 90_000);

  test('what a handler throws moves no cursor, not even as the message of the command', async () => {
    const evil = '\u001b[31m\u009b2J';
    const failed = await say('enqueue', 'sample.hello', JSON.stringify({ name: evil, fail: 'for-good' }), '--wait');
    expect(failed).toMatchObject({ code: 1, out: '' });
    expect(failed.err).toContain('\\u001b[31m\\u009b2J does not want to be greeted [JOB_FAILED]');
    const { out } = await say('enqueue', 'sample.hello', JSON.stringify({ name: evil }), '--wait');
    expect(out).toBe('{"text":"Hello, \\u001b[31m\\u009b2J!"}\n');
  });

  test('what a contract calls secret is printed only when it is asked for', async () => {
    const { jobs } = await beside();
    const contract = defineJob({ name: 'card.check', input: z.object({ number: z.string() }), secrets: ['number'] });
    await jobs.register([contract]);
    const { id } = await jobs.enqueue(contract, { number: '4111-1111' });
    const [shown, asked] = await Promise.all([say('jobs', 'show', id), say('jobs', 'show', id, '--secrets', '--json')]);
    expect(shown.out).toContain('Input      {"number":"[secret]"}');
    expect(JSON.parse(asked.out)).toMatchObject({ input: { number: '4111-1111' } });
  });

  test('a running job is cancelled', async () => {
    const { jobs } = await beside();
    const { id } = await jobs.enqueue(hello, { name: 'Eve', sleepMs: 600_000 });
    await ends({ jobs }, id, 'active', 20_000);

    expect(await say('jobs', 'cancel', id)).toMatchObject({ code: 2, out: '' });
    expect(await say('jobs', 'cancel', id, '--yes', '--reason', 'changed my mind')).toMatchObject({
      code: 0,
      out: 'cancelled\n',
    });
    expect((await say('jobs', 'show', id)).out).toContain('State      cancelled: changed my mind');
  }, 60_000);

  test('bad words and bad inputs are one clear message', async () => {
    const cases: Array<[args: string[], code: number, err: RegExp]> = [
      [['enqueue', 'sample.hello'], 2, /^millrace enqueue: expected JSON\n/],
      [['enqueue', 'sample.hello', '{nam'], 2, /^millrace enqueue: JSON: /],
      [['enqueue', 'sample.hello', '{"nam":1}'], 1, /name: Invalid input.*\[INPUT_INVALID\]/],
      [['enqueue', 'bad name', '{}'], 2, /NAME: expected letters/],
      [['enqueue', 'sample.hello', '{"name":"x"}', '--queue', 'a b'], 2, /--queue: expected letters/],
      [['enqueue', 'sample.hello', '{"name":"x"}', '--delay', 'soon'], 2, /--delay: expected how long, .*, got soon/],
      [['jobs', 'show', 'nothing'], 1, /there is no job nothing/],
      [['jobs', 'show', ''], 2, /ID: expected a value, got none/],
      [['jobs'], 2, /expected one of jobs list, jobs show, jobs wait, jobs cancel/],
      [['jobs', 'cancel', 'nothing'], 1, /there is no job nothing/],
      [['jobs', 'retry', 'nothing'], 1, /there is no job nothing/],
      [['jobs', 'list', '--state', 'lost'], 2, /--state: expected some of active, .*, got lost/],
      [['jobs', 'list', '--since', 'soon'], 2, /--since: expected how long ago, such as 15m, or a date, got soon/],
      [['jobs', 'list', '--queue', 'nothing'], 1, /\[JOB_UNKNOWN\]/],
      [['queues', 'pause', 'nothing'], 1, /there is no queue nothing/],
      [['schedules', 'run', 'nothing'], 1, /there is no schedule nothing/],
      [['dead', 'show', 'nothing~0'], 1, /there is no dead letter nothing~0/],
      [['dead', 'redrive', 'nothing~0'], 1, /there is no dead letter nothing~0/],
      [['dead', 'redrive'], 2, /expected ID, flags that say which ones, or 'all'/],
      [['dead', 'redrive', 'a~0', '--queue', 'sample'], 2, /expected ids or flags that say which ones, not both/],
      [['dead', 'redrive', 'all', '--to', 'nothing'], 1, /there is no queue nothing/],
      [['dead', 'list', '--queue', 'nothing'], 1, /there is no queue nothing/],
      [['dead', 'list', '--limit', 'many'], 2, /--limit: expected a number, got many/],
      [['dead', 'list', '--limit', '0'], 2, /--limit: expected a whole number of at least 1, got 0/],
      [['dead', 'list', '--since', '1.2.3h'], 2, /--since: expected how long, .*, got 1\.2\.3h/],
      [['dead', 'list', '--reason', 'bad'], 2, /--reason: expected one of attempts, .*, got bad/],
      [['top'], 2, /there is no terminal to draw on; --once prints one frame/],
      [['bench', '--jobs', '1e9'], 2, /--jobs: expected at most 100000, got 1000000000/],
      [['new', 'job', '9lives'], 2, /NAME: expected letters/],
    ];
    const said = await Promise.all(cases.map(([args]) => say(...args)));
    for (const [index, [args, code, err]] of cases.entries()) {
      expect(said[index]?.err, args.join(' ')).toMatch(err);
      expect(said[index]?.code, args.join(' ')).toBe(code);
    }
  }, 60_000);
});
