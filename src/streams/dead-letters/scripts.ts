/** The scripts of a group's dead letters. */
import { defineScript } from '../../redis/script.ts';

/** Of each letter the id of its new entry, undefined of one that was gone; undefined as a whole when there is no such group. */
export type RedriveReply = ReadonlyArray<string | undefined> | undefined;

export const redriveScript = defineScript({
  file: 'streams/dead-letters/redrive.lua',
  keys: ['dead', 'entries'],
  args: ['group', '...ids'],
  reply: ([isThere, ...ids]: [0 | 1, ...string[]]): RedriveReply =>
    isThere === 0 ? undefined : ids.map((id) => (id === '' ? undefined : id)),
});

export const measureLetters = defineScript({
  file: 'streams/dead-letters/measure.lua',
  keys: ['dead'],
  args: [],
  reply: ([letters, oldestMs]: [number, number]) => ({ letters, oldestMs }),
});

export const dropOldest = defineScript({
  file: 'streams/dead-letters/drop-oldest.lua',
  keys: ['dead'],
  args: ['most', 'ageMs', 'step'],
  reply: ([age, count]: [number, number]) => ({ age, count }),
});
