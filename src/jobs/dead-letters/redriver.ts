/**
 * Gives dead jobs back to a queue, and takes letters away.
 *
 * Promise: the job is added and its letter removed in one transaction, and only if the letter is there and no job has its id. So two
 * who redrive the same letter give back one job, and a process that dies leaves the letter or the job, never both and never none. The
 * results of effects that the job has had (once.ts) go with it in the same transaction, also to another queue.
 */
import type { RedisQueueBackend } from 'bullmq';
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { deadQueueOf } from '../queue-names.ts';
import type { QueueSet } from '../queue-set.ts';
import { addJob, removeJob, waitingParentOf, type Parent } from '../job-commands.ts';
import { nextLife, type DeadLetter, type Redriving } from './letter.ts';
import type { Filed } from './shelf.ts';
import { addScript, type Transaction, type Transactions } from '../transactions.ts';
import { passOnEffects } from '../worker/once.ts';

/**
 * Why a letter was left where it is. `gone`: somebody else took it. `exists`: the queue has a job with that id. `duplicate`: another
 * job has its unique or idempotency key by now. `input`: the edited input does not match the schema, or edit() has thrown. `contract`:
 * it is of another contract than the one that was given. `busy`: somebody kept changing it.
 */
export type SkipReason = 'gone' | 'exists' | 'duplicate' | 'input' | 'contract' | 'busy';

/** A letter, ready to be given back. */
export interface Revival {
  letter: DeadLetter;
  /** The input as JSON. */
  data: string;
  /** The letter as it was read; the letter is left alone if it is another one now. */
  stored: string;
  /** In the place of the letter's. */
  version?: number | undefined;
}

/** Writes for those who redrive and discard. */
export class Redriver {
  readonly #queues: QueueSet;
  readonly #transactions: Transactions;
  readonly #clock: Clock;

  constructor(queues: QueueSet, transactions: Transactions, clock: Clock) {
    this.#queues = queues;
    this.#transactions = transactions;
    this.#clock = clock;
  }

  /** Gives the jobs to the queue `to`, in order; what became of each. All letters are of one queue. */
  async redrive(
    from: string,
    to: string,
    revivals: readonly Revival[],
    by: string | undefined,
  ): Promise<Array<'redriven' | SkipReason>> {
    this.#queues.register(to);
    return settle(revivals, (some) => this.#redrive(from, to, some, by));
  }

  /** Removes the letters; what became of each. A parent that waits for one of them goes on without it. */
  async discard(queue: string, ids: readonly string[]): Promise<Array<'discarded' | 'gone' | 'busy'>> {
    return settle(ids, (some) => this.#discard(queue, some));
  }

  async #redrive(
    from: string,
    to: string,
    revivals: readonly Revival[],
    by: string | undefined,
  ): Promise<Array<'redriven' | SkipReason> | undefined> {
    const tried = new Set<Revival>();
    const { keys } = this.#queues;
    return this.#transactions.run(from, async (transaction) => {
      const dead = transaction.backend(deadQueueOf(from));
      const target = transaction.backend(to);
      const elsewhere = (jobId: string): string | undefined => (to === from ? undefined : keys.once(from, jobId));
      const looks = await look(transaction, dead, target, elsewhere, revivals);
      const redrivenAt = this.#clock.wallMs();
      const ready = looks.flatMap((seen, index) => {
        const revival = revivals[index];
        return typeof seen === 'string' || !revival ? [] : [{ revival, ...seen }];
      });
      const outcomes = looks.map((seen, index): 'redriven' | SkipReason => {
        const revival = revivals[index];
        if (typeof seen !== 'string') return 'redriven';
        if (seen !== 'gone-and-there') return seen;
        return revival && tried.has(revival) ? 'redriven' : 'gone'; // By the try whose answer was lost.
      });
      if (ready.length === 0) return outcomes;
      for (const { revival } of ready) tried.add(revival);
      const replies = await transaction.commit(async (commands) => {
        for (const { revival, parent } of ready) {
          const { letter, data, version } = revival;
          await addJob(commands, target, {
            id: letter.jobId,
            name: letter.contract,
            data,
            timestamp: redrivenAt,
            opts: nextLife(letter, redrivingOf(letter, redrivenAt, by, to), version),
            parent,
          });
          removeJob(commands, dead, letter.id);
        }
        for (const { revival, hasEffectsElsewhere } of ready) {
          const { jobId } = revival.letter;
          if (hasEffectsElsewhere) commands.renameKey(keys.once(from, jobId), keys.once(to, jobId));
          addScript(transaction.client, commands, passOnEffects(keys, to, jobId));
        }
      });
      if (!replies) {
        for (const { revival } of ready) tried.delete(revival);
        return undefined;
      }
      check(ready, replies);
      return outcomes;
    });
  }

  async #discard(queue: string, ids: readonly string[]): Promise<Array<'discarded' | 'gone'> | undefined> {
    const tried = new Set<string>();
    return this.#transactions.run(queue, async (transaction) => {
      const dead = transaction.backend(deadQueueOf(queue));
      await transaction.watch(...ids.map((id) => dead.toKey(id)));
      const found = await Promise.all(ids.map((id) => transaction.client.exists(dead.toKey(id))));
      const present = ids.filter((_id, index) => found[index] === 1);
      const outcomes = ids.map((id, index) => (found[index] === 1 || tried.has(id) ? 'discarded' : 'gone'));
      if (present.length === 0) return outcomes;
      for (const id of present) tried.add(id);
      const replies = await transaction.commit(async (commands) => {
        for (const id of present) removeJob(commands, dead, id);
      });
      if (replies) return outcomes;
      for (const id of present) tried.delete(id);
      return undefined;
    });
  }
}

