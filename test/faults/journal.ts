/** What worker processes wrote of their runs, and what can be counted in it. */
import { existsSync, readFileSync } from 'node:fs';

/** One step of one run of a job. */
export interface Step {
  what: string;
  jobId: string;
}

/** What the process wrote so far; a line that it was killed in is left out. */
export function readJournal(file: string): Step[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [what = '', jobId = ''] = line.split(' ');
      return { what, jobId };
    });
}

/** How often each job was there. */
export class Tally {
  readonly #counts = new Map<string, number>();

  constructor(jobIds: Iterable<string> = []) {
    for (const jobId of jobIds) this.add(jobId);
  }

  add(jobId: string): void {
    this.#counts.set(jobId, this.of(jobId) + 1);
  }

  of(jobId: string): number {
    return this.#counts.get(jobId) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  get jobIds(): string[] {
    return [...this.#counts.keys()];
  }

  /** How often beyond the first time, over all jobs. */
  get repeats(): number {
    return this.total - this.#counts.size;
  }
}

/** The jobs of which the step was written. */
export function tally(steps: readonly Step[], what: string): Tally {
  return new Tally(steps.filter((step) => step.what === what).map(({ jobId }) => jobId));
}

/** The jobs that were between two steps when the process wrote its last line. */
export function between(steps: readonly Step[], first: string, last: string): string[] {
  const open = new Map<string, boolean>();
  for (const { what, jobId } of steps) {
    if (what === first) open.set(jobId, true);
    if (what === last) open.delete(jobId);
  }
  return [...open.keys()];
}
