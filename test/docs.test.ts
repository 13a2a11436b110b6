/** The programs in README, docs and examples run as they stand. */
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from './support/folders.ts';
import { startRedis, type TestServer } from './support/servers.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
// Inside the package, so that `import ... from 'millrace'` means this package.
const snippets = join(root, '.millrace', `snippets-${process.pid}`);

interface Program {
  name: string;
  file: string;
}

function programsIn(doc: string): Program[] {
  const blocks = [...readFileSync(join(root, doc), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
    (match) => match[1] ?? '',
  );
  return blocks.map((block, index) => {
    const file = join(snippets, `${doc.replaceAll(/\W/g, '-')}-${index + 1}.ts`);
    mkdirSync(snippets, { recursive: true });
    writeFileSync(file, block);
    return { name: `${doc}, program ${index + 1}`, file };
  });
}

const docs = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((file) => file.endsWith('.md'))
    .map((file) => join('docs', file)),
];
const examples = readdirSync(join(root, 'examples'))
  .filter((file) => file.endsWith('.ts'))
  .map((file): Program => ({ name: `examples/${file}`, file: join(root, 'examples', file) }));
const programs = [...docs.flatMap(programsIn), ...examples];

describe('programs in the docs', () => {
  const folder = temporaryFolder();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    await server.stop();
    rmSync(snippets, { recursive: true, force: true });
  });

  test.each(programs)('$name runs to its end', async ({ file }) => {
    const env = { ...process.env, REDIS_URL: server.url, MILLRACE_DATA: folder };
    const { stderr } = await run(process.execPath, ['--conditions=millrace-source', '--import', 'tsx', file], {
      cwd: root,
      env,
    });
    expect(stderr).toBe('');
  });
});
