/** The table of commands and what is made of it: help, completion, docs/cli.md. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.ts';
import { usageOf } from '../../src/cli/command.ts';
import { ownedCommands } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';

const execute = promisify(execFile);
const cwd = temporaryFolder();
const command = ownedCommands();
const names = Object.keys(COMMANDS);
const docs = readFileSync(fileURLToPath(new URL('../../docs/cli.md', import.meta.url)), 'utf8');

/** The part of the page that is about a command. */
function section(name: string): string {
  const { words = [] } = COMMANDS[name] ?? {};
  const title = `### ${['millrace', name, ...words].join(' ')}\n`;
  const from = docs.indexOf(title);
  return from < 0 ? '' : (docs.slice(from + title.length).split(/^##/m)[0] ?? '');
}

/** What bash would offer for the last of the words. */
const complete = async (script: string, ...words: string[]): Promise<string[]> => {
  const run = `source "$1"; shift; COMP_WORDS=(millrace "$@"); COMP_CWORD=$#; _millrace; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await execute('bash', ['-c', run, 'bash', script, ...words], { cwd });
  return stdout.split('\n').filter((line) => line !== '');
};

describe('docs/cli.md', () => {
  test.each(names)('has millrace %s with an example, every flag and every exit code of its own', (name) => {
    const text = section(name);
    expect(text, 'a section with its words as title').not.toBe('');
    expect(text, 'an example').toContain(`npx millrace ${name}`);
    const { flags, exitCodes } = COMMANDS[name] ?? { flags: {}, exitCodes: {} };
    expect(Object.keys(flags).filter((flag) => !text.includes(`\`--${flag}`))).toEqual([]);
    for (const [code, what] of Object.entries(exitCodes)) expect(text).toContain(`| ${code} | ${what} |`);
  });

  test('has no command that is not there', () => {
    const titled = [...docs.matchAll(/^### millrace (.*)$/gm)].map(([, rest = '']) =>
      rest.replaceAll(/ \[?[A-Z_]+(?:\.\.\.)?\]?/g, ''),
    );
    expect(titled).toEqual(names);
    const flags = [...docs.matchAll(/`--([a-z-]+)/g)].map(([, flag = '']) => flag);
    const known = new Set(Object.values(COMMANDS).flatMap((one) => Object.keys(one.flags)));
    expect(flags.filter((flag) => !known.has(flag) && flag !== 'help')).toEqual([]);
  });
});

describe('help', () => {
  test('of every command tells its flags and exit codes, and every command that prints facts has --json', () => {
    for (const [name, one] of Object.entries(COMMANDS)) {
      const usage = usageOf(name, one);
      expect(usage).toContain('Exit codes:\n  0  ');
      expect(one.summary, name).toMatch(/\S/);
    }
    const without = names.filter((name) => !('json' in (COMMANDS[name]?.flags ?? {})));
    expect(without).toEqual(['dev', 'worker', 'dashboard', 'api', 'password', 'completion']);
  });

  test('of a group lists its commands', async () => {
    const [dead, queues, help] = [
      await command(['dead', '--help'], { cwd }),
      await command(['queues', '--help'], { cwd }),
      await command(['help', 'jobs', 'show'], { cwd }),
    ];
    expect(dead.code).toBe(0);
    expect(dead.out).toMatch(/^Usage: millrace dead COMMAND \[flags\]\n\n {2}dead list +\S[\s\S]*^ {2}dead discard /m);
    expect(queues.out).toMatch(/^Usage: millrace queues \[flags\][\s\S]*^ {2}queues pause /m);
    expect(help.out).toContain('Usage: millrace jobs show ID [flags]');
  });
});

describe('completion', () => {
  test('of bash knows commands, second words, flags and what flags take', async () => {
    const script = join(cwd, 'millrace.bash');
    writeFileSync(script, (await command(['completion', 'bash'], { cwd })).out);
    const first = new Set(names.map((name) => name.split(' ', 1)[0] ?? ''));
    expect((await complete(script, '')).toSorted()).toEqual([...first, 'help'].toSorted());
    expect(await complete(script, 'dead', 're')).toEqual(['redrive']);
    expect(await complete(script, 'dead', 'discard', '--y')).toEqual(['--yes']);
    expect(await complete(script, 'queues', '--j')).toEqual(['--json']);
    expect(await complete(script, 'queues', 'p')).toEqual(['pause']);
    expect(await complete(script, 'jobs', 'list', '--state', 'comp')).toEqual(['completed']);
    expect(await complete(script, 'completion', 'z')).toEqual(['zsh']);
    expect(await complete(script, 'dead', 'redrive', '--queue', ''), 'of a queue nothing is known').toEqual([]);
    expect(await complete(script, 'worker', './hand'), 'files are for the shell').toEqual([]);
  });

  test('of zsh and fish name every command', async () => {
    const [zsh, fish, other] = [
      await command(['completion', 'zsh'], { cwd }),
      await command(['completion', 'fish'], { cwd }),
      await command(['completion', 'tcsh'], { cwd }),
    ];
    expect(zsh.out).toMatch(/^#compdef millrace\n[\s\S]*bashcompinit/);
    expect(zsh.out, 'a file of fpath answers the completion that loads it').toMatch(/funcstack.*_bash_complete.*\n$/);
    for (const name of names) {
      const [first = '', second] = name.split(' ');
      expect(fish.out).toMatch(new RegExp(`-n .* -a ${second ?? first} -d '`));
    }
    expect(other).toMatchObject({ code: 2, out: '' });
  });
});
