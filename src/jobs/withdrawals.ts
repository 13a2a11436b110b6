/**
 * Takes back jobs whose enqueue had no answer in time.
 *
 * On a connection that lives, the removal goes right behind the job, so that a server which wakes up late does both or neither. On
 * one that was lost it is sent again on the next one, until it has an answer: a server that comes back with its append-only file,
 * or reads what it was sent before, would run a job that its sender was told is not enqueued.
 */
import type { OpenQueue, QueueSet } from './queue-set.ts';

interface Withdrawal {
  readonly queue: OpenQueue;
  readonly jobId: string;
  readonly hasChildren: boolean;
  isUnderWay: boolean;
}

const TRY_EVERY_MS = 250;
/** So many are remembered over an outage; no more than these can have been sent before it was noticed, as a rule. */
const MOST = 100_000;

/** The jobs of one process that are to be taken back. */
export class Withdrawals {
  readonly #queues: QueueSet;
  readonly #open = new Set<Withdrawal>();
  #timer: NodeJS.Timeout | undefined;

  constructor(queues: QueueSet) {
    this.#queues = queues;
  }

  /** Takes the jobs back, now or as soon as Redis answers again. */
  add(queue: OpenQueue, jobIds: readonly string[], hasChildren: boolean): void {
    for (const jobId of jobIds) this.#open.add({ queue, jobId, hasChildren, isUnderWay: false });
    for (const oldest of this.#open) {
      if (this.#open.size <= MOST) break;
      this.#open.delete(oldest);
      this.#queues.log.warn(
        { queue: oldest.queue.name, jobId: oldest.jobId },
        'a late job was not withdrawn: too many',
      );
    }
    this.#tryAll();
  }

  /** Gives up those that had no answer yet. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#open.size === 0) return;
    this.#queues.log.warn({ jobs: this.#open.size }, 'late jobs were not withdrawn: closed before Redis was back');
    this.#open.clear();
  }

  #tryAll(): void {
    if (this.#open.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setInterval(() => this.#tryAll(), TRY_EVERY_MS);
    if (this.#queues.client.status !== 'ready') return;
    for (const withdrawal of this.#open) if (!withdrawal.isUnderWay) void this.#try(withdrawal);
  }

  async #try(withdrawal: Withdrawal): Promise<void> {
    const { queue, jobId, hasChildren } = withdrawal;
    withdrawal.isUnderWay = true;
    try {
      const removed = await queue.backend.remove(jobId, hasChildren);
      this.#open.delete(withdrawal);
      if (removed !== 1) this.#queues.log.warn({ queue: queue.name, jobId }, 'a late job was not withdrawn: it runs');
    } catch (error) {
      withdrawal.isUnderWay = false;
      this.#queues.log.debug({ queue: queue.name, jobId, err: error }, 'a late job is not withdrawn yet');
    }
  }
}
