/**
 * What a browser may see of jobs, entries and dead letters: without the secrets that their contracts name.
 *
 * They are masked where the contract says in the input, and at the same paths in the result and the progress. Wherever else their values stand,
 * such as in an error or a log, they are hidden too.
 */
import {
  hideSecrets,
  maskSecrets,
  SECRET_MARK,
  type AttemptRecord,
  type DeadLetter,
  type JobInfo,
  type StreamDeadLetter,
} from 'millrace';

type Hide = ReturnType<typeof hideSecrets>;

/** The job without its secrets. */
export function shownInfo(job: JobInfo, secrets: readonly string[]): JobInfo {
  const hide = hideSecrets(job.input, secrets);
  const show = (value: unknown): unknown => hide(maskSecrets(value, secrets));
  return {
    ...job,
    input: show(job.input),
    ...('result' in job && { result: show(job.result) }),
    ...(job.progress !== undefined && { progress: show(job.progress) }),
    ...(job.reason !== undefined && { reason: hide(job.reason) }),
    history: shownAttempts(job.history, hide),
    log: hide(job.log),
  };
}

/** The letter without its secrets. */
export function shownLetter(letter: DeadLetter, secrets: readonly string[]): DeadLetter {
  const hide = hideSecrets(letter.input, secrets);
  return {
    ...letter,
    input: hide(maskSecrets(letter.input, secrets)),
    error: shownError(letter.error, hide),
    attempts: shownAttempts(letter.attempts ?? [], hide),
  };
}

/** Likewise of a list, which shows no more than the error. */
export function shownInList(letter: DeadLetter, secrets: readonly string[]): DeadLetter {
  return { ...letter, error: shownError(letter.error, hideSecrets(letter.input, secrets)) };
}

/** The letter of a stream without its secrets. */
export function shownStreamLetter(letter: StreamDeadLetter, secrets: readonly string[]): StreamDeadLetter {
  const hide = hideSecrets(letter.data, secrets);
  return {
    ...letter,
    data: hide(shownData(letter.data, secrets)),
    headers: hide(letter.headers),
    error: shownError(letter.error, hide),
  };
}

/** Data of a stream with its secrets masked. A text has no paths, as data that another tool has broken: all of it may be secret. */
export function shownData(data: unknown, secrets: readonly string[]): unknown {
  return typeof data === 'string' && secrets.length > 0 ? SECRET_MARK : maskSecrets(data, secrets);
}

function shownAttempts(attempts: readonly AttemptRecord[], hide: Hide): AttemptRecord[] {
  return attempts.map((attempt) => ({
    ...attempt,
    ...(attempt.error && { error: shownError(attempt.error, hide) }),
    log: hide(attempt.log),
  }));
}

function shownError<T extends DeadLetter['error']>(error: T, hide: Hide): T {
  const { name, message, code, stack } = error;
  return {
    ...error,
    name: hide(name),
    message: hide(message),
    stack: hide(stack),
    ...(code !== undefined && { code: hide(code) }),
  };
}
