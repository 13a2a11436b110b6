/** The schedules, for people and the dashboard. */
import type { JobState } from '../inspect.ts';
import { letterIdOf } from '../dead-letters/letter.ts';
import { deadQueueOf } from '../queue-names.ts';
import type { MissedPolicy } from './settle.ts';
import type { ScheduleStore, StoredState } from './store.ts';
import { createTimetable } from './timetable.ts';

/** What became of a run; `dead` when it is a dead letter, `unknown` when nothing of it is left. */
export type RunStatus = JobState | 'dead';

/** A schedule, as it is in Redis. Times are ms since 1970. */
export interface ScheduleInfo {
  id: string;
  contract: string;
  queue: string;
  cron?: string;
  timeZone?: string;
  everyMs?: number;
  offsetMs?: number;
  input: unknown;
  missedPolicy: MissedPolicy;
  owner: string;
  /** The process that declared it, and when. */
  declaredBy: string;
  declaredAt: number;
  revision?: number;
  /** When its last run was enqueued, for which tick, and as which job. */
  lastRunAt?: number;
  lastTickAt?: number;
  lastRunId?: string;
  lastRunStatus?: RunStatus;
  nextRunAt?: number;
  /** How long the next run is overdue: more than a moment means that no worker sees to the schedules. 0 when it is not. */
  overdueMs: number;
  /** Ticks that were never run, since the schedule was added. */
  missed: number;
  lastMissedAt?: number;
  /** Ticks that were run late, since the schedule was added. */
  late: number;
}

/** All schedules, by id. */
export async function listSchedules(store: ScheduleStore, nowMs: number): Promise<ScheduleInfo[]> {
  const declared = [...(await store.declared())].toSorted(([one], [other]) => (one < other ? -1 : 1));
  const infos = await Promise.all(declared.map(([id, queue]) => describeSchedule(store, id, queue, nowMs)));
  return infos.filter((info) => info !== undefined);
}

/** One schedule; undefined when it is not there. */
export async function describeSchedule(
  store: ScheduleStore,
  id: string,
  queue: string,
  nowMs: number,
): Promise<ScheduleInfo | undefined> {
  const state = await store.read(queue, id);
  if (!state) return undefined;
  const { definition, lastRun, revision, missedMs } = state;
  const nextRunAt = createTimetable(definition.timing).next(state.lastMs);
  return {
    id,
    contract: definition.contract,
    queue: definition.queue,
    ...definition.timing,
    input: JSON.parse(definition.input) as unknown,
    missedPolicy: definition.missed,
    owner: definition.owner,
    declaredBy: state.by,
    declaredAt: state.declaredMs,
    ...(revision !== undefined && { revision }),
    ...(lastRun && { lastRunAt: lastRun.atMs, lastTickAt: lastRun.tickMs, lastRunId: lastRun.jobId }),
    ...(lastRun && { lastRunStatus: await statusOf(store, state, lastRun.jobId) }),
    ...(nextRunAt !== undefined && { nextRunAt }),
    overdueMs: Math.max(0, nowMs - (nextRunAt ?? nowMs)),
    missed: state.missed,
    ...(missedMs !== undefined && { lastMissedAt: missedMs }),
    late: state.late,
  };
}

async function statusOf(store: ScheduleStore, { definition }: StoredState, jobId: string): Promise<RunStatus> {
  const { queues } = store;
  const dead = queues.get(deadQueueOf(definition.queue));
  const [state, isDead, isCancelled] = await store.ask((client) =>
    Promise.all([
      queues.get(definition.queue).backend.getState(jobId),
      client.exists(dead.key(letterIdOf(jobId, 0))),
      client.exists(queues.keys.cancelled(definition.queue, jobId)),
    ]),
  );
  if (state !== 'unknown') return state;
  if (isCancelled === 1) return 'cancelled';
  return isDead === 1 ? 'dead' : 'unknown';
}
