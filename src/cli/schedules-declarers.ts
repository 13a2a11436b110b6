/** Which workers have a schedule in their code. */
import type { Platform, ScheduleInfo } from '../index.ts';

/** The processes that run and have declared the schedule, as `host:pid`. */
export type Declarers = (schedule: Pick<ScheduleInfo, 'id'>) => string[];

/** Asks the fleet. */
export async function declarersOf({ fleet }: Platform): Promise<Declarers> {
  const alive = (await fleet.workers())
    .filter(({ state }) => state !== 'silent')
    .map(({ host, pid, schedules }) => ({ name: `${host}:${pid}`, declared: new Set(schedules) }));
  return ({ id }) => alive.filter(({ declared }) => declared.has(id)).map(({ name }) => name);
}
