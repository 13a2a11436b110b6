/** `millrace worker` with handlers of a user's own, and the files of `millrace new job`: in a project that has the package installed. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { get, ownedCommands, startCommand } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const cwd = temporaryFolder();
const own = ownedByTest();
const command = ownedCommands();
const env = { REDIS_URL: '', MILLRACE_PREFIX: `t-${randomUUID()}`, PORT: '0' };
let server: TestServer;

const HANDLERS = `
import { consume, defineJob, defineStream, handle, schedule } from 'millrace';
import { z } from 'zod';
export const add = defineJob({ name: 'sums.add', input: z.object({ a: z.number(), b: z.number() }) });
export const slow = defineJob({ name: 'slow.wait', input: z.object({}) });
const orders = defineStream({ name: 'orders', schema: z.object({ id: z.number() }) });
export default handle(add, ({ a, b }) => a + b);
export const more = [
  handle(slow, async (_input, { signal, progress }) => {
    progress(1);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    signal.throwIfAborted();
  }),
  consume(orders, { group: 'count' }, () => undefined),
];
export const nightly = schedule(add, { a: 1, b: 2 }, { id: 'nightly', cron: '@daily' });
`;
const FILES: Record<string, string> = {
  'package.json': '{ "type": "module" }',
  'handlers.js': HANDLERS,
  'empty.js': 'export const answer = 42;',
  'broken.js': "throw new TypeError('no database');",
  'again.js': "export { default as sum } from './handlers.js';",
  'twice.js':
    "import { handle } from 'millrace';\nimport { add } from './handlers.js';\nexport const other = handle(add, () => 0);",
  'typed/handlers.ts': "import sum from '../handlers.js';\nexport const typed = sum satisfies object;\n",
};

beforeAll(async () => {
  server = await startRedis();
  env.REDIS_URL = server.url;
  mkdirSync(join(cwd, 'node_modules'), { recursive: true });
  mkdirSync(join(cwd, 'typed'));
  symlinkSync(inject('compiled'), join(cwd, 'node_modules/millrace'));
  symlinkSync(join(root, 'node_modules/zod'), join(cwd, 'node_modules/zod'));
  for (const [file, text] of Object.entries(FILES)) writeFileSync(join(cwd, file), text);
});
afterAll(() => server.stop());

describe('millrace worker', () => {
  test('runs what a module exports, answers probes, and drains by SIGTERM with exit code 0', async () => {
    const worker = own(
      startCommand(['worker', 'handlers.js', '--concurrency', '3', '--drain-for', '1s'], { cwd, env }),
    );
    await worker.says('Stop: Ctrl-C');
    expect(worker.out()).toContain('Queue      sums: sums.add\nQueue      slow: slow.wait\nStream     orders: count\n');
    const url = /^Health\s+(http:\S+)\/livez/m.exec(worker.out())?.[1] ?? '';
    const { REDIS_URL, MILLRACE_PREFIX: prefix } = env;
    const platform = own(createPlatform({ redis: { url: REDIS_URL }, prefix, log: silentLogger }));
    await platform.start();
    const add = defineJob({ name: 'sums.add', input: z.object({ a: z.number(), b: z.number() }) });
    expect(await platform.jobs.enqueueAndWait(add, { a: 20, b: 22 })).toBe(42);
    await eventually(async () => {
      expect((await get(`${url}/readyz`)).status).toBe(200);
      expect((await platform.schedules.get('nightly'))?.contract).toBe('sums.add');
      const [seen] = await platform.fleet.workers();
      expect(seen?.queues.map(({ concurrency }) => concurrency)).toEqual([3, 3]);
    });
    const orders = defineStream({ name: 'orders', schema: z.object({ id: z.number() }) });
    await platform.streams.publish(orders, { id: 1 });
    await eventually(async () => {
      const { entries, pending } = await platform.streams.lag(orders, 'count');
      expect([entries, pending]).toEqual([0, 0]);
    });

    const { id } = await platform.jobs.enqueue(defineJob({ name: 'slow.wait', input: z.object({}) }), {});
    await eventually(async () => expect((await platform.jobs.get(id))?.progress).toBe(1));
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(await platform.jobs.get(id), 'it was handed back').toMatchObject({ state: 'waiting', attemptsMade: 0 });
  });

  test('tells what is wrong with a file, or with the names that were chosen', async () => {
    const cases: Array<[args: string[], code: number, err: RegExp]> = [
      [['nothing.js'], 1, /there is no file nothing\.js/],
      [['typed'], 1, /typed is a folder; name the files in it/],
      [['empty.js'], 1, /empty\.js exports nothing that a worker runs; export what handle\(\) or consume\(\) returns/],
      [['broken.js'], 1, /broken\.js cannot be loaded:\nTypeError: no database\n +at .*broken\.js:1/],
      [['handlers.js', 'twice.js'], 1, /two handlers of sums\.add: default of handlers\.js, and other of twice\.js/],
      [['handlers.js', '--queues', 'sums,mail'], 1, /nothing that was loaded is of queue mail; they are of sums, slow/],
      [['handlers.js', '--streams', 'sums'], 1, /of stream sums; they are of orders/],
      [['handlers.js', '--concurrency', '0'], 2, /--concurrency: expected a whole number of at least 1/],
      [['handlers.js', '--drain-for', 'long'], 2, /--drain-for: expected how long, .*, got long/],
      [['typed/handlers.ts'], 1, /is TypeScript, which Node \S+ cannot load; npm install --save-dev tsx/],
    ];
    for (const [args, code, err] of cases) {
      if (args[0]?.endsWith('.ts') && 'typescript' in process.features) continue; // This Node can.
      const ran = await command(['worker', ...args], { cwd, env });
      expect(ran.err, args.join(' ')).toMatch(err);
      expect(ran.code, args.join(' ')).toBe(code);
    }
    const without = await command(['worker'], { cwd: join(cwd, 'node_modules'), env });
    expect(without).toMatchObject({ code: 2 });
    expect(without.err).toMatch(/^millrace worker: expected FILE/);
  });

  test('takes handlers.js of the folder, one queue of it, TypeScript with the tsx of the project, and one handler from two files', async () => {
    symlinkSync(join(root, 'node_modules/tsx'), join(cwd, 'node_modules/tsx'));
    const [usual, typed] = [
      own(startCommand(['worker', '--queues', 'sums'], { cwd, env })),
      own(startCommand(['worker', 'typed/handlers.ts', 'again.js'], { cwd, env })),
    ];
    await Promise.all([usual.says('Stop: Ctrl-C'), typed.says('Stop: Ctrl-C')]);
    for (const worker of [usual, typed]) {
      expect(worker.out()).toMatch(/^Queue {6}sums: sums\.add$/m);
      expect(worker.out()).not.toMatch(/slow|Stream/);
      expect(worker.err()).not.toContain('another copy');
      worker.child.kill('SIGTERM');
    }
    expect([await usual.ended, await typed.ended]).toEqual([0, 0]);
  });
});

describe('millrace new job', () => {
  // The files of greet.user stand in test/cli/new-job/, where the checks of this project typecheck, lint and compile them.
  test('writes files that typecheck, and whose test passes', async () => {
    const { code, err, out } = await command(['new', 'job', 'greet.user', '--dir', 'jobs'], { cwd, env });
    expect([code, err]).toEqual([0, '']);
    const files = ['contract', 'handler', 'test'].map((kind) => `greet-user.${kind}.ts`);
    expect(readdirSync(join(cwd, 'jobs')).toSorted()).toEqual(files);
    for (const file of files) {
      expect(out).toContain(`wrote jobs/${file}\n`);
      const expected = readFileSync(join(root, 'test/cli/new-job', file.replace('.test.ts', '-test.ts')), 'utf8');
      expect(readFileSync(join(cwd, 'jobs', file), 'utf8')).toBe(expected);
    }
    const compiled = join(inject('compiled'), 'test/cli/new-job/greet-user-test.js');
    const { stdout } = await execute(process.execPath, ['--test', compiled]);
    expect(stdout).toMatch(/^# pass 2$/m);
  });

  test('writes over nothing, and makes names that no keyword is in the way of', async () => {
    const first = await command(['new', 'job', 'delete.UserData', '--dir', 'more', '--json'], { cwd, env });
    const { files } = JSON.parse(first.out) as { files: string[] };
    expect(files[0]).toBe('more/delete-user-data.contract.ts');
    const text = readFileSync(join(cwd, 'more/delete-user-data.handler.ts'), 'utf8');
    expect(text).toContain('export const deleteUserDataHandler = handle(deleteUserDataJob, ');
    writeFileSync(join(cwd, 'more/delete-user-data.contract.ts'), 'mine');
    const again = await command(['new', 'job', 'delete.userData', '--dir', 'more'], { cwd, env });
    expect(again.code).toBe(1);
    expect(again.err).toMatch(/delete-user-data\.contract\.ts, .*: there already; nothing was written/);
    expect(readFileSync(join(cwd, 'more/delete-user-data.contract.ts'), 'utf8')).toBe('mine');
  });
});
