/**
 * What contracts call secret is not printed unless it is asked for: masked in inputs, and at the same paths in results and progress; wherever
 * else the values stand, such as in an error or a log, they are hidden too.
 */
import {
  contractSecrets,
  hideSecrets,
  maskSecrets,
  type AttemptRecord,
  type ChildResults,
  type DeadLetter,
  type JobInfo,
  type Platform,
} from '../index.ts';
import type { Flag, Words } from './command.ts';

type Hide = ReturnType<typeof hideSecrets>;

/** The flag that asks for it. */
export const SECRETS_FLAG: Readonly<Record<string, Flag>> = { secrets: 'Prints what contracts call secret, too.' };

/** How jobs and dead letters are printed. */
export interface Shown {
  job(job: JobInfo): JobInfo;
  letter(letter: DeadLetter): DeadLetter;
}

/** How inputs are printed that are asked for by the way: masked. */
export async function contractMask(platform: Platform): Promise<(contract: string, input: unknown) => unknown> {
  const secrets = await contractSecrets(platform);
  return (contract, input) => maskSecrets(input, secrets.get(contract) ?? []);
}

/** As they are with `--secrets`, else without what workers and apps have told to be secret. */
export async function shownBy(platform: Platform, flags: Words['flags']): Promise<Shown> {
  if (flags['secrets'] === true) return { job: (job) => job, letter: (letter) => letter };
  const secrets = await contractSecrets(platform);
  return {
    job: (job) => shownJob(job, secrets.get(job.name) ?? []),
    letter: (letter) => {
      const shown = shownLetter(letter, secrets.get(letter.contract) ?? []);
      return secrets.size > 0 && shown.children ? { ...shown, children: withoutTold(shown.children) } : shown;
    },
  };
}

function shownJob(job: JobInfo, secrets: readonly string[]): JobInfo {
  const hide = hideSecrets(job.input, secrets);
  const show = (value: unknown): unknown => hide(maskSecrets(value, secrets));
  return {
    ...job,
    input: show(job.input),
    ...('result' in job && { result: show(job.result) }),
    ...('progress' in job && { progress: show(job.progress) }),
    ...(job.reason !== undefined && { reason: hide(job.reason) }),
    history: shownAttempts(job.history, hide),
    log: hide(job.log),
  };
}

function shownLetter(letter: DeadLetter, secrets: readonly string[]): DeadLetter {
  const hide = hideSecrets(letter.input, secrets);
  return {
    ...letter,
    input: hide(maskSecrets(letter.input, secrets)),
    error: hide(letter.error),
    attempts: shownAttempts(letter.attempts, hide),
  };
}

/** Which children there were. Of which contracts is not known, so all that they told may be secret. */
function withoutTold(children: ChildResults): ChildResults {
  return maskSecrets(children, ['results.*', 'failures.*']) as ChildResults;
}

function shownAttempts(attempts: readonly AttemptRecord[], hide: Hide): AttemptRecord[] {
  return attempts.map((attempt) => ({
    ...attempt,
    ...(attempt.error && { error: hide(attempt.error) }),
    log: hide(attempt.log),
  }));
}
