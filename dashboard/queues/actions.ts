/**
 * What is done in another way than Bull Board would do it: dead letters are given back and discarded by the dead letters of the platform, and
 * some acts on jobs are bounded to what Millrace can answer for.
 */
import type { BullBoardQueues, ControllerHandlerReturnType } from '@bull-board/api/typings/app';
import { isMillraceError, type Platform } from 'millrace';
import { DeadLetterAdapter } from './dead-letter-adapter.ts';
import { QueueAdapter } from './queue-adapter.ts';

/** A request that changes something. */
export interface Act {
  readonly platform: Platform;
  readonly queues: BullBoardQueues;
  readonly params: Readonly<Record<string, string>>;
  /** Who asks. */
  readonly user: string;
}

/** An answer, and how many it has touched. */
export interface Acted extends ControllerHandlerReturnType {
  readonly count?: number;
}

/** Bull Board leaves alone what ended so shortly before. */
const GRACE_MS = 5_000;
const WHY_LEFT: Readonly<Record<string, string>> = {
  gone: 'It is gone: somebody else has acted on it.',
  exists: 'Its queue has a job with the same id.',
  duplicate: 'Another job has its unique key by now.',
  busy: 'Somebody else is at it. Try again.',
};

/** Undefined where Bull Board's own way is the right one. */
export async function actInstead(route: string, act: Act): Promise<Acted | undefined> {
  const { platform, params, queues } = act;
  const name = params['queueName'];
  if (name === undefined) return route.endsWith('/pause') ? onAll(platform, 'pause') : onAll(platform, 'resume');
  const adapter = queues.get(name);
  if (adapter instanceof DeadLetterAdapter) return onLetters(route, adapter, act);
  if (!(adapter instanceof QueueAdapter)) return undefined;
  if (route.endsWith('/clean/:queueStatus')) return clean(adapter, params['queueStatus'] ?? '');
  return undefined;
}

/** All there are, not only those that the board shows. */
async function onAll({ jobs }: Platform, verb: 'pause' | 'resume'): Promise<Acted> {
  const names = await jobs.queues();
  for (const name of names) await jobs[verb](name);
  return { body: {}, count: names.length };
}

async function clean({ bullQueue }: QueueAdapter, status: string): Promise<Acted> {
  if (status === 'active') return refusal(409, 'Jobs that run are cancelled on the page Jobs.');
  if (!isCleanable(status)) return refusal(400, 'Jobs in this state are not removed all at once.');
  const ids = await bullQueue.clean(GRACE_MS, Number.MAX_SAFE_INTEGER, status);
  return { body: {}, count: ids.length };
}

function isCleanable(status: string): status is 'completed' | 'wait' | 'delayed' | 'failed' {
  return ['completed', 'wait', 'delayed', 'failed'].includes(status);
}

async function onLetters(route: string, { origin }: DeadLetterAdapter, act: Act): Promise<Acted | undefined> {
  const { platform, params, user } = act;
  const { deadLetters } = platform;
  const { jobId: id = '', queueStatus } = params;
  if (queueStatus !== undefined && queueStatus !== 'failed') return refusal(400, 'All of these have failed.');
  if (route.endsWith('/retry/:queueStatus')) {
    const { matched, redriven } = await deadLetters.redrive({ queue: origin }, { by: user });
    return { body: { retried: redriven, skipped: matched - redriven }, count: redriven };
  }
  if (route.endsWith('/clean/:queueStatus')) {
    const { discarded } = await deadLetters.discard({ queue: origin });
    return { body: {}, count: discarded };
  }
  if (route.endsWith('/:jobId/retry')) {
    const { redriven, skipped } = await ifThere(deadLetters.redrive(id, { by: user }), { redriven: 0, skipped: [] });
    if (redriven === 0) return refusal(409, WHY_LEFT[skipped[0]?.why ?? 'gone'] ?? 'It was left where it is.');
    return { status: 204, body: {}, count: 1 };
  }
  if (route.endsWith('/:jobId/clean')) {
    const { discarded } = await ifThere(deadLetters.discard(id), { discarded: 0 });
    return discarded === 0 ? refusal(409, WHY_LEFT['gone'] ?? '') : { status: 204, body: {}, count: 1 };
  }
  return undefined;
}

async function ifThere<T, Otherwise>(asked: Promise<T>, otherwise: Otherwise): Promise<T | Otherwise> {
  try {
    return await asked;
  } catch (error) {
    if (isMillraceError(error, 'JOB_UNKNOWN')) return otherwise;
    throw error;
  }
}

/** An answer that Bull Board shows with its text. */
export function refusal(status: 400 | 403 | 404 | 409 | 500, message: string): Acted {
  return {
    status,
    body: { error: { key: status === 500 ? 'ERRORS.INTERNAL_SERVER_ERROR' : 'ERRORS.FORBIDDEN' }, message },
  };
}
