/**
 * Ids of jobs: made here and not by Redis, so that an enqueue whose answer was lost can be sent again without adding a second job.
 *
 * Ten random letters and digits of the process, and a count: short, because an id stands three times in Redis, and unlike that of
 * any other process (60 bits). The first is a letter, because BullMQ takes no number for an id.
 */
import { randomBytes } from 'node:crypto';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
const ALPHABET = `${LETTERS}ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789`;

/** Gives one id after another. */
export function createJobIds(): () => string {
  const [first = 0, ...bytes] = randomBytes(10);
  const own = (LETTERS[first % LETTERS.length] ?? 'a') + bytes.map((byte) => ALPHABET[byte % ALPHABET.length]).join('');
  let count = 0;
  return () => `${own}${(count++).toString(36)}`;
}
