import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { isRunning, signalProcess, startOf, workingFolderOf } from '../../../src/redis/embedded/process-identity.ts';
import { eventually } from '../../support/eventually.ts';

const hasProc = existsSync('/proc/self/stat');

describe('a process', () => {
  test('runs, and is itself', () => {
    expect(isRunning(process.pid)).toBe(true);
    expect(isRunning(process.pid, startOf(process.pid))).toBe(true);
  });

  test('that has ended does not run', () => {
    const { pid } = spawnSync('true');
    expect(isRunning(pid)).toBe(false);
    expect(startOf(pid)).toBe('');
    expect(() => signalProcess(pid, 'SIGTERM')).not.toThrow();
  });

  test('of another user runs, though it may not be asked', () => {
    expect(isRunning(1)).toBe(true);
  });

  test.runIf(hasProc)('with the pid of an earlier one is not taken for that', () => {
    expect(isRunning(process.pid, '1')).toBe(false);
  });

  test.runIf(hasProc)('that has ended does not run, even while its parent has not asked how', async () => {
    // The shell starts a child and becomes a program that never waits for it; only then does the child end.
    const parent = spawn('/bin/sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const pid = await new Promise<number>((resolve) => {
      parent.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())));
    });
    await eventually(() => expect(readFileSync(`/proc/${parent.pid}/comm`, 'utf8')).toBe('sleep\n'));
    process.kill(pid, 'SIGKILL');
    await eventually(() => expect(isRunning(pid)).toBe(false));
    expect(() => process.kill(pid, 0), 'it is in the table still').not.toThrow();
    parent.kill('SIGKILL');
    await new Promise((resolve) => parent.once('close', resolve));
  });

  test.runIf(hasProc)('works in a folder', async () => {
    const child = spawn('sleep', ['60'], { cwd: tmpdir(), stdio: 'ignore' });
    await eventually(() => expect(workingFolderOf(child.pid ?? 0)).toBe(realpathSync(tmpdir())));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    expect(workingFolderOf(child.pid ?? 0)).toBeUndefined();
  });
});
