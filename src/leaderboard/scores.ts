/** Scores, as apps give them and as Redis has them: there, less is better, so that all boards are read alike. */
import { describeValue, MillraceError } from '../errors.ts';
import type { BoardRule } from './options.ts';

/** A score that somebody submits. @throws MillraceError SCORE_INVALID */
export function checkScore(board: string, member: string, score: unknown, rule: BoardRule): asserts score is number {
  const fault = faultOf(score, rule) ?? boundFault(score as number, rule);
  if (fault !== undefined) throw invalid(board, member, score, fault);
}

/** What somebody adds to a score. @throws MillraceError SCORE_INVALID */
export function checkStep(board: string, member: string, by: unknown, rule: BoardRule): asserts by is number {
  const fault = faultOf(by, rule);
  if (fault !== undefined) throw invalid(board, member, by, fault);
}

/** A sum that was refused. @param more further facts */
export function tooLarge(
  board: string,
  { member, score }: { member: string; score: number },
  rule: BoardRule,
  more: Record<string, unknown> = {},
): MillraceError {
  const expected = `a sum of at most ${largestOf(rule)} either way, with what stands there`;
  return invalid(board, member, score, expected, more);
}

/** The largest number that a score may become by adding. */
export function largestOf({ isInteger }: BoardRule): number {
  return isInteger ? Number.MAX_SAFE_INTEGER : Number.MAX_VALUE;
}

/** As Redis has it. JavaScript writes the shortest text that means the same double, and -0 as 0. */
export function toStored(score: number, { order }: BoardRule): string {
  return String(order === 'highest' ? -score : score);
}

/** As apps know it; never -0. A sum of buckets may be Infinity, which Redis writes as inf. */
export function fromStored(text: string, order: BoardRule['order']): number {
  let score = Number(text);
  if (Number.isNaN(score)) score = text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return order === 'highest' ? 0 - score : 0 + score;
}

/** The scores from one to another, as a range of Redis: the better one first. */
export function toRange(min: number, max: number, { order }: BoardRule): { first: string; last: string } {
  const [first, last] = order === 'highest' ? [-max, -min] : [min, max];
  return { first: boundOf(first), last: boundOf(last) };
}

function boundOf(score: number): string {
  if (Number.isFinite(score)) return String(score);
  return score > 0 ? '+inf' : '-inf';
}

function faultOf(score: unknown, { isInteger }: BoardRule): string | undefined {
  if (typeof score !== 'number' || !Number.isFinite(score)) return 'a finite number';
  if (isInteger && !Number.isSafeInteger(score)) return 'a whole number that a double holds exactly';
  return undefined;
}

function boundFault(score: number, { min, max }: BoardRule): string | undefined {
  return score >= min && score <= max ? undefined : `a number from ${min} to ${max}`;
}

function invalid(
  board: string,
  member: string,
  score: unknown,
  expected: string,
  more: Record<string, unknown> = {},
): MillraceError {
  const message = `board ${board}: the score of ${describeValue(member)}: expected ${expected}, got ${describeValue(score)}`;
  return new MillraceError('SCORE_INVALID', message, { board, member, score, ...more });
}
