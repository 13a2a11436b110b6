import { describe, expect, test } from 'vitest';
import { ownedCommands, runCommand } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';

const cwd = temporaryFolder();
const command = ownedCommands();
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
    expect(code).toBe(0);
    expect(out).toContain('Usage: millrace doctor [flags]');
    expect(out).toContain('--json');
    expect(out).toMatch(/^ {2}2 {2}no server, or wrong words$/m);
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
});
