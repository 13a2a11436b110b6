/**
 * Makes what is kept in Redis agree with what an application declares.
 *
 * Promise: any number of processes may do this at once, and again; each schedule is there once afterwards. A process that dies halfway
 * leaves schedules that tick by the old or by the new declaration, or one that stands still on its way to another queue; the next
 * process that starts does the rest.
 * Who wins: the process that reconciled last, which is the one that started last. With revisions, the one with the higher revision,
 * whenever it starts: while a deploy goes on, a process of the old version that starts again changes nothing.
 * Redis down: rejects; what was done stays, and calling it again is safe.
 */
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { familyOf } from '../queue-names.ts';
import { defineSchedule, type Definition } from './definition.ts';
import { checkDistinct, type Schedule } from './schedule.ts';
import { REWOUND_MS, type Settler } from './settler.ts';
import type { ScheduleState, ScheduleStore, StoredState } from './store.ts';
import { createTimetable } from './timetable.ts';

/** Who reconciles. */
export interface Declarer {
  /** The application. */
  owner: string;
  /** Grows with each release; undefined when the application has none. */
  revision: number | undefined;
  /** The process. */
  by: string;
}

/** What became of the schedules, by id. */
export interface Reconciled {
  added: string[];
  changed: string[];
  removed: string[];
  unchanged: string[];
  /** Left as a newer revision has declared them. */
  newer: string[];
}

/** What a reconciler is made of. */
export interface ScheduleReconcilerOptions {
  store: ScheduleStore;
  settler: Settler;
  nowMs: () => Promise<number>;
  log: Logger;
  maxPayloadBytes: number;
}

/** Each try that fails was overtaken by another process that got something done. */
const TRIES = 50;

/** Reconciles schedules. */
export class ScheduleReconciler {
  readonly #options: ScheduleReconcilerOptions;

  constructor(options: ScheduleReconcilerOptions) {
    this.#options = options;
  }

  /** @throws MillraceError INPUT_INVALID, OPTIONS_INVALID before anything is written; OPTIONS_INVALID for a schedule of another owner. */
  async reconcile(declared: readonly Schedule[], declarer: Declarer): Promise<Reconciled> {
    checkDistinct(declared);
    const { store, maxPayloadBytes, log } = this.#options;
    const { owner, by } = declarer;
    const definitions = await Promise.all(declared.map((one) => defineSchedule(one, { owner, maxPayloadBytes })));
    const reconciled: Reconciled = { added: [], changed: [], removed: [], unchanged: [], newer: [] };
    if (await this.#isOutdated(declarer)) {
      reconciled.newer.push(...definitions.map(({ id }) => id));
      log.warn(
        { owner, revision: declarer.revision },
        'schedules left as a newer revision of the application has declared them',
      );
      return reconciled;
    }
    const before = await store.declared();
    for (const definition of definitions) {
      const outcome = await this.#declare(definition, before.get(definition.id), declarer);
      reconciled[outcome].push(definition.id);
    }
    const kept = new Set(definitions.map(({ id }) => id));
    for (const [id, queue] of before) {
      if (!kept.has(id) && (await this.#removeOwn(queue, id, declarer))) reconciled.removed.push(id);
    }
    const { added, changed, removed, newer } = reconciled;
    if (added.length + changed.length + removed.length + newer.length > 0)
      log.info({ owner, by, added, changed, removed, newer }, 'schedules reconciled');
    return reconciled;
  }

  /** Removes the schedule, whoever declared it; false when there is none. */
  async remove(id: string): Promise<boolean> {
    const queue = await this.#options.store.queueOf(id);
    return queue !== undefined && this.#remove(queue, id, () => true);
  }

  async #isOutdated({ owner, revision }: Declarer): Promise<boolean> {
    if (revision === undefined) return false;
    return (await this.#options.store.newestRevision(owner, revision)) > revision;
  }

  async #declare(
    definition: Definition,
    fromQueue: string | undefined,
    declarer: Declarer,
  ): Promise<'added' | 'changed' | 'unchanged' | 'newer'> {
    const { store } = this.#options;
    const { id, queue } = definition;
    const isElsewhere = fromQueue !== undefined && familyOf(fromQueue) !== familyOf(queue);
    const moving = isElsewhere ? await this.#freeze(fromQueue, definition, declarer) : undefined;
    if (moving === 'newer') return 'newer';
    const outcome = await this.#settleOn(definition, moving?.state, declarer);
    if (outcome === 'newer') return outcome;
    if (fromQueue !== queue) await store.point(id, queue);
    if (!moving) return outcome;
    await store.remove(moving.queue, id, moving.token);
    return 'changed';
  }

  /** Writes the declaration, unless it is there already. `carried` is what was kept of the schedule at its former queue. */
  async #settleOn(
    definition: Definition,
    carried: ScheduleState | undefined,
    declarer: Declarer,
  ): Promise<'added' | 'changed' | 'unchanged' | 'newer'> {
    const { store, settler, nowMs } = this.#options;
    const { id, queue } = definition;
    for (let tries = 0; tries < TRIES; tries++) {
      const now = await nowMs();
      const stored = await store.read(queue, id);
      const refusal = stored && refusalOf(stored, definition, declarer);
      if (refusal) return refusal;
      if (stored && !stored.isMoving && isSame(stored, definition, declarer, now)) return 'unchanged';
      if (stored && !stored.isMoving && !hasSameTiming(stored, definition) && isDue(stored, now)) {
        await settler.settle(queue, id, now); // By the declaration under which they came due.
        continue;
      }
      const after = stateOf(definition, stored ?? carried, declarer, now);
      if (await store.write(queue, after, stored?.token)) return stored ? 'changed' : 'added';
    }
    throw overtaken(id);
  }

