/** Why a job is not run, or not run again: what is found before its handler is called, and what its handler says. */
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { Job } from 'bullmq';
import type { DeathReason } from '../attempt-record.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { Handler } from '../handler.ts';
import { parseWith } from '../../payload.ts';
import { waitedMs } from './attempt.ts';

/** A job that trying again would not help, with the reason that its dead letter tells. */
export class Refusal {
  readonly reason: DeathReason;
  readonly error: MillraceError;

  constructor(reason: DeathReason, error: MillraceError) {
    this.reason = reason;
    this.error = error;
  }
}

/** The reason why a job that ended so is not tried again; undefined for one that may be. */
export function refusalOf(thrown: unknown): DeathReason | undefined {
  if (thrown instanceof Refusal) return thrown.reason;
  // BullMQ's own class is known by its name, because the app may have another copy of BullMQ.
  const isBullMq = thrown instanceof Error && thrown.name === 'UnrecoverableError';
  return isBullMq || isMillraceError(thrown, 'JOB_UNRECOVERABLE') ? 'unrecoverable' : undefined;
}

/**
 * The time of the enqueue is by the clock of whoever enqueued, that of the start by this machine's: what they differ by is added to the wait,
 * or taken from it.
 *
 * @throws Refusal for a job that was not started in time. One that may have been rescheduled, or waited for children, never is: when it was due
 *   is not known.
 */
export function checkExpiry({ contract }: Handler, job: Job, startedAt: number): void {
  const { exp, kids, deduplication }: StoredOptions = job.opts;
  const expiresInMs = exp ?? contract.expiresInMs;
  if (expiresInMs === undefined || kids || deduplication?.reschedule) return;
  const waited = waitedMs(job, startedAt);
  if (waited <= expiresInMs) return;
  const message = `${contract.name} ${job.id} waited ${waited} ms, it expires after ${expiresInMs} ms`;
  throw new Refusal(
    'expired',
    new MillraceError('JOB_EXPIRED', message, { jobId: job.id, waitedMs: waited, expiresInMs }),
  );
}

/** @throws Refusal for a job that was running too often when its worker died. */
export function checkPoison(job: Job, poisonAfter: number): void {
  if (job.stalledCounter <= poisonAfter) return;
  const message = `${job.name} ${job.id} was running when its worker died or stalled, ${job.stalledCounter} times`;
  throw new Refusal(
    'poison',
    new MillraceError('JOB_UNRECOVERABLE', message, { jobId: job.id, stalls: job.stalledCounter, poisonAfter }),
  );
}

/** How the versions of a job and of its handler differ, for people. */
export function versionsOf({ contract }: Handler, job: Job, version: number): string {
  return `${contract.name} ${job.id} has version ${version} of its contract, the handler has ${contract.version}`;
}

/** The input of another version as this version has it. @throws Refusal when there is no upgrade, or it fails. */
export async function upgradeInput(handler: Handler, job: Job, version: number): Promise<unknown> {
  const what = versionsOf(handler, job, version);
  const facts = { jobId: job.id, version, expected: handler.contract.version };
  if (!handler.upgrade)
    throw new Refusal('version', new MillraceError('JOB_VERSION_UNSUPPORTED', `${what} and no upgrade()`, facts));
  try {
    return await handler.upgrade(job.data, version);
  } catch (cause) {
    const message = `${what}, and upgrade() failed`;
    throw new Refusal('version', new MillraceError('JOB_VERSION_UNSUPPORTED', message, { ...facts, cause }));
  }
}

/** The input as the handler gets it; a promise only where the schema answers with one. @throws Refusal for a bad one. */
export function parseInput({ contract }: Handler, data: unknown): unknown {
  try {
    const parsed: unknown = parseWith(contract.input, data, `the input of ${contract.name}`);
    return parsed instanceof Promise ? parsed.catch(refuseInput) : parsed;
  } catch (error) {
    return refuseInput(error);
  }
}

function refuseInput(error: unknown): never {
  throw isMillraceError(error, 'INPUT_INVALID') ? new Refusal('input', error) : error;
}

/** @throws MillraceError INPUT_INVALID for a result that the contract does not allow, or that has no JSON form. */
export async function checkResult({ contract }: Handler, result: unknown): Promise<void> {
  if (contract.output) await parseWith(contract.output, result, `the result of ${contract.name}`);
  if ((typeof result !== 'object' || result === null) && typeof result !== 'bigint') return;
  try {
    JSON.stringify(result);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    throw new MillraceError('INPUT_INVALID', `the result of ${contract.name} has no JSON form: ${reason}`, {
      faults: [{ path: '', reason }],
      cause,
    });
  }
}
