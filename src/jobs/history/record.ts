/**
 * Adds records to the history of queues: one round trip for all of them, and a second one in an hour's first moments.
 *
 * The minute is the server's. Which keys its hour has is taken from its last answer; the script refuses those of another hour, tells the
 * time, and is called again.
 */
import { createBatch } from '../../redis/batch.ts';
import { defineScript, type ScriptClient } from '../../redis/script.ts';
import type { ServerTime } from '../../redis/server-time.ts';
import type { JobKeys } from '../queue-names.ts';
import { hourOf, keyAt, NOTED_MS, notedKey, SCALES } from './keys.ts';

const addRecord = defineScript({
  file: 'jobs/history/record.lua',
  keys: ['minutes', 'hours', 'noted'],
  args: ['hour', 'sequence', 'added', 'minutesMs', 'hoursMs', 'notedMs'],
  reply: ([isAdded, nowMs]: [number, number]) => ({ isAdded: isAdded === 1, nowMs }),
});

/** A record that is to be added. */
export interface NewRecord {
  queue: string;
  /** Grows with each record of the process; 0 when adding it twice does no harm. */
  sequence: number;
  packed: Buffer;
}

/** Where records are added, and by whom. */
export interface RecordPlace {
  client: () => ScriptClient;
  keys: JobKeys;
  time: ServerTime;
  /** Of this process. */
  process: string;
}

/** One try more than a server needs that has just begun an hour. */
const TRIES = 3;

/** What became of records. */
export interface Adding {
  readonly added: ReadonlySet<NewRecord>;
  /** Why it is not known whether the others were added. */
  readonly failure: unknown;
}

/** Adds records. Never rejects. */
export async function addRecords(place: RecordPlace, records: readonly NewRecord[]): Promise<Adding> {
  const added = new Set<NewRecord>();
  let failure: unknown;
  let left = records;
  for (let tries = 0; left.length > 0 && tries < TRIES; tries++) {
    const refused: NewRecord[] = [];
    const batch = createBatch(place.client());
    const answers = left.map(async (record) => {
      try {
        const { isAdded, nowMs } = await batch.run(addRecord, ...callOf(place, record));
        place.time.learn(nowMs);
        if (isAdded) added.add(record);
        else refused.push(record);
      } catch (error) {
        failure = error;
      }
    });
    await batch.send();
    await Promise.all(answers);
    left = refused;
  }
  return { added, failure };
}

/** The keys and arguments of a record, all by one look at the clock. */
function callOf({ keys, time, process }: RecordPlace, { queue, sequence, packed }: NewRecord) {
  const nowMs = time.nowMs();
  return [
    {
      minutes: keyAt(keys, queue, 'minute', nowMs),
      hours: keyAt(keys, queue, 'hour', nowMs),
      noted: notedKey(keys, queue, process),
    },
    {
      hour: hourOf(nowMs),
      sequence,
      added: packed,
      minutesMs: SCALES.minute.keptMs,
      hoursMs: SCALES.hour.keptMs,
      notedMs: NOTED_MS,
    },
  ] as const;
}
