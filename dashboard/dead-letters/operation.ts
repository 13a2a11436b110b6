/** What is known of a redrive or a discard of many letters, and how it is kept in Redis. */
import { z } from 'zod';

const count = z.number().int().min(0);

/** What is to be done. Whoever starts it again does the same to what is still there. */
const planSchema = z.object({
  kind: z.enum(['redrive', 'discard']),
  /** The group of a stream whose letters are meant; else they are those of jobs. */
  of: z.object({ stream: z.string(), group: z.string() }).optional(),
  /** Letters by id, or a filter of deadLetters. */
  target: z.union([z.array(z.string()), z.record(z.string(), z.unknown())]),
  /** The target in words. */
  words: z.string(),
  /** How many were found before; 0 where nobody has looked. */
  expected: count,
  /** All its starts together move at most so many. */
  limit: count.optional(),
  rate: z.number().positive().optional(),
  to: z.string().optional(),
  /** Begins with so many, and stops if more than the share of them fails within the time. */
  canary: z.object({ count: count.min(1), waitMs: count, maxShare: z.number().min(0).max(1) }).optional(),
  by: z.string(),
  /** By the server's clock. */
  startedAt: z.number(),
});

/** How far it has come. */
const progressSchema = z.object({
  phase: z.enum(['looking', 'canary', 'watching', 'working', 'ended']),
  total: count,
  done: count,
  /** Why letters were left where they are, and how many. */
  skipped: z.record(z.string(), count),
  /** How long it works already. */
  elapsedMs: z.number(),
  canary: z.object({ ended: count, failed: count, count }).optional(),
});

export type Plan = z.output<typeof planSchema>;
export type Progress = z.output<typeof progressSchema>;

/**
 * Where it is in its life.
 *
 *   running --all done--> done
 *      |------abort------> aborted
 *      |--canary fails---> stopped
 *      |--an error-------> failed
 *      '--its process ends or dies--> cut-off --again--> running
 */
export type OperationState = 'running' | 'done' | 'aborted' | 'stopped' | 'failed' | 'cut-off';

/** An operation, as pages show it. */
export interface Operation {
  readonly id: string;
  readonly state: OperationState;
  readonly plan: Plan;
  readonly progress: Progress;
  /** Why it has ended, where that is no matter of course. */
  readonly note: string | undefined;
}

/** Whether starting it takes an admin: what matches a filter is discarded for good, and nobody has seen it. */
export function takesAdmin({ kind, target }: Pick<Plan, 'kind' | 'target'>): boolean {
  return kind === 'discard' && !Array.isArray(target);
}

const STATES: ReadonlySet<string> = new Set(['running', 'done', 'aborted', 'stopped', 'failed', 'cut-off']);

/** The operation of a HASH; undefined for one that is gone, or of another version. Who says to run and has no process was cut off. */
export function readOperation(id: string, fields: Record<string, string>, isAlive: boolean): Operation | undefined {
  const plan = planSchema.safeParse(parsed(fields['plan']));
  const progress = progressSchema.safeParse(parsed(fields['progress']));
  const { state = '', note = '' } = fields;
  if (!plan.success || !progress.success || !STATES.has(state)) return undefined;
  return {
    id,
    state: state === 'running' && !isAlive ? 'cut-off' : (state as OperationState),
    plan: plan.data,
    progress: progress.data,
    note: note === '' ? undefined : note,
  };
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}
