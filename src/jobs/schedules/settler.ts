/**
 * Turns ticks that have come due into jobs, each exactly once.
 *
 * Promise: that the ticks are settled and that their jobs are in the queue is one transaction. Of many workers that see a tick, one
 * commits; the others find that the state has changed and do nothing. A worker that dies has done all of it or nothing.
 * A tick is not enqueued but counted as missed while as many runs of the schedule wait as may wait (1, or the limit of `all`): without
 * that, a paused queue would fill up.
 */
import type { Redis } from 'ioredis';
import type { Logger } from '../../log.ts';
import type { PreparedCall } from '../../redis/script.ts';
import { addJob } from '../job-commands.ts';
import type { Commands, Transaction, Transactions } from '../transactions.ts';
import type { JobMetrics } from '../job-metrics.ts';
import { runIdOf, runOptsOf, type Definition } from './definition.ts';
import { settle } from './settle.ts';
import { readState, windowOf, type ScheduleState, type ScheduleStore, type StoredState } from './store.ts';
import { createTimetable } from './timetable.ts';

/** What became of the ticks of a schedule that were due. */
export interface Settled {
  id: string;
  queue: string;
  contract: string;
  /** The ids of the jobs, in the order of their ticks; of a contract with a unique key, the job that had the key. */
  ran: string[];
  /** How many of them are late. */
  late: number;
  /** How many ticks were not run. */
  missed: number;
}

/** What a settler is made of. */
export interface SettlerOptions {
  store: ScheduleStore;
  transactions: Transactions;
  metrics: JobMetrics;
  log: Logger;
  /** Told of ticks that were settled by this process. */
  onSettled?: ((settled: Settled) => void) | undefined;
}

/** A clock that was set back by more than this has made ticks of the future look settled. */
export const REWOUND_MS = 600_000;
const WRITE = 'millraceWriteSchedule';

/** Settles the ticks of schedules. */
export class Settler {
  readonly #options: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Settles what is due of the schedule; undefined when nothing was, or another worker did it. @throws MillraceError */
  async settle(queue: string, id: string, nowMs: number): Promise<Settled | undefined> {
    const { transactions, store } = this.#options;
    const settled = await transactions.run(queue, async (transaction) => {
      const { state: key } = store.keys(queue, id);
      await transaction.watch(key);
      const state = await readState(transaction.client, key);
      if (!state) return this.#write(transaction, store.prepareRemoval(queue, id));
      if (state.isMoving) return undefined;
      return this.#settle(transaction, state, nowMs);
    });
    if (settled) this.#tell(settled);
    return settled;
  }

  async #settle(transaction: Transaction, before: StoredState, nowMs: number): Promise<Settled | undefined> {
    const { store, log } = this.#options;
    const { definition } = before;
    const { id, queue, contract, timing, missed, missedLimit } = definition;
    const isRewound = before.lastMs - nowMs > REWOUND_MS;
    if (isRewound)
      log.warn({ schedule: id, lastMs: before.lastMs, nowMs }, 'the clock was set back; the schedule goes on from now');
    const lastMs = isRewound ? nowMs : before.lastMs;
    const due = settle({ timetable: createTimetable(timing), lastMs, nowMs, missed, missedLimit });
    if (due.lastMs === before.lastMs) return undefined;
    const waiting = due.run.length === 0 ? 0 : await this.#waiting(transaction.client, definition);
    const room = Math.max(0, windowOf(definition) - waiting);
    const ticks = room === 0 ? [] : due.run.slice(-room);
    const missedNow = due.missed + due.run.length - ticks.length;
    const ran = ticks.map((tickMs) => runIdOf(id, tickMs));
    const tickMs = ticks.at(-1);
    const jobId = ran.at(-1);
    const late = Math.min(due.late, ticks.length);
    const after: ScheduleState = {
      ...before,
      lastMs: due.lastMs,
      late: before.late + late,
      missed: before.missed + missedNow,
      missedMs: missedNow > 0 ? nowMs : before.missedMs,
      lastRun: tickMs === undefined || jobId === undefined ? before.lastRun : { jobId, tickMs, atMs: nowMs },
    };
    const call = store.prepare(queue, after, before.token, ran);
    const replies = await transaction.commit(async (commands) => {
      addCall(transaction.client, commands, call);
      for (const tick of ticks) await addJob(commands, transaction.backend(queue), jobOf(definition, tick, nowMs));
    });
    if (!replies) return undefined;
    return { id, queue, contract, ran: replies.slice(1).map(String), late, missed: missedNow };
  }

  /** How many of its runs have not been taken by a worker yet. */
  async #waiting(client: Redis, definition: Definition): Promise<number> {
    const { store } = this.#options;
    const queue = store.queues.get(definition.queue);
    const runs = await client.lrange(store.keys(definition.queue, definition.id).runs, 0, windowOf(definition) - 1);
    const isWaiting = async (jobId: string): Promise<boolean> => {
      const [enqueued, taken] = await client.hmget(queue.key(jobId), 'timestamp', 'ats');
      return enqueued !== null && taken === null;
    };
    const [newest, ...others] = runs;
    // Runs are taken in their order, so the newest one mostly tells of all.
    if (newest === undefined || !(await isWaiting(newest))) return 0;
    const waiting = await Promise.all(others.map(isWaiting));
    return 1 + waiting.filter(Boolean).length;
  }

  async #write(transaction: Transaction, call: PreparedCall<boolean>): Promise<undefined> {
    await transaction.commit(async (commands) => addCall(transaction.client, commands, call));
  }

  #tell(settled: Settled): void {
    const { store, metrics, log, onSettled } = this.#options;
    const { id, queue, contract, ran, late, missed } = settled;
    store.queues.register(queue);
    const meter = metrics.forContract(queue, contract);
    for (const jobId of ran) meter.enqueued(jobId.startsWith(`${id}@`) ? 'added' : 'duplicate');
    if (missed > 0 || late > 0) log.warn({ schedule: id, queue, missed, late }, 'ticks of a schedule were missed');
    onSettled?.(settled);
  }
}

function jobOf(definition: Definition, tickMs: number, nowMs: number): Parameters<typeof addJob>[2] {
  const { id, contract, input } = definition;
  return {
    id: runIdOf(id, tickMs),
    name: contract,
    data: input,
    timestamp: nowMs,
    opts: runOptsOf(definition, tickMs),
  };
}

/** Transactions take scripts that their client knows by name. */
function addCall(client: Redis, commands: Commands, { source, argv }: PreparedCall<boolean>): void {
  if (!(WRITE in client)) client.defineCommand(WRITE, { lua: source, numberOfKeys: Number(argv[1]) });
  commands.runCommand(WRITE, argv.slice(2));
}
