/** A schedule as it is kept in Redis: all that a worker must know to run it, even one that never saw the code which declared it. */
import { createHash } from 'node:crypto';
import { encodeInput } from '../input.ts';
import { planEnqueue, type EnqueuePlan, type StoredOptions } from '../enqueue-options.ts';
import type { Schedule } from './schedule.ts';
import type { MissedPolicy } from './settle.ts';
import type { Timing } from './timetable.ts';

/** What is kept of a declaration, as JSON; two that read the same are the same. */
export interface Definition {
  readonly id: string;
  /** The application that declared it. */
  readonly owner: string;
  readonly contract: string;
  readonly queue: string;
  readonly timing: Timing;
  readonly missed: MissedPolicy;
  readonly missedLimit: number;
  readonly jitterMs: number;
  /** JSON. */
  readonly input: string;
  readonly opts: StoredOptions;
}

/** @throws MillraceError INPUT_INVALID, PAYLOAD_TOO_LARGE, OPTIONS_INVALID */
export async function defineSchedule(
  { id, contract, input, timing, missed, missedLimit, jitterMs, enqueue }: Schedule,
  { owner, maxPayloadBytes }: { owner: string; maxPayloadBytes: number },
): Promise<Definition> {
  const { opts } = planEnqueue(contract, input, enqueue, () => 0);
  const json = await encodeInput(contract, input, maxPayloadBytes);
  const { name, queue } = contract;
  return { id, owner, contract: name, queue, timing, missed, missedLimit, jitterMs, input: json, opts };
}

export function readDefinition(text: string): Definition {
  return JSON.parse(text) as Definition;
}

/**
 * The id of a tick's job, such as `report.nightly@20260329T013000Z`: the same in every process.
 */
export function runIdOf(scheduleId: string, tickMs: number): string {
  const [seconds = '', ms = ''] = new Date(tickMs).toISOString().replaceAll(/[-:Z]/g, '').split('.');
  return `${scheduleId}@${seconds}${ms === '000' ? '' : `.${ms}`}Z`;
}

/** The options of a tick's job. */
export function runOptsOf({ id, opts, jitterMs }: Definition, tickMs: number): StoredOptions {
  if (jitterMs === 0) return opts;
  const part = createHash('sha256').update(`${id}@${tickMs}`).digest().readUInt32BE() / 2 ** 32;
  return { ...opts, delay: (opts.delay ?? 0) + Math.floor(part * jitterMs) };
}

/** What a run outside of the ticks is enqueued by. */
export function planOf({ opts }: Definition): EnqueuePlan {
  const { deduplication } = opts;
  const rule = deduplication?.replace ? 'replace' : deduplication?.reschedule ? 'reschedule' : 'ignore';
  return { opts, rule: deduplication ? rule : undefined, deadlineMs: undefined };
}