/** `gone-and-there`: the letter is gone, and its job is in the queue. */
type Look = SkipReason | 'gone-and-there' | { parent: Parent | undefined; hasEffectsElsewhere: boolean };

async function look(
  transaction: Transaction,
  dead: RedisQueueBackend,
  target: RedisQueueBackend,
  /** Where the effects of a job are that goes to another queue. */
  elsewhere: (jobId: string) => string | undefined,
  revivals: readonly Revival[],
): Promise<Look[]> {
  const { client } = transaction;
  const keyOf = ({ letter }: Revival): string | undefined => {
    const id = letter.options.deduplication?.id;
    return id === undefined ? undefined : target.toKey(`de:${id}`);
  };
  await transaction.watch(
    ...revivals.flatMap((revival) => {
      const { id, jobId } = revival.letter;
      return [dead.toKey(id), target.toKey(jobId), keyOf(revival) ?? [], elsewhere(jobId) ?? []].flat();
    }),
  );
  // Of two letters of one job or one unique key, the first takes the place within the transaction too.
  const taken = new Set<string>();
  const looks: Look[] = [];
  const reads = await Promise.all(
    revivals.map(async (revival) => {
      const key = keyOf(revival);
      const effects = elsewhere(revival.letter.jobId);
      return Promise.all([
        dead.getJobData(revival.letter.id),
        client.exists(target.toKey(revival.letter.jobId)),
        key === undefined ? null : client.exists(key),
        effects === undefined ? 0 : client.exists(effects),
      ]);
    }),
  );
  for (const [index, revival] of revivals.entries()) {
    const [job, exists, isDuplicate, effects] = reads[index] ?? [undefined, 0, null, 0];
    const places = [target.toKey(revival.letter.jobId), keyOf(revival) ?? []].flat();
    const [place, key] = places.map((one) => taken.has(one));
    if (!job) looks.push(exists === 1 ? 'gone-and-there' : 'gone');
    else if (job.data !== revival.stored) looks.push('busy');
    else if (exists === 1 || place === true) looks.push('exists');
    else if (isDuplicate === 1 || key === true) looks.push('duplicate');
    else {
      for (const one of places) taken.add(one);
      const parent = await waitingParentOf(transaction, job, dead.toKey(revival.letter.id));
      looks.push({ parent, hasEffectsElsewhere: effects === 1 });
    }
  }
  return looks;
}

function redrivingOf(letter: DeadLetter, redrivenAt: number, by: string | undefined, to: string): Redriving {
  return {
    deadAt: letter.diedAt,
    redrivenAt,
    ...(by !== undefined && { by }),
    ...(to !== letter.queue && { queue: letter.queue }),
  };
}

function check(ready: ReadonlyArray<{ revival: Revival }>, replies: readonly unknown[]): void {
  for (const [index, { revival }] of ready.entries()) {
    const { letter } = revival;
    const [added, removed] = replies.slice(index * 2);
    if (added === letter.jobId && Number(removed) === 1) continue;
    const facts = { queue: letter.queue, id: letter.id, added, removed };
    throw new MillraceError('REDIS_FAILED', `${letter.queue}: dead letter ${letter.id} was redriven by halves`, facts);
  }
}

const TRIES = 5;

/** All at once; where one of them was touched meanwhile, one by one, so that it does not hold up the others. */
async function settle<Item, Outcome>(
  items: readonly Item[],
  act: (items: readonly Item[]) => Promise<readonly Outcome[] | undefined>,
): Promise<Array<Outcome | 'busy'>> {
  if (items.length === 0) return [];
  const together = await act(items);
  if (together) return [...together];
  const outcomes: Array<Outcome | 'busy'> = [];
  for (const item of items) {
    let outcome: Outcome | undefined;
    for (let tried = 0; tried < TRIES && outcome === undefined; tried++) [outcome] = (await act([item])) ?? [];
    outcomes.push(outcome ?? 'busy');
  }
  return outcomes;
}

/** The letter as it is given back, if nobody edits it. */
export function revivalOf({ letter, data }: Filed): Revival {
  return { letter, data: JSON.stringify(letter.input) ?? 'null', stored: data };
}
