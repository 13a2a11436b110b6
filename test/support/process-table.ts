/** What runs on this machine, from Linux's /proc. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessEntry {
  pid: number;
  parent: number;
  group: number;
  session: number;
  command: string;
}

/** The process, if it is in the table and has not ended. */
export function processEntry(pid: number): ProcessEntry | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, parent, group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z') return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return { pid, parent: Number(parent), group: Number(group), session: Number(session), command };
  } catch {
    return undefined;
  }
}

/** Every process that fits. */
export function processesWhere(fits: (entry: ProcessEntry) => boolean): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processEntry(Number(name)))
    .filter((entry) => entry !== undefined && fits(entry)) as ProcessEntry[];
}

/** Every process that was called with the text: a server with the path of its folder, for one. */
export function processesNaming(text: string): ProcessEntry[] {
  return processesWhere(({ command, pid }) => command.includes(text) && pid !== process.pid);
}
