/** A redrive of many letters: batch by batch, at its rate, until it is done or told to stop. */
import type { z } from 'zod';
import type { Clock } from '../../clock.ts';
import { parseWith } from '../../payload.ts';
import type { JobContract } from '../contract.ts';
import { letterIdOf, type DeadLetter } from './letter.ts';
import type { RedriveResult, RedrivenJob, redriveOptions, Skipped } from './options.ts';
import { revivalOf, type Redriver, type Revival } from './redriver.ts';
import type { Shelf } from './shelf.ts';

/** Letters of one queue. */
export interface Selected {
  queue: string;
  ids: string[];
}

/** What it works with. */
export interface RedriveTools {
  shelf: Shelf;
  redriver: Redriver;
  clock: Clock;
  onRedriven: (letter: DeadLetter, to: string) => void;
}

type Checked = z.output<typeof redriveOptions>;

/** Letters of one transaction. */
export const BATCH = 50;
/** Of a transaction's letters, and of the inputs that go back; a larger one would hold up the server. */
const BATCH_CHARS = 4_000_000;
/** With a rate, letters that go together: what the rate allows in this time, so that it stays even. */
const EVEN_WITHIN_MS = 20;
const MOST_SKIPPED_TOLD = 1_000;

/** Gives the letters back. */
export async function redriveAll(
  selected: readonly Selected[],
  options: Checked,
  tools: RedriveTools,
): Promise<RedriveResult> {
  const { rate, signal, onProgress } = options;
  const matched = selected.reduce((sum, { ids }) => sum + ids.length, 0);
  const size = rate === undefined ? BATCH : Math.min(BATCH, Math.max(1, Math.floor((rate * EVEN_WITHIN_MS) / 1_000)));
  const result: RedriveResult = { matched, redriven: 0, skipped: [], dryRun: false, aborted: false };
  const startedAt = tools.clock.monotonicMs();
  let done = 0;
  let skipped = 0;
  for (const { queue, ids } of selected) {
    for (let start = 0; start < ids.length; start += size) {
      if (rate !== undefined) await pause(tools.clock, startedAt + (done * 1_000) / rate, signal);
      if (signal?.aborted) return { ...result, aborted: true };
      const batch = ids.slice(start, start + size);
      const jobs: RedrivenJob[] = [];
      const left = await redriveSome(queue, batch, options, tools, jobs);
      result.redriven += jobs.length;
      done += batch.length;
      skipped += left.length;
      result.skipped.push(...left.slice(0, MOST_SKIPPED_TOLD - result.skipped.length));
      onProgress?.({ matched, redriven: result.redriven, skipped, jobs });
    }
  }
  return result;
}

/** Those that were left. */
async function redriveSome(
  queue: string,
  ids: readonly string[],
  options: Checked,
  { shelf, redriver, onRedriven }: RedriveTools,
  redriven: RedrivenJob[],
): Promise<Skipped[]> {
  const to = options.to ?? queue;
  const skipped: Skipped[] = [];
  const ready: Revival[] = [];
  const filed = await shelf.readAll(queue, ids);
  for (const [index, id] of ids.entries()) {
    const one = filed[index];
    const made = one ? await prepared(revivalOf(one), options) : ({ id, why: 'gone' } as const);
    if ('why' in made) skipped.push(made);
    else ready.push(made);
  }
  for (const some of bySize(ready)) {
    const outcomes = await redriver.redrive(queue, to, some, options.by);
    for (const [index, { letter }] of some.entries()) {
      const outcome = outcomes[index] ?? 'busy';
      if (outcome === 'redriven') {
        const { jobId } = letter;
        redriven.push({ id: jobId, queue: to, nextLetter: letterIdOf(jobId, letter.redriven + 1) });
        onRedriven(letter, to);
      } else {
        skipped.push({ id: letter.id, why: outcome });
      }
    }
  }
  return skipped;
}

async function prepared(revival: Revival, { edit, contract }: Checked): Promise<Revival | Skipped> {
  const { letter } = revival;
  if (contract && contract.name !== letter.contract) return { id: letter.id, why: 'contract' };
  if (!edit) return revival;
  try {
    const edited: unknown = await edit(structuredClone(letter.input));
    const data = (JSON.stringify(edited) as string | undefined) ?? 'null';
    if (contract) await checkInput(contract, data);
    return { ...revival, data, version: contract?.version };
  } catch (error) {
    return { id: letter.id, why: 'input', detail: error instanceof Error ? error.message : String(error) };
  }
}

async function checkInput(contract: JobContract, data: string): Promise<void> {
  await parseWith(contract.input, JSON.parse(data), `the edited input of ${contract.name}`);
}

function bySize(revivals: readonly Revival[]): Revival[][] {
  const groups: Revival[][] = [];
  let chars = 0;
  for (const revival of revivals) {
    const size = revival.data.length + revival.stored.length; // A letter holds more than the input, such as results of children.
    chars += size;
    const group = groups.at(-1);
    if (group && chars <= BATCH_CHARS) {
      group.push(revival);
    } else {
      groups.push([revival]);
      chars = size;
    }
  }
  return groups;
}

async function pause(clock: Clock, untilMs: number, signal: AbortSignal | undefined): Promise<void> {
  const leftMs = untilMs - clock.monotonicMs();
  if (leftMs <= 0 || signal?.aborted) return;
  await clock.sleep(leftMs, { signal }).catch((error: unknown) => {
    if (!signal?.aborted) throw error;
  });
}
