/** Which process a pid means: pids are used again, so a number alone does not tell. */
import { readFileSync, readlinkSync } from 'node:fs';

/** When the process started, in clock ticks since boot, from Linux's /proc; empty where there is none. */
export function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return ''; // macOS has no /proc; there the pid has to do.
  }
}

/** Whether the process runs, and is the one that started then (if both starts are known). */
export function isRunning(pid: number, startedAt = ''): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const found = startOf(pid);
  return found === '' || startedAt === '' || found === startedAt;
}

/** The folder that the process works in; undefined where that cannot be known. */
export function workingFolderOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}
