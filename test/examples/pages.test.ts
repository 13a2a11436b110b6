/** What the pages say beside their programs is there: commands and flags, metrics, headings that are linked to, the tutorial's files. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const pages = [
  'README.md',
  'examples/own-project/README.md',
  'examples/shop/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((file) => file.endsWith('.md'))
    .map((file) => join('docs', file)),
];

/** What the site that shows a page makes of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

const withoutCode = (text: string): string => text.replaceAll(/^```[\s\S]*?^```/gm, '');

describe.each(pages)('%s', (page) => {
  const text = read(page);

  test('every millrace command that it calls is there, with its flags', () => {
    const called = [...text.matchAll(/(?:npx|bin\/|`)\s?millrace ([^`\n#|&>]*)/g)].map(([, words = '']) =>
      words.trim(),
    );
    const wrong = called.filter((words) => {
      const [first = '', second = ''] = words.split(/\s+/);
      if (first === '' || !/^[a-z]+$/.test(first)) return false; // All commands, COMMAND, --help.
      const name = [`${first} ${second}`, first].find((one) => one in COMMANDS);
      const isGroup = Object.keys(COMMANDS).some((one) => one.startsWith(`${first} `));
      if (name === undefined) return !(isGroup && /^(-|$)/.test(second)); // A group by itself, or its help.
      const flags = [...words.matchAll(/ --([a-z-]+)/g)].map(([, flag = '']) => flag);
      return flags.some((flag) => flag !== 'help' && !(flag in (COMMANDS[name]?.flags ?? {})));
    });
    expect(wrong).toEqual([]);
  });

  test('every heading that it links to is there', () => {
    const links = [...withoutCode(text).matchAll(/\]\((?!https?:)([^)#\s]*)#([^)]+)\)/g)];
    const dead = links.filter(([, file = '', anchor = '']) => {
      const target = file === '' ? join(root, page) : resolve(root, dirname(page), file);
      if (!existsSync(target)) return true;
      const headings = withoutCode(readFileSync(target, 'utf8')).matchAll(/^#+ (.*)$/gm);
      return ![...headings].some(([, heading = '']) => anchorOf(heading) === anchor);
    });
    expect(dead.map(([link]) => link)).toEqual([]);
  });
});

test('the metrics that docs/operations.md watches are counted', () => {
  const named = [...read('docs/operations.md').matchAll(/`(millrace_\w+)/g)].map(([, name = '']) => name);
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const code = sources.map((file) => read(join('src', file))).join('\n');
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !code.includes(`'${name}'`))).toEqual([]);
});

test("the tutorial's files are those of examples/own-project", () => {
  const blocks = [...read('docs/tutorial.md').matchAll(/^```js\n\/\/ (\S+)\n([\s\S]*?)^```$/gm)];
  expect(blocks.map(([, file]) => file)).toEqual(['contracts.js', 'handlers.js', 'order.js', 'handlers.test.js']);
  for (const [, file = '', code = ''] of blocks) expect(read(join('examples/own-project', file))).toContain(code);
});
