/**
 * Dead letters for those who look at them and act on them.
 *
 * Promise: reading never changes anything and sees each letter that is there all the time; acting is all or nothing for each letter
 * (redriver.ts), so that two operators at once do it once. Redis down: every call fails with the reason; what a redrive or discard
 * has done by then is done.
 */
import { systemClock, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { checkOptions } from '../../schema.ts';
import type { QueueSet } from '../queue-set.ts';
import { ClusterCount, type DeadLetterCluster } from './clusters.ts';
import { checkFilter, checkTarget, fits, takesAll, type CheckedFilter, type DeadLetterFilter } from './filter.ts';
import { isLetterId, letterIdOf, LIVES_KEPT, type DeadLetter } from './letter.ts';
import { listPage, type DeadLetterPage } from './list-page.ts';
import {
  clusterOptions,
  discardOptions,
  idsOption,
  listOptions,
  redriveOptions,
  type ClusterOptions,
  type DeadLetterTarget,
  type DiscardOptions,
  type DiscardResult,
  type ListOptions,
  type RedriveOptions,
  type RedriveResult,
} from './options.ts';
import { redriveAll, BATCH, type Selected } from './redrive.ts';
import { Redriver } from './redriver.ts';
import { Shelf } from './shelf.ts';
import { Transactions, type Step } from '../transactions.ts';

/** What the dead letters are made with. */
export interface DeadLettersOptions {
  /** Those of the process, if it has some; then they stay open at close(). */
  transactions?: Transactions | undefined;
  clock?: Clock | undefined;
  /** Called for each letter that was given back, with the queue it went to. */
  onRedriven?: ((letter: DeadLetter, to: string) => void) | undefined;
  /** Called with how many letters of a queue were discarded. */
  onDiscarded?: ((queue: string, count: number) => void) | undefined;
  /** Paths of what is secret in inputs, by the name of the contract. Without it clusters() hides nothing. */
  secrets?: (() => Promise<ReadonlyMap<string, readonly string[]>>) | undefined;
  /** Called and awaited at each step of a transaction. For tests. */
  onStep?: ((step: Step) => void | Promise<void>) | undefined;
}

/** The dead letters of all queues. */
export interface DeadLetters {
  /**
   * The newest first, a page at a time. Across queues they are merged by the time of death.
   *
   * @throws MillraceError OPTIONS_INVALID, JOB_UNKNOWN for a queue that nobody ever used
   */
  list(options?: ListOptions): Promise<DeadLetterPage>;
  /** How many there are. Without more than `queue` in the filter it costs one command a queue that has some, else it reads them all. */
  count(filter?: DeadLetterFilter): Promise<number>;
  /**
   * Grouped by fingerprint, the largest group first. Reads all letters of the filter's queues. What a contract calls secret is hidden in names and
   * messages, as far as Redis knows of the contract.
   */
  clusters(options?: ClusterOptions): Promise<DeadLetterCluster[]>;
  /** The letter of that id, or the latest of the job of that id; undefined if there is none. Asks all known queues unless it is told one. */
  get(id: string, options?: { queue?: string | undefined }): Promise<DeadLetter | undefined>;
  /**
   * Gives jobs back to their queue or to another, the oldest first, with their attempts reset. A parent that still waits for one of
   * them waits for it on.
   *
   * @example
   * await deadLetters.redrive({ fingerprint }, { rate: 10, by: 'ops@example.com' });
   * @throws MillraceError OPTIONS_INVALID; JOB_UNKNOWN for an id or a queue that is not there.
   */
  redrive(target: DeadLetterTarget, options?: RedriveOptions): Promise<RedriveResult>;
  /** Removes letters for good. A parent that waits for one of them goes on without it. */
  discard(target: DeadLetterTarget, options?: DiscardOptions): Promise<DiscardResult>;
  /** Waits for transactions that are under way, and hangs up. */
  close(): Promise<void>;
}

/** The dead letters of the queues. Asks Redis nothing yet. */
export function createDeadLetters(queues: QueueSet, options: DeadLettersOptions = {}): DeadLetters {
  return new AllDeadLetters(queues, options);
}

class AllDeadLetters implements DeadLetters {
  readonly #queues: QueueSet;
  readonly #options: DeadLettersOptions;
  readonly #clock: Clock;
  readonly #shelf: Shelf;
  readonly #transactions: Transactions;
  readonly #redriver: Redriver;

  constructor(queues: QueueSet, options: DeadLettersOptions) {
    const { clock = systemClock, onStep } = options;
    this.#queues = queues;
    this.#options = options;
    this.#clock = clock;
    this.#shelf = new Shelf(queues);
    this.#transactions = options.transactions ?? new Transactions(queues, { clock, onStep });
    this.#redriver = new Redriver(queues, this.#transactions, clock);
  }

  async list(options: ListOptions = {}): Promise<DeadLetterPage> {
    const { limit, mostRead, cursor, ...filter } = checkOptions(listOptions, options, 'deadLetters.list');
    return listPage(this.#shelf, filter, { limit, mostRead, cursor });
  }

  async count(filter?: DeadLetterFilter): Promise<number> {
    const checked = checkFilter(filter, 'deadLetters.count');
    const queues = await this.#shelf.filled(checked.queue);
    if (takesAll(checked)) {
      const counts = await Promise.all(queues.map((queue) => this.#shelf.count(queue)));
      return counts.reduce((sum, count) => sum + count, 0);
    }
    let fitting = 0;
    for (const queue of queues) {
      for await (const letters of this.#letters(queue, checked)) fitting += letters.length;
    }
    return fitting;
  }

  async clusters(options: ClusterOptions = {}): Promise<DeadLetterCluster[]> {
    const { trend, signal, onProgress, ...filter } = checkOptions(clusterOptions, options, 'deadLetters.clusters');
    const nowMs = this.#clock.wallMs();
    const spans = trend && { everyMs: trend.every, count: trend.count, nowMs };
    const counted = new ClusterCount(spans, await this.#options.secrets?.());
    let read = 0;
    for (const queue of await this.#shelf.filled(filter.queue)) {
      for await (const letters of this.#letters(queue, filter)) {
        if (signal?.aborted) return counted.clusters();
        for (const letter of letters) counted.add(letter);
        read += letters.length;
        onProgress?.({ read, clusters: () => counted.clusters() });
      }
    }
    return counted.clusters();
  }

  async get(id: string, { queue }: { queue?: string | undefined } = {}): Promise<DeadLetter | undefined> {
    checkId(id, 'deadLetters.get');
    const ids = [id, ...letterIdsOf(id)].filter(isLetterId);
    for (const holder of await this.#shelf.holders(queue, ids)) {
      const found = (await this.#shelf.readAll(holder, ids)).flatMap((filed) => filed?.letter ?? []);
      const letter = found.find((one) => one.id === id) ?? found.at(-1);
      if (letter) return letter;
    }
    return undefined;
  }

  async redrive(target: DeadLetterTarget, options: RedriveOptions = {}): Promise<RedriveResult> {
    const checked = checkOptions(redriveOptions, options, 'deadLetters.redrive');
    const { to, dryRun, signal } = checked;
    const [known] = to === undefined ? [] : await this.#shelf.queuesFor(to);
    const selected = await this.#select(target, checked, 'deadLetters.redrive');
    if (known !== undefined) this.#checkReach(selected, known);
    const matched = selected.reduce((sum, { ids }) => sum + ids.length, 0);
    if (dryRun) {
      const queues = Object.fromEntries(selected.map(({ queue, ids }) => [queue, ids.length]));
      return { matched, redriven: 0, skipped: [], dryRun, aborted: signal?.aborted ?? false, queues };
    }
    return redriveAll(selected, checked, {
      shelf: this.#shelf,
      redriver: this.#redriver,
      clock: this.#clock,
      onRedriven: this.#options.onRedriven ?? (() => undefined),
    });
  }

  async discard(target: DeadLetterTarget, options: DiscardOptions = {}): Promise<DiscardResult> {
    const checked = checkOptions(discardOptions, options, 'deadLetters.discard');
    const { dryRun, signal, onProgress } = checked;
    const selected = await this.#select(target, checked, 'deadLetters.discard');
    const matched = selected.reduce((sum, { ids }) => sum + ids.length, 0);
    let discarded = 0;
    for (const { queue, ids } of dryRun ? [] : selected) {
      for (let start = 0; start < ids.length; start += BATCH) {
        if (signal?.aborted) return { matched, discarded, dryRun };
        const outcomes = await this.#redriver.discard(queue, ids.slice(start, start + BATCH));
        const count = outcomes.filter((outcome) => outcome === 'discarded').length;
        discarded += count;
        if (count > 0) this.#options.onDiscarded?.(queue, count);
        onProgress?.({ matched, discarded });
      }
    }
    return { matched, discarded, dryRun };
  }

  async close(): Promise<void> {
    if (!this.#options.transactions) await this.#transactions.close();
  }

  /** The letters that fit, a page at a time. */
  async *#letters(queue: string, filter: CheckedFilter): AsyncGenerator<DeadLetter[], void, undefined> {
    for await (const letters of this.#shelf.letters(queue)) yield letters.filter((letter) => fits(filter, letter));
  }

  /** The ids that are meant, the oldest first: all of them before the first is touched, so that acting does not disturb the walk. */
  async #select(
    target: DeadLetterTarget,
    { limit, signal }: { limit: number; signal?: AbortSignal | undefined },
    owner: string,
  ): Promise<Selected[]> {
    if (typeof target === 'string') {
      checkId(target, owner);
      const [queue] = await this.#shelf.holders(undefined, [target]);
      if (queue === undefined)
        throw new MillraceError('JOB_UNKNOWN', `there is no dead letter ${target}`, { id: target });
      return limit === 0 ? [] : [{ queue, ids: [target] }];
    }
    if (isIds(target)) return this.#selectIds(target, limit, owner);
    const filter = checkTarget(target, owner);
    const selected: Selected[] = [];
    let left = limit;
    for (const queue of await this.#shelf.filled(filter.queue)) {
      const ids: string[] = [];
      if (left > 0) {
        for await (const page of takesAll(filter) ? this.#shelf.walk(queue, 'oldest') : this.#ids(queue, filter)) {
          if (signal?.aborted) break;
          ids.push(...page.ids.slice(0, left - ids.length));
          if (ids.length >= left) break;
        }
      }
      left -= ids.length;
      if (ids.length > 0) selected.push({ queue, ids });
    }
    return selected;
  }

  async #selectIds(given: readonly string[], limit: number, owner: string): Promise<Selected[]> {
    const ids = [...new Set(checkOptions(idsOption, given, owner))].filter(isLetterId);
    const selected: Selected[] = [];
    let left = limit;
    for (const queue of await this.#shelf.filled(undefined)) {
      const filed = await this.#shelf.times(queue, ids);
      const there = ids.filter((_id, index) => filed[index] !== undefined).slice(0, left);
      left -= there.length;
      if (there.length > 0) selected.push({ queue, ids: there });
    }
    return selected;
  }

  async *#ids(queue: string, filter: CheckedFilter): AsyncGenerator<{ ids: string[] }, void, undefined> {
    for await (const letters of this.#letters(queue, filter)) yield { ids: letters.map(({ id }) => id) };
  }

  #checkReach(selected: readonly Selected[], to: string): void {
    if (this.#queues.connections.topology !== 'cluster') return;
    const prefixOf = (queue: string): string => this.#queues.keys.queuePrefix(queue);
    const far = selected.find(({ queue }) => prefixOf(queue) !== prefixOf(to));
    if (!far) return;
    const reason = `a Cluster keeps ${far.queue} and ${to} on different nodes; their names must agree up to the first dot`;
    throw new MillraceError('OPTIONS_INVALID', `deadLetters.redrive: to: ${reason}`, { queue: far.queue, to });
  }
}

/** A list that is meant to be read only is not told apart by Array.isArray. */
function isIds(target: readonly string[] | DeadLetterFilter): target is readonly string[] {
  return Array.isArray(target);
}

/** Which of its lives was the last one is not known: an earlier letter went when the job was redriven. */
function letterIdsOf(jobId: string): string[] {
  return Array.from({ length: LIVES_KEPT + 1 }, (_, life) => letterIdOf(jobId, life));
}

function checkId(id: unknown, owner: string): asserts id is string {
  if (typeof id === 'string' && id !== '') return;
  throw new MillraceError('OPTIONS_INVALID', `${owner}: id: expected the id of a dead letter`, { id });
}
