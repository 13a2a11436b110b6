/**
 * Moves jobs that failed for good from `<queue>`'s `failed` to `<queue>.dead`.
 *
 * Promise: the letter is added and the job removed in one transaction, which comes to nothing if anybody touches the job between the
 * look and the write. So there is the job or its letter, never both and never none, whenever a process dies. What could not be moved
 * stays in `failed`, where the reconciler finds it.
 *
 * A child that its parent still waits for (no policy for failed children) hands its place over: the letter becomes the child that
 * the parent waits for, before the job is removed. Removing the job alone would set the parent free.
 *
 * The results of effects that the job has had (once.ts) are kept for as long as its letter may be, in the same transaction; an order to
 * cancel it is dropped there, since it is for the life that has ended.
 */
import type { JobJson, RedisQueueBackend } from 'bullmq';
import { isMillraceError, MillraceError } from '../../errors.ts';
import { deadQueueOf } from '../queue-names.ts';
import type { QueueSet } from '../queue-set.ts';
import { childrenOf } from './children.ts';
import { letterIdOf, letterOf, redrivenOf, wasCancelled, type DeadLetter, type RedrivenOptions } from './letter.ts';
import { addJob, removeJob, waitingParentOf, type Parent } from '../job-commands.ts';
import { addScript, type Transaction, type Transactions } from '../transactions.ts';
import { EFFECT_TTL_MS, passOnEffects } from '../worker/once.ts';

/**
 * What became of a job that failed for good: `gone`, it is not in `failed` any more, because somebody else moved it or tried it again;
 * `left`, it could not be moved and waits for the reconciler; `cancelled`, it is no dead letter and was left alone.
 */
export type MoveOutcome = 'moved' | 'gone' | 'cancelled' | 'left';

/** What a mover is made of. */
export interface MoverOptions {
  queues: QueueSet;
  transactions: Transactions;
  /** How long letters are kept. Default 30 days. */
  lettersAgeMs?: number | undefined;
  /** Called for each letter that this process has written. */
  onMoved?: ((letter: DeadLetter) => void) | undefined;
}

const BATCH = 50;
/** Of what is read of the jobs of one transaction; a larger one would hold up the server. */
const BATCH_CHARS = 4_000_000;
const TRIES = 5;
/** Effects outlive their letter so long: it is dropped a while after its age is over, and may be given back until then. */
const MARGIN_MS = 7 * 86_400_000;
/** More that wait to be moved are left to the reconciler at once. */
const MOST_WAITING = 10_000;

interface Waiting {
  outcome: Promise<MoveOutcome>;
  settle: (outcome: MoveOutcome) => void;
}

function newWaiting(): Waiting {
  let settle: Waiting['settle'] | undefined;
  const outcome = new Promise<MoveOutcome>((resolve) => (settle = resolve));
  return { outcome, settle: (settled) => settle?.(settled) };
}

/** Moves the jobs of one process. */
export class Mover {
  readonly #queues: QueueSet;
  readonly #transactions: Transactions;
  readonly #effectsKeptMs: number;
  readonly #onMoved: (letter: DeadLetter) => void;
  readonly #waiting = new Map<string, Map<string, Waiting>>();
  #count = 0;
  /** By queue: one whose server is away must not hold up the others. */
  readonly #pumping = new Map<string, Promise<void>>();

  constructor({ queues, transactions, lettersAgeMs = EFFECT_TTL_MS, onMoved = () => undefined }: MoverOptions) {
    this.#queues = queues;
    this.#transactions = transactions;
    this.#effectsKeptMs = lettersAgeMs + MARGIN_MS;
    this.#onMoved = onMoved;
  }

