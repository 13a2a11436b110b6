/** What follows from an attempt that did not succeed. */
import { backoffMs, postponedForMs } from '../../backoff.ts';
import { describeError } from '../../describe-error.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import { fingerprintOf } from '../../fingerprint.ts';
import type { Logger } from '../../log.ts';
import type { StreamDeathReason } from '../dead-letters/letter.ts';
import type { Attempt } from './attempt.ts';
import type { Plan } from './plan.ts';

/** A process that dies with an entry is not yet its fault: only what at least so many died with can be poison. The last of them worked on it alone. */
const POISON_DEATHS = 3;

/** What is to be done with the entry. `forgotten`: nothing, because it is another's, or given back with all that a consumer has. */
export type Verdict =
  | { readonly kind: 'forgotten' }
  | { readonly kind: 'postponed'; readonly delayMs: number }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly error: unknown }
  | { readonly kind: 'dead'; readonly made: number; readonly reason: StreamDeathReason; readonly error: unknown };

/** Data that cannot be worked on, however often it is tried. */
export class Unfit {
  readonly error: MillraceError;

  constructor(error: MillraceError) {
    this.error = error;
  }
}

/** Decides on an attempt that ended with an error. */
export function verdictOn(attempt: Attempt, thrown: unknown, plan: Plan, log: Logger): Verdict {
  const { interruption, made } = attempt;
  if (interruption && interruption.kind !== 'timeout') return { kind: 'forgotten' };
  const error: unknown = interruption?.error ?? (thrown instanceof Unfit ? thrown.error : thrown);
  const dead = (reason: StreamDeathReason): Verdict => ({ kind: 'dead', made: made + 1, reason, error });
  if (thrown instanceof Unfit) return dead('input');
  const delayMs = postponedForMs(error);
  if (delayMs !== undefined) return { kind: 'postponed', delayMs };
  if (isMillraceError(error, 'JOB_UNRECOVERABLE')) return dead('unrecoverable');
  if (made + 1 >= plan.attempts) return dead('attempts');
  const wait = backoffMs(plan.backoff, made + 1, asError(error), Math.random, ({ reason, cause }) =>
    log.error({ stream: plan.contract.name, group: plan.group, err: cause }, reason),
  );
  return wait === false ? dead('attempts') : { kind: 'retry', delayMs: wait, error };
}

/** Whether the entry is not to be tried any more, because processes die of it. */
export function poisonIn({ id, made, deaths, host: { stream } }: Attempt, plan: Plan): Verdict | undefined {
  if (deaths < POISON_DEATHS || made < plan.attempts) return undefined;
  const message = `${deaths} processes died while they worked on the entry ${id} of ${stream}`;
  return {
    kind: 'dead',
    made,
    reason: 'poison',
    error: new MillraceError('JOB_UNRECOVERABLE', message, { entry: id, stream, deaths }),
  };
}

/** What is told of the entry by its dead letter, in the order of bury.lua. */
export function letterOf(
  attempt: Attempt,
  { made, reason, error }: Verdict & { kind: 'dead' },
): Array<string | number> {
  const { id, raw } = attempt;
  const described = describeError(error);
  const headers = Object.keys(raw.headers).length > 0 ? JSON.stringify(raw.headers) : '';
  const fingerprint = fingerprintOf({ ...described, contract: attempt.host.stream });
  const told = [made, reason, raw.redriven, JSON.stringify(described), fingerprint];
  return [id, raw.originId, raw.data, headers, raw.key ?? '', ...told];
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(describeError(thrown).message);
}
