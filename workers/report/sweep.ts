/** Removes reports that nobody will fetch any more, and what was begun and never ended. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from 'millrace';
import { partsFolder } from './part-file.ts';

/** Of our own making: others' files in the folder are left alone. A fence is the time in µs. */
const REPORT_FILE = /^[\w-]+-[\w-]+-\d{15,}\.(?:csv|jsonl)$/;

/** The name of a report's file. */
export function reportFile(report: string, job: string, fence: number, format: 'csv' | 'jsonl'): string {
  return `${report}-${job}-${fence}.${format}`;
}

/** @returns how many files were removed that are older */
export async function sweepReports(folder: string, keepForMs: number): Promise<number> {
  const before = systemClock.wallMs() - keepForMs;
  const files = (await namesIn(folder)).filter((name) => REPORT_FILE.test(name)).map((name) => join(folder, name));
  const parts = (await namesIn(partsFolder(folder))).map((name) => join(partsFolder(folder), name));
  let removed = 0;
  for (const path of [...files, ...parts]) {
    if ((await changedAt(path)) >= before) continue;
    await rm(path, { recursive: true, force: true });
    removed++;
  }
  return removed;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** One that is gone is as new as can be: there is nothing to remove. */
async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Number.POSITIVE_INFINITY;
    throw error;
  }
}