  /** Stops the ticks at the former queue. What is there then is complete, and goes along. */
  async #freeze(
    queue: string,
    definition: Definition,
    declarer: Declarer,
  ): Promise<{ queue: string; token: string; state: ScheduleState } | 'newer' | undefined> {
    const { store, settler, nowMs } = this.#options;
    const { id } = definition;
    for (let tries = 0; tries < TRIES; tries++) {
      const stored = await store.read(queue, id);
      if (!stored) return undefined;
      const refusal = refusalOf(stored, definition, declarer);
      if (refusal) return refusal;
      const now = await nowMs();
      if (!stored.isMoving && isDue(stored, now)) {
        await settler.settle(queue, id, now);
        continue;
      }
      const state = { ...stored, isMoving: true };
      const token = await store.write(queue, state, stored.token);
      if (token !== undefined) return { queue, token, state };
    }
    throw overtaken(id);
  }

  #removeOwn(queue: string, id: string, declarer: Declarer): Promise<boolean> {
    return this.#remove(queue, id, ({ definition, revision }) => {
      return definition.owner === declarer.owner && !isNewer(revision, declarer);
    });
  }

  async #remove(queue: string, id: string, isMeant: (state: StoredState) => boolean): Promise<boolean> {
    const { store } = this.#options;
    for (let tries = 0; tries < TRIES; tries++) {
      const stored = await store.read(queue, id);
      if (stored && !isMeant(stored)) return false;
      const isGone = !stored || (await store.remove(queue, id, stored.token));
      if (!isGone) continue;
      await store.unpoint(id, queue);
      return stored !== undefined;
    }
    throw overtaken(id);
  }
}

/** Why the declaration must not be written. @throws MillraceError OPTIONS_INVALID when the schedule is another application's. */
function refusalOf(
  { definition, revision, by }: StoredState,
  wanted: Definition,
  declarer: Declarer,
): 'newer' | undefined {
  const { id, owner } = definition;
  if (owner !== wanted.owner) {
    throw new MillraceError(
      'OPTIONS_INVALID',
      `schedule ${id} of ${wanted.owner} is declared by ${owner} already (${by}); give one of them another id, or remove it there first`,
      { id, owner: wanted.owner, declaredBy: owner },
    );
  }
  return isNewer(revision, declarer) ? 'newer' : undefined;
}

function isNewer(revision: number | undefined, declarer: Declarer): boolean {
  return revision !== undefined && declarer.revision !== undefined && revision > declarer.revision;
}

function isSame(stored: StoredState, definition: Definition, { revision }: Declarer, nowMs: number): boolean {
  return (
    JSON.stringify(stored.definition) === JSON.stringify(definition) &&
    stored.revision === revision &&
    stored.lastMs - nowMs <= REWOUND_MS
  );
}

function hasSameTiming(stored: ScheduleState, { timing }: Definition): boolean {
  return JSON.stringify(stored.definition.timing) === JSON.stringify(timing);
}

function isDue({ definition, lastMs }: StoredState, nowMs: number): boolean {
  const next = createTimetable(definition.timing).next(lastMs);
  return next !== undefined && next <= nowMs;
}

function stateOf(
  definition: Definition,
  before: ScheduleState | undefined,
  { revision, by }: Declarer,
  nowMs: number,
): ScheduleState {
  const goesOn = before && hasSameTiming(before, definition) && before.lastMs - nowMs <= REWOUND_MS;
  return {
    missed: 0,
    missedMs: undefined,
    late: 0,
    lastRun: undefined,
    ...before,
    definition,
    // Ticks from before the schedule was there, or ticked like this, are not its ticks.
    lastMs: goesOn ? before.lastMs : nowMs,
    revision,
    by,
    declaredMs: nowMs,
    isMoving: false,
  };
}

function overtaken(id: string): MillraceError {
  return new MillraceError(
    'REDIS_FAILED',
    `schedule ${id} was changed by others at each of ${TRIES} tries; try again`,
    { id },
  );
}
