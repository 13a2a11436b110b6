/**
 * What is kept of schedules in Redis, and the one way to write it.
 *
 * Keys, in the slot of the queue's family: HASH `schedule:ID` (the state), LIST `schedule-runs:ID` (ids of its last runs), ZSET
 * `schedules` (id -> when it is due). In a slot of its own: HASH `{schedules}:declared` (id -> queue), HASH `{schedules}:revisions`
 * (owner -> newest revision). They live as long as the schedule is declared.
 *
 * Each write of a state replaces its token, and names the token that it read: who was overtaken writes nothing, and looks again.
 */
import { randomUUID } from 'node:crypto';
import { explainRedisError } from '../../redis/explain.ts';
import { defineScript, type PreparedCall } from '../../redis/script.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { QueueSet } from '../queue-set.ts';
import { readDefinition, type Definition } from './definition.ts';
import { createTimetable } from './timetable.ts';

/** A run of a schedule at one of its ticks. */
export interface Run {
  jobId: string;
  tickMs: number;
  /** When it was enqueued. */
  atMs: number;
}

/** What is kept of a schedule. */
export interface ScheduleState {
  definition: Definition;
  /** All ticks up to this one are settled. */
  lastMs: number;
  /** Of whoever declared it; undefined for none. */
  revision: number | undefined;
  /** The process that declared it, and when. */
  by: string;
  declaredMs: number;
  /** Ticks that were never run. */
  missed: number;
  missedMs: number | undefined;
  /** Ticks that were run late. */
  late: number;
  lastRun: Run | undefined;
  /** It is being moved to another queue, and does not tick here. */
  isMoving: boolean;
}

/** A state as it was read. */
export interface StoredState extends ScheduleState {
  token: string;
}

/** Where a schedule is kept. */
interface ScheduleKeys extends Record<'state' | 'index' | 'runs', string> {}

/** What is moved is forgotten by itself if whoever moved it died. */
const MOVING_TTL_MS = 7 * 86_400_000;

const writeSchedule = defineScript({
  file: 'jobs/write-schedule.lua',
  keys: ['state', 'index', 'runs'],
  args: ['id', 'expected', 'nextMs', 'ttlMs', 'runsKept', 'fieldCount', '...rest'],
  reply: (written: number) => written === 1,
});

const raiseRevision = defineScript({
  file: 'jobs/raise-revision.lua',
  keys: ['revisions'],
  args: ['owner', 'revision'],
  reply: (newest: string) => Number(newest),
});

/** The schedules under one prefix. */
export class ScheduleStore {
  readonly queues: QueueSet;
  readonly #declared: string;
  readonly #revisions: string;

  constructor(queues: QueueSet) {
    this.queues = queues;
    this.#declared = queues.keys.ledger('schedules', 'declared');
    this.#revisions = queues.keys.ledger('schedules', 'revisions');
  }

  keys(queue: string, id: string): ScheduleKeys {
    return {
      state: this.queues.keys.ledger(queue, 'schedule', id),
      index: this.index(queue),
      runs: this.queues.keys.ledger(queue, 'schedule-runs', id),
    };
  }

  /** Of the queue's family. */
  index(queue: string): string {
    return this.queues.keys.ledger(queue, 'schedules');
  }

