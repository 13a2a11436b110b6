import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ownedCommands, runCommand } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';

const cwd = temporaryFolder();
const command = ownedCommands();
interface Package {
  version: string;
}

const run = (...args: string[]) => command(args, { cwd });

describe('help', () => {
  test('lists the commands, with or without asking', async () => {
    for (const { code, out, err } of await Promise.all([runCommand([], { cwd }), run('--help')])) {
      expect(code).toBe(0);
      expect(out).toMatch(/^Usage: millrace COMMAND \[flags\]/);
      expect(out).toMatch(/^ {2}dev +\S/m);
      expect(out).toMatch(/^ {2}doctor +\S/m);
      expect(err).toBe('');
    }
  });

  test('of a command names its flags and exit codes', async () => {
    const { code, out } = await run('doctor', '--help');
    expect(await run('doctor', '-h')).toEqual({ code, out, err: '' });
    expect(code).toBe(0);
    expect(out).toContain('Usage: millrace doctor [flags]');
    expect(out).toContain('--json');
    expect(out).toMatch(/^ {2}2 {2}no server, or wrong words$/m);
  });
});

describe('the version', () => {
  test('is that of the package, however it is asked for', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as Package;
    const ways = [['--version'], ['-V'], ['version']];
    for (const { code, out, err } of await Promise.all(ways.map((args) => run(...args))))
      expect([code, out, err]).toEqual([0, `${version}\n`, '']);
    const { code, out } = await run('--version', '--json');
    expect([code, JSON.parse(out)]).toEqual([0, { version, node: process.versions.node }]);
    expect(await run('--version', 'now')).toMatchObject({ code: 2, out: '' });
  });
});

describe('words that are not known', () => {
  test('in place of a command: exit code 2, with the commands', async () => {
    const names = ['deploy', 'constructor'];
    for (const [index, { code, out, err }] of (await Promise.all(names.map((name) => run(name)))).entries()) {
      expect(code).toBe(2);
      expect(err).toContain(`millrace: there is no command "${names[index]}"`);
      expect(err).toContain('Usage: millrace COMMAND');
      expect(out).toBe('');
    }
  });

  test('behind a command: exit code 2, with its usage', async () => {
    const [flag, word] = await Promise.all([run('dev', '--watch'), run('doctor', 'now')]);
    expect(flag.err).toMatch(/^millrace dev: Unknown option '--watch'\n\nUsage: millrace dev \[flags\]/);
    expect(word.err).toMatch(/^millrace doctor: Unexpected argument 'now'.*\n\nUsage: millrace doctor \[flags\]/);
    for (const { code, out, err } of [flag, word]) {
      expect(code).toBe(2);
      expect(out).toBe('');
      expect(err, 'no stack').not.toMatch(/^\s+at /m);
    }
  });

  test('tell what was meant, where that is near', async () => {
    const [command_, second, missing, flag] = await Promise.all([
      run('quues'),
      run('queues', 'pauze', 'email'),
      run('jobs', 'shwo', 'x'),
      run('jobs', 'list', '--limt', '5'),
    ]);
    expect(command_).toEqual({
      code: 2,
      out: '',
      err: 'millrace: there is no command "quues"; did you mean queues?\n',
    });
    expect(second.err).toMatch(/^millrace queues: there is no command "queues pauze"; did you mean queues pause\?\n/);
    expect(missing.err).toMatch(/^millrace jobs: there is no command "jobs shwo"; did you mean jobs show\?\n/);
    expect(flag.err).toMatch(/^millrace jobs list: Unknown option '--limt'; did you mean --limit\?\n/);
    for (const { code, out } of [second, missing, flag]) expect([code, out]).toEqual([2, '']);
  });

  test('of a value, too: exit code 2, before any server is asked', async () => {
    const wrong = await Promise.all([
      run('keys', 'create', 'shop'),
      run('password', 'ada', 'king'),
      run('dead', 'redrive', 'all', 'x~0'),
      run('enqueue', 'a.b', '{name:1}'),
      run('enqueue', 'a b', '{}'),
    ]);
    for (const { code, out, err } of wrong) {
      expect([code, out]).toEqual([2, '']);
      expect(err).toMatch(/^millrace [a-z ]+: .*expected|^millrace enqueue: JSON: /);
    }
  });
});
