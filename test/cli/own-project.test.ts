/** examples/own-project as a user has it: the package is packed, installed from the tarball into a fresh folder, and run by plain Node. */
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { get } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { commandEnv } from '../support/millrace.ts';
import { ownedByTest } from '../support/owned.ts';
import { processesWhere } from '../support/process-table.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const home = temporaryFolder();
const checkout = join(home, 'checkout');
const project = join(home, 'examples/own-project');
const installed = join(project, 'node_modules/millrace');
const own = ownedByTest();
let server: TestServer;

interface Manifest {
  version: string;
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  exports: Record<string, Record<string, string> | string>;
}
const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
const filesOf = (folder: string, ending: RegExp): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .toSorted();

/** npm of its own: not of the `npm test` that may have started this. */
function environment(): NodeJS.ProcessEnv {
  const env = commandEnv({ REDIS_URL: server.url, PORT: '0', LOG_FORMAT: 'json' });
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(npm_(?!config_)|npm_config_local|INIT_CWD)/.test(name)),
  );
}

async function run(
  program: string,
  args: readonly string[],
  cwd: string,
): Promise<{ code: number; out: string; err: string }> {
  const options = { cwd, env: environment(), maxBuffer: 10_000_000 };
  return promisify(execFile)(program, args, options).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
      code,
      out: stdout,
      err: stderr,
    }),
  );
}

async function must(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, out, err } = await run(program, args, cwd);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}\n${out}\n${err}`);
  return out;
}

/** Packs what a clean checkout would: a folder of its own, so that nobody's dist is in the way. Types are checked by `npm run check`. */
async function pack(): Promise<void> {
  const names = [
    'package.json',
    'tsconfig.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'src',
    'dashboard',
    'workers',
    'lua',
  ];
  for (const name of names) cpSync(join(root, name), join(checkout, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
  const build = manifestOf(root).scripts['build'] ?? '';
  const steps = build.replaceAll('tsc ', `${join(root, 'node_modules/.bin/tsc')} --noCheck --singleThreaded `);
  await must('/bin/sh', ['-c', steps], checkout);
  await must('npm', ['pack', '--ignore-scripts', '--pack-destination', home], checkout);
}

async function install(): Promise<void> {
  cpSync(join(root, 'examples/own-project'), project, {
    recursive: true,
    filter: (file) => !/node_modules|\.millrace|package-lock/.test(file.slice(root.length)),
  });
  const flags = ['--omit=dev', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1'];
  const { code, err } = await run('npm', ['install', ...flags], project);
  if (code !== 0)
    throw new Error(
      `npm could not install the packed package; without a registry it needs a cache that has all of it:\n${err}`,
    );
}

beforeAll(async () => {
  server = await startRedis();
  await pack();
  await install();
}, 240_000);
afterAll(() => server.stop());

test('the tarball has what runs, its types, every Lua file and what browsers are given; no sources and no tests', () => {
  const files = filesOf(installed, /./);
  const ofKind = (kind: RegExp): string[] => files.filter((file) => kind.test(file));
  expect(ofKind(/(?<!\.d)\.tsx?$/), 'sources').toEqual([]);
  expect(ofKind(/(^|\/)(test|bench|examples|docs)\/|\.test\./), 'what only a checkout needs').toEqual([]);
  expect(ofKind(/\.lua$/)).toEqual(filesOf(join(root, 'lua'), /\.lua$/).map((file) => join('lua', file)));
  const assets = filesOf(join(root, 'dashboard'), /(^client\/.*\.js|\.css)$/).map((file) => join('dashboard', file));
  expect(ofKind(/^dashboard\//).filter((file) => /\.\w+$/.test(file))).toEqual(assets);
  const entries = Object.values(manifestOf(root).exports).flatMap((entry) =>
    typeof entry === 'string' ? [entry] : [entry['types'] ?? '', entry['default'] ?? ''],
  );
  expect(entries.filter((entry) => entry === '' || !existsSync(join(installed, entry)))).toEqual([]);
});

test('the example asks for what this checkout packs, with the zod and the TypeScript that it is tested with', () => {
  const [ours, theirs] = [manifestOf(root), manifestOf(join(root, 'examples/own-project'))];
  expect(theirs.dependencies).toEqual({
    millrace: `file:../../millrace-${ours.version}.tgz`,
    zod: ours.dependencies['zod'],
  });
  for (const [name, version] of Object.entries(theirs.devDependencies))
    expect(version).toBe(ours.devDependencies[name]);
});

test('every published path is imported by plain Node', async () => {
  const paths = Object.keys(manifestOf(root).exports).filter((path) => !path.endsWith('.json'));
  const lines = paths.map((path) => `console.log(Object.keys(await import('${join('millrace', path)}')).length > 0);`);
  writeFileSync(join(project, 'all.mjs'), lines.join('\n'));
  const out = await must(process.execPath, ['all.mjs'], project);
  expect(out.trim().split('\n')).toEqual(paths.map(() => 'true'));
});

test('its files keep to the published types, which tell a wrong name, and its test passes', async () => {
  const wrong = "import { confirmOrder } from './contracts.js';\nconfirmOrder.no;\n";
  writeFileSync(join(project, 'wrong.js'), wrong);
  const [checked, tested] = await Promise.all([
    run(
      join(root, 'node_modules/.bin/tsc'),
      ['--pretty', 'false', '--typeRoots', join(root, 'node_modules/@types')],
      project,
    ),
    run(process.execPath, ['--test'], project),
  ]);
  expect(checked.out.trim().split('\n')).toEqual([expect.stringMatching(/^wrong\.js\(2,14\): error TS2339/)]);
  expect(tested.out).toMatch(/^\S+ pass 2$/m);
});

test('npx millrace worker ./handlers.js runs its handler, tells of its refusal, and drains by SIGTERM with exit code 0', async () => {
  const child = spawn('npx', ['--no', 'millrace', 'worker', './handlers.js'], {
    cwd: project,
    env: environment(),
    detached: true,
  });
  let [out, code] = ['', undefined as number | NodeJS.Signals | null | undefined];
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.once('close', (number, signal) => (code = number ?? signal));
  const group = child.pid ?? 0;
  own({
    async stop() {
      for (const { pid } of processesWhere((one) => one.group === group)) process.kill(pid, 'SIGKILL');
    },
  });
  await eventually(() => expect(out).toContain('Stop: Ctrl-C'), 60_000);
  expect(out).toContain('Queue      orders: orders.confirm\n');
  const url = /^Health\s+(http:\S+)\/livez/m.exec(out)?.[1] ?? '';
  await eventually(async () => expect((await get(`${url}/readyz`)).status).toBe(200));

  const [good, bad] = await Promise.all([
    run(process.execPath, ['order.js', '4711', '1990'], project),
    run(process.execPath, ['order.js', '4712', '0'], project),
  ]);
  expect(good).toMatchObject({ code: 0, out: "{ receipt: 'receipt of 4711' }\n" });
  expect([bad.code, bad.err]).toEqual([1, expect.stringContaining('order 4712 has nothing to pay')]);

  // To the worker itself: npx does not pass it on.
  const [worker] = processesWhere((one) => one.group === group && /^node \S*millrace worker/.test(one.command));
  process.kill(worker?.pid ?? 0, 'SIGTERM');
  await eventually(() => expect(code).toBeDefined(), 30_000);
  expect(out).toContain('"msg":"stopping"');
  expect(code).toBe(0);
});
