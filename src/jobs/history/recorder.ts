/**
 * Writes what this process has counted of its queues to their history, every 10 s and when it stops.
 *
 *   counted --write--> under way --added--> in the history
 *                        ^  '--no answer, or Redis down--> kept --the next write--.
 *                        '--------------------------------------------------------'
 *
 * Promise: what was counted is added once, also when the answer to a write was lost: the record is sent again as it was, under the same
 * number, and what was counted meanwhile goes with the next one. What a process that is killed has not written yet is lost, 10 s at most.
 * Redis down: nothing is noticed by who counts. All of the outage goes to the minute in which Redis is back.
 */
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';
import { addRecords, type NewRecord, type RecordPlace } from './record.ts';
import type { Tallies } from './tallies.ts';

/** What a recorder is made of. */
export interface RecorderParts {
  tallies: Tallies;
  place: RecordPlace;
  clock: Clock;
  log: Logger;
}

const EVERY_MS = 10_000;

/** The recorder of one process. */
export class Recorder {
  readonly #parts: RecorderParts;
  /** Records of which it is not known whether they were added, one a queue at most. */
  readonly #kept = new Map<string, NewRecord>();
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isTold = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** Begins to write now and then. Safe to call twice. */
  start(): void {
    this.#timer ??= setInterval(() => void this.write(), EVERY_MS).unref();
  }

  /** Writes what was counted so far, after a write that is under way. Never rejects: what fails is kept for the next one. */
  write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  /** Writes what is left. Safe to call twice. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.write();
    await this.write(); // What was counted while a kept record was in the way.
  }

  async #write(): Promise<void> {
    const { tallies, place, log } = this.#parts;
    for (const queue of tallies.queues) {
      if (this.#kept.has(queue)) continue;
      const packed = tallies.of(queue).take();
      if (packed) this.#kept.set(queue, { queue, sequence: ++this.#sequence, packed });
    }
    if (this.#kept.size === 0) return;
    const { added, failure } = await addRecords(place, [...this.#kept.values()]);
    for (const { queue } of added) this.#kept.delete(queue);
    if (failure === undefined) this.#isTold = false;
    else if (!this.#isTold) {
      this.#isTold = true;
      log.warn(
        { err: failure, queues: this.#kept.size },
        'the history of jobs could not be written; kept and tried again',
      );
    }
  }
}
