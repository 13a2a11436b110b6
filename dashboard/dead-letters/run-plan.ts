/** The work of an operation: first the canary, if there is one, then the rest. */
import {
  isMillraceError,
  type Clock,
  type DeadLetterFilter,
  type DeadLetterTarget,
  type Platform,
  type RedrivenJob,
} from 'millrace';
import type { OperationState, Plan, Progress } from './operation.ts';
import type { Quota } from './quota.ts';
import { runStreamPlan } from './streams/run-stream-plan.ts';

/** How an operation has ended. */
export interface Outcome {
  state: Exclude<OperationState, 'running'>;
  note?: string;
}

/** What it works with. It writes into `progress` as it goes. */
export interface PlanParts {
  platform: Platform;
  plan: Plan;
  progress: Progress;
  signal: AbortSignal;
  /** Of a plan with a limit. */
  quota: Quota | undefined;
  clock: Clock;
}

const LOOK_EVERY_MS = 500;
/** Outcomes of attempts that are failures. */
const FAILURES: ReadonlySet<string> = new Set(['failed', 'timeout', 'lost']);

/** Does what the plan says. @throws what Redis met */
export async function runPlan(parts: PlanParts): Promise<Outcome> {
  const { plan, progress, signal } = parts;
  if (plan.of) return runStreamPlan(parts, plan.of);
  const { canary } = plan;
  if (canary && plan.kind === 'redrive') {
    progress.phase = 'canary';
    const jobs: RedrivenJob[] = [];
    await move(parts, canary.count, (limit, step) => redrive(parts, limit, step, jobs));
    if (signal.aborted) return { state: 'aborted' };
    const failing = await watch(parts, jobs);
    if (failing) return failing;
  }
  progress.phase = 'working';
  const act = plan.kind === 'redrive' ? redrive : discard;
  await move(parts, undefined, (limit, step) => act(parts, limit, step));
  return { state: signal.aborted ? 'aborted' : 'done' };
}

/** What could not be done, and why. */
export function describeFailure(error: unknown): Outcome {
  return { state: 'failed', note: isMillraceError(error) ? error.message : 'It has failed; the log says why.' };
}

/** What a part of the work is given: when to stop, and whom to tell how many it has moved so far. */
interface Steps {
  signal: AbortSignal;
  moved: (count: number) => void;
}

/** Moves `most` letters, or all, as far as the quota goes. It begins anew in the rare case that the next letters could not be spent in time. */
async function move(
  { progress, signal, quota }: PlanParts,
  most: number | undefined,
  act: (limit: number | undefined, steps: Steps) => Promise<void>,
): Promise<void> {
  const first = progress.done;
  for (;;) {
    const late = await quota?.open();
    if (signal.aborted) return;
    const before = progress.done;
    const bounds = [quota?.left, most === undefined ? undefined : most - (before - first)];
    const limit = Math.min(...bounds.map((bound) => bound ?? Number.MAX_SAFE_INTEGER));
    if (limit <= 0) return;
    await act(limit === Number.MAX_SAFE_INTEGER ? undefined : limit, {
      signal: late ? AbortSignal.any([signal, late]) : signal,
      moved(count) {
        quota?.moved(before + count - progress.done);
        progress.done = before + count;
      },
    });
    if (!late?.aborted) return;
  }
}

/** `jobs`, if it is given, gets those that were given back, of which the plan's total tells more than this part. */
async function redrive(
  { platform, plan, progress }: PlanParts,
  limit: number | undefined,
  { signal, moved }: Steps,
  jobs?: RedrivenJob[],
): Promise<void> {
  const before = progress.done + sumOf(progress.skipped);
  const result = await platform.deadLetters.redrive(targetOf(plan), {
    ...(limit !== undefined && { limit }),
    ...(plan.rate !== undefined && { rate: plan.rate }),
    ...(plan.to !== undefined && { to: plan.to }),
    by: plan.by,
    signal,
    onProgress(step) {
      progress.total = jobs ? plan.expected : before + step.matched;
      jobs?.push(...step.jobs);
      moved(step.redriven);
    },
  });
  progress.total = jobs ? plan.expected : before + result.matched;
  for (const { why } of result.skipped) progress.skipped[why] = (progress.skipped[why] ?? 0) + 1;
}

async function discard(
  { platform, plan, progress }: PlanParts,
  limit: number | undefined,
  { signal, moved }: Steps,
): Promise<void> {
  const before = progress.done;
  const { matched } = await platform.deadLetters.discard(targetOf(plan), {
    ...(limit !== undefined && { limit }),
    signal,
    onProgress(step) {
      progress.total = before + step.matched;
      moved(step.discarded);
    },
  });
  progress.total = before + matched;
}

/** Looks at the first jobs until all have ended or the time is over; undefined when the rest may follow. */
async function watch(
  { platform, plan, progress, signal, clock }: PlanParts,
  jobs: RedrivenJob[],
): Promise<Outcome | undefined> {
  const { canary } = plan;
  if (!canary || jobs.length === 0) return undefined;
  progress.phase = 'watching';
  const untilMs = clock.monotonicMs() + canary.waitMs;
  for (;;) {
    const fates = await Promise.all(jobs.map((job) => fateOf(platform, job)));
    const failed = fates.filter((fate) => fate === 'failed').length;
    const ended = fates.filter((fate) => fate !== 'open').length;
    progress.canary = { ended, failed, count: jobs.length };
    if (failed / jobs.length > canary.maxShare)
      return { state: 'stopped', note: `${failed} of the first ${jobs.length} have failed again. The rest was left.` };
    if (ended === jobs.length) return undefined;
    if (clock.monotonicMs() >= untilMs) {
      if (ended > 0) return undefined;
      return { state: 'stopped', note: `None of the first ${jobs.length} has ended in time. The rest was left.` };
    }
    await clock.sleep(LOOK_EVERY_MS, { signal }).catch(() => undefined); // Ended: told below.
    if (signal.aborted) return { state: 'aborted' };
  }
}

/** A failed attempt counts, though more may follow: the cause is still there. */
async function fateOf(
  { jobs, deadLetters }: Platform,
  { id, queue, nextLetter }: RedrivenJob,
): Promise<'open' | 'failed' | 'fine'> {
  const info = await jobs.get(id);
  if (info) {
    const hasFailed = info.state === 'failed' || info.history.some(({ outcome }) => FAILURES.has(outcome));
    if (hasFailed) return 'failed';
    return info.state === 'completed' || info.state === 'cancelled' ? 'fine' : 'open';
  }
  // Else it has completed, and its queue keeps none that have. Asked after the job: it moves from there to here.
  return (await deadLetters.get(nextLetter, { queue })) ? 'failed' : 'fine';
}

/** What dies after the start is left alone; or a letter that dies again would go round and round. */
function targetOf({ target, startedAt }: Plan): DeadLetterTarget {
  if (Array.isArray(target)) return target;
  const filter = target as DeadLetterFilter;
  return { ...filter, to: Math.min(Number(filter.to ?? Number.POSITIVE_INFINITY), startedAt + 1) };
}

function sumOf(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, one) => sum + one, 0);
}