  /** Moves a job that BullMQ has put into `failed`. Never rejects: what fails is logged, and left to the reconciler. */
  moved(queue: string, jobId: string): Promise<MoveOutcome> {
    const ofQueue = this.#waiting.get(queue) ?? new Map<string, Waiting>();
    const known = ofQueue.get(jobId);
    if (known) return known.outcome;
    if (this.#count >= MOST_WAITING) return Promise.resolve('left');
    const waiting = newWaiting();
    ofQueue.set(jobId, waiting);
    this.#waiting.set(queue, ofQueue);
    this.#count++;
    if (!this.#pumping.has(queue)) this.#pumping.set(queue, this.#pump(queue));
    return waiting.outcome;
  }

  /** Resolves when all that was asked for so far has been moved or left. */
  async idle(): Promise<void> {
    await Promise.all(this.#pumping.values());
  }

  async #pump(queue: string): Promise<void> {
    await Promise.resolve(); // Those that are asked for in one breath go together.
    for (;;) {
      const ofQueue = this.#waiting.get(queue);
      if (!ofQueue) {
        this.#pumping.delete(queue); // At once, so that what is asked for next begins anew.
        return;
      }
      const ids = [...ofQueue.keys()].slice(0, BATCH);
      const outcomes = await this.#move(queue, ids);
      for (const [id, outcome] of outcomes) {
        ofQueue.get(id)?.settle(outcome);
        if (ofQueue.delete(id)) this.#count--;
      }
      if (ofQueue.size === 0) this.#waiting.delete(queue);
    }
  }

  /** The outcome of at least one of the jobs. */
  async #move(queue: string, ids: readonly string[]): Promise<Map<string, MoveOutcome>> {
    try {
      const outcomes = ids.length > 1 ? await this.#attempt(queue, ids) : undefined;
      if (outcomes) return outcomes;
    } catch (error) {
      if (!isMillraceError(error, 'REDIS_FAILED')) {
        this.#tell(queue, ids, error);
        return new Map(ids.map((id) => [id, 'left']));
      }
    }
    // One that somebody keeps touching, or that cannot be read, must not hold up the others.
    const single = new Map<string, MoveOutcome>();
    for (const id of ids) single.set(id, await this.#moveOne(queue, id));
    return single;
  }

  async #moveOne(queue: string, id: string): Promise<MoveOutcome> {
    try {
      for (let tried = 0; tried < TRIES; tried++) {
        const outcome = (await this.#attempt(queue, [id]))?.get(id);
        if (outcome) return outcome;
      }
    } catch (error) {
      this.#tell(queue, [id], error);
    }
    return 'left';
  }

  #tell(queue: string, ids: readonly string[], error: unknown): void {
    const jobs = { queue, jobIds: ids.slice(0, 5), jobs: ids.length };
    this.#queues.log.warn({ ...jobs, err: error }, 'failed jobs not moved to the dead letters yet');
  }

  /** Undefined when one of the jobs was touched meanwhile: nothing has happened then. */
  async #attempt(queue: string, ids: readonly string[]): Promise<Map<string, MoveOutcome> | undefined> {
    let moves: Move[] = [];
    this.#queues.register(queue);
    const outcomes = await this.#transactions.run(queue, async (transaction) => {
      const tried = transaction.isRepeated ? moves : [];
      const found = await look(transaction, queue, ids);
      moves = [...found.moves];
      for (const move of tried) {
        if (found.outcomes.get(move.letter.jobId) !== 'gone') continue;
        if ((await transaction.client.exists(found.dead.toKey(move.letter.id))) === 0) continue;
        found.outcomes.set(move.letter.jobId, 'moved'); // By the try whose answer was lost.
        moves.push(move);
      }
      if (found.moves.length === 0) return found.outcomes;
      const replies = await transaction.commit(async (commands) => {
        for (const { letter, parent } of found.moves) {
          await addJob(commands, found.dead, {
            id: letter.id,
            name: letter.contract,
            data: JSON.stringify(letter),
            timestamp: letter.diedAt,
            opts: { lifo: true }, // Behind the older ones; see shelf.ts.
            parent,
          });
          removeJob(commands, found.origin, letter.jobId);
        }
        for (const { letter } of found.moves) {
          const call = passOnEffects(this.#queues.keys, queue, letter.jobId, this.#effectsKeptMs);
          addScript(transaction.client, commands, call);
        }
      });
      if (!replies) return undefined;
      check(found.moves, replies);
      for (const { letter } of found.moves) found.outcomes.set(letter.jobId, 'moved');
      return found.outcomes;
    });
    if (outcomes) for (const { letter } of moves) this.#onMoved(letter);
    return outcomes;
  }
}

