/**
 * The keys of the history of a queue. They share the queue's tag, and all expire.
 *
 *   history:QUEUE:minutes:HOUR    HASH    the minutes of an hour         kept for 2 days after its last write
 *   history:QUEUE:hours:DAY       HASH    the hours of a day             kept for 35 days after its last write
 *   history:QUEUE:noted:PROCESS   STRING  the last record of a process   kept for a day after its last write
 *
 * Redis keeps a small hash of short values in one piece of memory, at half of the cost of another: so there is a key an hour, and a record is
 * cut into pieces of 64 bytes. The first piece of minute 7 is in field 7, the next one in 67, and so on; of hours, in 7 and 31.
 */
import type { JobKeys } from '../queue-names.ts';

/** What a point of a series is of. */
export type Step = 'minute' | 'hour';

interface Scale {
  /** How long a point is. */
  readonly stepMs: number;
  /** Of how much time the points are in one key. */
  readonly keyMs: number;
  readonly keptMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** How points are kept. */
export const SCALES: Readonly<Record<Step, Scale>> = {
  minute: { stepMs: 60_000, keyMs: HOUR_MS, keptMs: 2 * DAY_MS },
  hour: { stepMs: HOUR_MS, keyMs: DAY_MS, keptMs: 35 * DAY_MS },
};

/** How long it is known what a process has written: an answer that was lost is found out within it. */
export const NOTED_MS = DAY_MS;

/** Puts the pieces of records together. @returns them by the place of their minute or hour in the key */
export function joinPieces(fields: readonly Buffer[], step: Step): Map<number, Buffer> {
  const { keyMs, stepMs } = SCALES[step];
  const places = keyMs / stepMs;
  const records = new Map<number, Buffer[]>();
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const field = Number(fields[index]);
    const pieces = records.get(field % places) ?? [];
    pieces[Math.floor(field / places)] = fields[index + 1] as Buffer;
    records.set(field % places, pieces);
  }
  return new Map([...records].map(([place, pieces]) => [place, Buffer.concat(Object.values(pieces))]));
}

/** The hour since 1970. */
export function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS);
}

/** The key in which the points of a time are. */
export function keyAt(keys: JobKeys, queue: string, step: Step, ms: number): string {
  return keys.ledger(queue, 'history', queue, `${step}s`, String(Math.floor(ms / SCALES[step].keyMs)));
}

/** The key of what a process has written. */
export function notedKey(keys: JobKeys, queue: string, process: string): string {
  return keys.ledger(queue, 'history', queue, 'noted', process);
}
