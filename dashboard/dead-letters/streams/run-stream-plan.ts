/** The work of an operation on the letters of a stream's group: in rounds, because only their ends tell how many have moved. */
import { isMillraceError, type StreamDeadLetters, type StreamLetterFilter } from 'millrace';
import type { Plan } from '../operation.ts';
import type { Outcome, PlanParts } from '../run-plan.ts';

/** Letters of a round: some hundred milliseconds. */
const ROUND = 5_000;

/** Does what the plan says. @throws what Redis met */
export async function runStreamPlan(
  { platform, plan, progress, signal }: Omit<PlanParts, 'quota' | 'clock'>,
  { stream, group }: NonNullable<Plan['of']>,
): Promise<Outcome> {
  const letters = platform.streams.deadLettersOf(stream, group);
  const targets = targetsOf(plan);
  progress.total = 0;
  for (const target of targets) progress.total += (await letters.redrive(target, { dryRun: true, signal })).matched;
  progress.phase = 'working';
  for (const target of targets) {
    for (let isMore = true; isMore && !signal.aborted;) {
      const { matched, done } = await actOn(letters, plan.kind, target, signal).catch((error: unknown) => {
        progress.done += doneBy(error);
        throw error;
      });
      progress.done += done;
      isMore = matched === ROUND;
    }
  }
  return { state: signal.aborted ? 'aborted' : 'done' };
}

/** What dies after the start is left alone, or a letter that dies again would go round and round. */
function targetsOf({ target, startedAt }: Plan): Array<string | StreamLetterFilter> {
  if (Array.isArray(target)) return target;
  const filter = target as StreamLetterFilter;
  return [{ ...filter, to: Math.min(Number(filter.to ?? Number.POSITIVE_INFINITY), startedAt + 1) }];
}

async function actOn(
  letters: StreamDeadLetters,
  kind: Plan['kind'],
  target: string | StreamLetterFilter,
  signal: AbortSignal,
): Promise<{ matched: number; done: number }> {
  const options = { limit: ROUND, signal };
  if (kind === 'discard') {
    const { matched, discarded } = await letters.discard(target, options);
    return { matched, done: discarded };
  }
  const { matched, redriven } = await letters.redrive(target, options);
  return { matched, done: redriven };
}

/** What a round had done before it failed. */
function doneBy(error: unknown): number {
  return isMillraceError(error) && typeof error.facts['done'] === 'number' ? error.facts['done'] : 0;
}