  /** The server's time: workers whose clocks differ agree on it. */
  async nowMs(): Promise<number> {
    const [seconds, micros] = await this.ask((client) => client.time());
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  /** The queue of each schedule. */
  async declared(): Promise<Map<string, string>> {
    return new Map(Object.entries(await this.ask((client) => client.hgetall(this.#declared))));
  }

  async queueOf(id: string): Promise<string | undefined> {
    return (await this.ask((client) => client.hget(this.#declared, id))) ?? undefined;
  }

  async point(id: string, queue: string): Promise<void> {
    await this.ask((client) => client.hset(this.#declared, id, queue));
  }

  /** Takes the schedule off the list, unless it has been declared again since its state was removed. */
  async unpoint(id: string, queue: string): Promise<void> {
    await this.ask((client) => client.hdel(this.#declared, id));
    if (await this.read(queue, id)) await this.point(id, queue);
  }

  /** The newest revision of the owner that was ever told, this one among them. */
  async newestRevision(owner: string, revision: number): Promise<number> {
    return raiseRevision(this.queues.client, { revisions: this.#revisions }, { owner, revision });
  }

  async read(queue: string, id: string): Promise<StoredState | undefined> {
    return this.ask((client) => readState(client, this.keys(queue, id).state));
  }

  /** Writes the state if it is still as it was read; the new token, or undefined. */
  async write(queue: string, state: ScheduleState, expected: string | undefined): Promise<string | undefined> {
    const token = randomUUID();
    const { keys, args } = this.#layOut(queue, state, token, expected, []);
    return (await writeSchedule(this.queues.client, keys, args)) ? token : undefined;
  }

  /** The write as a call among others, with the runs that were added. */
  prepare(queue: string, state: ScheduleState, expected: string, runs: readonly string[]): PreparedCall<boolean> {
    const { keys, args } = this.#layOut(queue, state, randomUUID(), expected, runs);
    return writeSchedule.prepare(keys, args);
  }

  /** Removes the state if it is still as it was read. */
  async remove(queue: string, id: string, expected: string): Promise<boolean> {
    return writeSchedule(this.queues.client, this.keys(queue, id), removalOf(id, expected));
  }

  /** The removal of what may be left of a schedule that has no state, as a call among others. */
  prepareRemoval(queue: string, id: string): PreparedCall<boolean> {
    return writeSchedule.prepare(this.keys(queue, id), removalOf(id, ''));
  }

  async ask<T>(question: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      return await question(this.queues.client);
    } catch (error) {
      throw explainRedisError(error, this.queues.connections.label);
    }
  }

  #layOut(
    queue: string,
    state: ScheduleState,
    token: string,
    expected: string | undefined,
    runs: readonly string[],
  ): { keys: ScheduleKeys; args: Parameters<typeof writeSchedule>[2] } {
    const { definition, isMoving, lastMs } = state;
    const nextMs = isMoving ? undefined : createTimetable(definition.timing).next(lastMs);
    const fields = Object.entries(fieldsOf(state, token)).flat();
    return {
      keys: this.keys(queue, definition.id),
      args: {
        id: definition.id,
        expected: expected ?? '',
        nextMs: nextMs ?? '',
        ttlMs: isMoving ? MOVING_TTL_MS : 0,
        runsKept: windowOf(definition),
        fieldCount: fields.length,
        rest: [...fields, ...runs],
      },
    };
  }
}

function removalOf(id: string, expected: string): Parameters<typeof writeSchedule>[2] {
  return { id, expected, nextMs: '', ttlMs: 0, runsKept: 0, fieldCount: 0, rest: [] };
}

/** How many runs of a schedule may wait at once; of each more, the tick is missed. */
export function windowOf({ missed, missedLimit }: Definition): number {
  return missed === 'all' ? missedLimit : 1;
}

/** What is kept of the schedule, if anything is. */
export async function readState(client: Pick<RedisClient, 'hgetall'>, key: string): Promise<StoredState | undefined> {
  const fields = await client.hgetall(key);
  const { token, def, run } = fields;
  if (token === undefined || def === undefined) return undefined;
  return {
    token,
    definition: readDefinition(def),
    lastMs: Number(fields['last']),
    revision: optional(fields['rev']),
    by: fields['by'] ?? '',
    declaredMs: Number(fields['at']),
    missed: Number(fields['missed']),
    missedMs: optional(fields['missedAt']),
    late: Number(fields['late']),
    lastRun: run === undefined || run === '' ? undefined : (JSON.parse(run) as Run),
    isMoving: fields['moving'] === '1',
  };
}

function fieldsOf(state: ScheduleState, token: string): Record<string, string | number> {
  const { definition, lastMs, revision, by, declaredMs, missed, missedMs, late, lastRun, isMoving } = state;
  return {
    token,
    def: JSON.stringify(definition),
    last: lastMs,
    rev: revision ?? '',
    by,
    at: declaredMs,
    missed,
    missedAt: missedMs ?? '',
    late,
    run: lastRun ? JSON.stringify(lastRun) : '',
    moving: isMoving ? 1 : '',
  };
}

function optional(text: string | undefined): number | undefined {
  return text === undefined || text === '' ? undefined : Number(text);
}
