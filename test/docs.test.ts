/** The programs in README, docs and examples run as they stand. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { compilePrograms } from './support/compiled.ts';
import { temporaryFolder } from './support/folders.ts';
import { ownedHost } from './support/host.ts';
import { startRedis, type TestServer } from './support/servers.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
// Inside the compiled package, so that `import ... from 'millrace'` means this package.
const folder = join(inject('compiled'), 'programs');
mkdirSync(folder);
// What an example reads beside itself.
copyFileSync(join(root, 'test/corpus/fables.json'), join(inject('compiled'), 'test/corpus/fables.json'));

interface Program {
  /** What it is to the reader. */
  title: string;
  /** Of its file, without the ending. */
  name: string;
}

function programsIn(doc: string): Program[] {
  const blocks = [...readFileSync(join(root, doc), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
    (match) => match[1] ?? '',
  );
  return blocks.map((block, index) => {
    const name = `${doc.replaceAll(/\W/g, '-')}-${index + 1}`;
    writeFileSync(join(folder, `${name}.ts`), block);
    return { title: `${doc}, program ${index + 1}`, name };
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
  .map((file): Program => {
    copyFileSync(join(root, 'examples', file), join(folder, file));
    return { title: `examples/${file}`, name: file.replace(/\.ts$/, '') };
  });
const programs = [...docs.flatMap(programsIn), ...examples];

/** The user that docs/operations.md recommends, and what programs with a prefix of their own need beyond it. */
function aclUser(): string[] {
  const [, rule = ''] = /ACL SETUSER (.*)/.exec(readFileSync(join(root, 'docs/operations.md'), 'utf8')) ?? [];
  return [...rule.replaceAll("'", '').split(' '), '~docs-*', '&docs-*', '~examples:*'];
}

describe('programs in the docs', () => {
  const data = temporaryFolder();
  const run = ownedHost();
  let server: TestServer;
  const [user = '', ...rules] = aclUser();
  beforeAll(async () => {
    [server] = await Promise.all([startRedis(), compilePrograms(folder)]);
    await server.ask((redis) => redis.call('ACL', 'SETUSER', user, ...rules));
  });
  afterAll(() => server.stop());

  test.each(programs)('$title runs to its end', async ({ name }) => {
    const signIn = { REDIS_USERNAME: user, REDIS_PASSWORD: rules.find((rule) => rule.startsWith('>'))?.slice(1) };
    const env = { ...process.env, REDIS_URL: server.url, ...signIn, MILLRACE_DATA: data };
    const { code, err } = await run({ file: join(folder, `${name}.js`), args: [], cwd: root, env });
    expect([code, err]).toEqual([0, '']);
  });

  test('all of them are allowed to the user of docs/operations.md', async () => {
    expect(await server.ask((redis) => redis.call('ACL', 'LOG'))).toEqual([]);
  });
});
