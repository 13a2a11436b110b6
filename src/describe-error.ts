/**
 * What was thrown, as text: name, message, code and a stack with the chain of causes.
 *
 * Promise: describeError() never throws and its texts are bounded and well-formed, whatever a handler threw: a string,
 * nothing, a revoked proxy, an error whose getters throw or whose causes form a ring, a message of megabytes.
 */
import { describeValue, isMillraceError } from './errors.ts';

/** An error as it is kept with a job. */
export interface DescribedError {
  /** The class, such as `TypeError`; `NonError` for a thrown string, number and the like. */
  name: string;
  message: string;
  /** Such as `ECONNREFUSED`, if the error has one. */
  code?: string;
  /** Name, message and frames, then the same of each cause. Of a non-error, name and message only. */
  stack: string;
}

/** How much of an error is kept, in characters. */
export const ERROR_LIMITS = { name: 100, message: 1_024, code: 100, stack: 4_096 } as const;

/** What stands between an error's stack and that of its cause. */
export const CAUSED_BY = 'caused by: ';

const MOST_RELATED = 6;
const MARK_LENGTH = 48;

/**
 * The error as bounded text. An error that was given to unrecoverable() is described itself: that trying again is of no use is told beside it.
 *
 * @example
 * describeError('boom'); // { name: 'NonError', message: 'boom', stack: 'NonError: boom' }
 */
export function describeError(thrown: unknown): DescribedError {
  const error = meantBy(thrown);
  const { stack, ...head } = headOf(error);
  const related = relatedStacks(error);
  if (related.length === 0) return { ...head, stack: cutText(stack, ERROR_LIMITS.stack) };
  // Half for the causes, in equal shares; what they leave is for the error itself, whose frames tell the most.
  const share = Math.floor(ERROR_LIMITS.stack / 2 / related.length) - 1;
  const causes = related.map((text) => `\n${cutText(text, share)}`).join('');
  return { ...head, stack: `${cutText(stack, ERROR_LIMITS.stack - causes.length)}${causes}` };
}

/** The text as UTF-8 can carry it: a surrogate without its other half becomes U+FFFD. */
export function wellFormed(text: string): string {
  return text.replaceAll(/\p{Surrogate}/gu, '\u{FFFD}');
}

/**
 * The start of a text and how much of it was left out, in at most `max` characters; the text itself if it fits. Never
 * splits a surrogate pair.
 */
export function cutText(text: string, max: number): string {
  if (text.length <= max) return text;
  const kept = text.slice(0, max - MARK_LENGTH).replace(/[\uD800-\uDBFF]$/, '');
  return `${kept}... (${text.length - kept.length} characters left out)`;
}

function meantBy(thrown: unknown): unknown {
  if (safely(() => isMillraceError(thrown, 'JOB_UNRECOVERABLE')) !== true) return thrown;
  const cause = read(thrown, 'cause');
  // Which has its message; one of our own with a cause tells more than that.
  return isErrorLike(cause) && messageOf(cause) === messageOf(thrown) ? cause : thrown;
}

function headOf(thrown: unknown): DescribedError {
  const message = messageOf(thrown);
  const name = cutText(nameOf(thrown), ERROR_LIMITS.name);
  const code = read(thrown, 'code');
  const kept = cutText(message, ERROR_LIMITS.message);
  const head: DescribedError = { name, message: kept, stack: stackOf(thrown, name, message, kept) };
  if (typeof code !== 'string' && typeof code !== 'number') return head;
  return { ...head, code: cutText(wellFormed(String(code)), ERROR_LIMITS.code) };
}

function nameOf(thrown: unknown): string {
  if (!isErrorLike(thrown)) return 'NonError';
  const name = read(thrown, 'name');
  if (isText(name) && name !== 'Error') return wellFormed(name);
  // A class that does not set `name` still is a class of its own.
  const className = read(read(thrown, 'constructor'), 'name');
  return isText(className) && className !== 'Object' ? wellFormed(className) : 'Error';
}

function messageOf(thrown: unknown): string {
  if (typeof thrown === 'string') return wellFormed(thrown);
  const message = isErrorLike(thrown) ? read(thrown, 'message') : undefined;
  if (typeof message === 'string') return wellFormed(message);
  if (isErrorLike(thrown) && message === undefined) return '';
  const shown = safely(() => describeValue(message ?? thrown)) ?? 'a value that cannot be shown';
  return wellFormed(shown);
}

function stackOf(thrown: unknown, name: string, message: string, kept: string): string {
  const title = kept === '' ? name : `${name}: ${kept}`;
  const given = isErrorLike(thrown) ? read(thrown, 'stack') : undefined;
  if (!isText(given)) return title;
  // The engine writes `Error` for a class that does not set its name, and keeps the message of the error's birth.
  const stack = wellFormed(given).replace(/^Error(?=[:\n]|$)/, () => name);
  if (!stack.includes(message)) return `${title}\n${stack}`;
  // A long message must not push the frames out of the cap.
  return message === kept ? stack : stack.replace(message, () => kept);
}

/** The stacks of causes and of an AggregateError's errors, nearest first, each with a label. */
function relatedStacks(thrown: unknown): string[] {
  const seen = new Set([thrown]);
  const waiting = relatedTo(thrown);
  const stacks: string[] = [];
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    if (seen.has(next.error)) continue;
    if (stacks.length === MOST_RELATED) return [...stacks, '... more causes left out'];
    seen.add(next.error);
    stacks.push(`${next.label}${headOf(next.error).stack}`);
    waiting.unshift(...relatedTo(next.error));
  }
  return stacks;
}

function relatedTo(error: unknown): Array<{ label: string; error: unknown }> {
  if (!isErrorLike(error)) return [];
  const cause = read(error, 'cause');
  const list = read(error, 'errors');
  // One more than is shown, so that what is left out is told.
  const errors = safely(() => (Array.isArray(list) ? list.slice(0, MOST_RELATED + 1) : [])) ?? [];
  const parts = errors.map((part: unknown, index) => ({ label: `error ${index + 1}: `, error: part }));
  return cause === undefined ? parts : [{ label: CAUSED_BY, error: cause }, ...parts];
}

/** Errors of other realms and worker threads are no instances of our Error; what has a message or stack will do. */
function isErrorLike(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return (
    (safely(() => value instanceof Error) ?? false) ||
    typeof read(value, 'message') === 'string' ||
    typeof read(value, 'stack') === 'string'
  );
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

function read(value: unknown, property: string): unknown {
  if (value === undefined || value === null) return undefined;
  return safely(() => (value as Record<string, unknown>)[property]);
}

/** Undefined where reading throws: a getter or a proxy that fails leaves one fact out, not the whole record. */
function safely<Value>(act: () => Value): Value | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