interface Move {
  letter: DeadLetter;
  parent: Parent | undefined;
}

interface Found {
  origin: RedisQueueBackend;
  dead: RedisQueueBackend;
  moves: Move[];
  /** Of those that need no move; those that do not fit into the batch have none yet. */
  outcomes: Map<string, MoveOutcome>;
}

async function look(transaction: Transaction, queue: string, ids: readonly string[]): Promise<Found> {
  const origin = transaction.backend(queue);
  const dead = transaction.backend(deadQueueOf(queue));
  const found: Found = { origin, dead, moves: [], outcomes: new Map() };
  await transaction.watch(...ids.flatMap((id) => [origin.toKey(id), origin.toKey(`${id}:lock`)]));
  const states = await Promise.all(ids.map((id) => read(transaction, origin, id)));
  const failed: Array<{ id: string; job: JobJson }> = [];
  let chars = 0;
  for (const [index, id] of ids.entries()) {
    const state = states[index] ?? 'gone';
    if (typeof state === 'string') {
      found.outcomes.set(id, state);
      continue;
    }
    const { children = '' }: RedrivenOptions = state.opts;
    chars += state.data.length + (state.stacktrace?.length ?? 0) + children.length;
    if (chars > BATCH_CHARS && failed.length > 0) break;
    failed.push({ id, job: state });
  }
  const letterIds = failed.map(({ id, job }) => letterIdOf(id, redrivenOf(job)));
  await transaction.watch(...letterIds.map((id) => dead.toKey(id)));
  const taken = await Promise.all(letterIds.map((id) => transaction.client.exists(dead.toKey(id))));
  for (const [index, { id, job }] of failed.entries()) {
    const free = taken[index] === 0 ? letterIds[index] : undefined;
    const letterId = free ?? (await nextLetterId(transaction, dead, id, redrivenOf(job)));
    const parent = await waitingParentOf(transaction, job, origin.toKey(id));
    const { kids }: RedrivenOptions = job.opts;
    const children = kids ? await childrenOf(transaction.client, origin.toKey(id)) : undefined;
    if (children) chars += JSON.stringify(children).length;
    if (chars > BATCH_CHARS && found.moves.length > 0) break;
    found.moves.push({ letter: letterOf(job, queue, id, letterId, children), parent });
  }
  return found;
}

async function read(
  { client }: Transaction,
  origin: RedisQueueBackend,
  id: string,
): Promise<JobJson | Exclude<MoveOutcome, 'moved'>> {
  const [score, isLocked, job] = await Promise.all([
    client.zscore(origin.toKey('failed'), id),
    client.exists(origin.toKey(`${id}:lock`)),
    origin.getJobData(id),
  ]);
  if (score === null || !job) return 'gone';
  if (wasCancelled(job)) return 'cancelled';
  if (isLocked === 1) return 'left';
  if (job.repeatJobKey === undefined) return job;
  // BullMQ does not remove the job that stands for a schedule's next run.
  const nextAt = await client.zscore(origin.toKey('repeat'), job.repeatJobKey);
  return nextAt !== null && id === `repeat:${job.repeatJobKey}:${nextAt}` ? 'left' : job;
}

/** Ids that users choose may come again after their death; no letter takes the place of another. */
async function nextLetterId(
  transaction: Transaction,
  dead: RedisQueueBackend,
  jobId: string,
  redriven: number,
): Promise<string> {
  for (let count = redriven + 1; ; count++) {
    const key = dead.toKey(letterIdOf(jobId, count));
    await transaction.watch(key);
    if ((await transaction.client.exists(key)) === 0) return letterIdOf(jobId, count);
  }
}

function check(moves: readonly Move[], replies: readonly unknown[]): void {
  for (const [index, { letter }] of moves.entries()) {
    const [added, removed] = replies.slice(index * 2);
    if (added === letter.id && Number(removed) === 1) continue;
    const facts = { queue: letter.queue, jobId: letter.jobId, added, removed };
    throw new MillraceError('REDIS_FAILED', `${letter.queue}: job ${letter.jobId} was moved by halves`, facts);
  }
}
