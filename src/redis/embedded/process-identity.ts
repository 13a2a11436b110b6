/** Which process a pid means: pids are used again, so a number alone does not tell. */
import { readFileSync, readlinkSync } from 'node:fs';

/** When the process started, in clock ticks since boot, from Linux's /proc; empty where there is none. */
export function startOf(pid: number): string {
  return statOf(pid)?.startedAt ?? ''; // macOS has no /proc; there the pid has to do.
}

/** Whether the process runs, and is the one that started then (if both starts are known). */
export function isRunning(pid: number, startedAt = ''): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const found = statOf(pid);
  if (!found) return true;
  // A process that has ended stays in the table until its parent asks how, which some never do.
  if (found.state === 'Z' || found.state === 'X') return false;
  return startedAt === '' || found.startedAt === startedAt;
}

/** Sends the signal if the process is still there. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The folder that the process works in; undefined where that cannot be known. */
export function workingFolderOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

function statOf(pid: number): { state: string; startedAt: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets, which may hold anything; state is the 3rd, the start the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startedAt: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}
