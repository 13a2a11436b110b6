/** A job's state, its result, the wait for its end, and its cancellation. */
import type { Request, Response, Router } from 'express';
import { withDeadline } from '../../clock.ts';
import { isMillraceError, MillraceError, type ErrorCode } from '../../errors.ts';
import { accepted, jobFor, keyOf, mayStillRead, refuseJob, refuseKey, type Desk } from './desk.ts';
import { refuse } from './problem.ts';
import { LONGEST_CANCEL_MS, readCancel, readWait } from './request.ts';
import type { Sight, ToldJob } from './job-sight.ts';

const RETRY_AFTER_S = 1;
/** Beyond the time that a worker is given to let a job go. */
const ANSWER_WITHIN_MS = 2_000;

/** A job that has ended, with what its handler returned. */
export interface EndedJob extends ToldJob {
  result?: unknown;
}

export function addJobs(router: Router, desk: Desk): void {
  router.get('/v1/jobs/:id', (request, response) => tellState(desk, request, response));
  router.get('/v1/jobs/:id/result', (request, response) => tellResult(desk, request, response));
  router.get('/v1/jobs/:id/wait', (request, response) => wait(desk, request, response));
  router.post('/v1/jobs/:id/cancel', (request, response) => cancel(desk, request, response));
}

async function tellState(desk: Desk, request: Request, response: Response): Promise<void> {
  const sight = await jobFor(desk, request, response, 'read');
  if (sight) send(response, 200, sight.job);
}

async function tellResult(desk: Desk, request: Request, response: Response): Promise<void> {
  const sight = await jobFor(desk, request, response, 'read');
  if (!sight) return;
  if (sight.job.hasEnded) return send(response, 200, endOf(sight));
  const detail = `The job is ${sight.job.state}. Wait for it at ${request.baseUrl}/v1/jobs/${sight.job.id}/wait.`;
  refuse(response, 'JOB_UNFINISHED', { detail, retryAfterS: RETRY_AFTER_S });
}

async function cancel(desk: Desk, request: Request, response: Response): Promise<void> {
  const order = accepted(response, readCancel(request.body));
  const sight = order && (await jobFor(desk, request, response, 'cancel'));
  if (!sight) return;
  const { id, state, hasEnded } = sight.job;
  if (hasEnded && state !== 'cancelled') return refuseEnded(response);
  const { deadline = LONGEST_CANCEL_MS } = order.value;
  const cancelled = desk.platform.jobs.cancel(id, { ...order.value, deadline });
  const { status } = await withDeadline(cancelled, deadline + ANSWER_WITHIN_MS, late);
  if (status === 'unknown') return refuseJob(response);
  if (status === 'finished') return refuseEnded(response);
  send(response, status === 'cancelled' ? 200 : 202, { id, status });
}

function late(): MillraceError {
  return new MillraceError(
    'REDIS_TIMEOUT',
    'cancel: no answer from Redis in time; whether the job is cancelled is unknown',
    {},
  );
}

function refuseEnded(response: Response): void {
  refuse(response, 'JOB_ENDED', { detail: 'The job had ended before it could be cancelled.' });
}

/** How a wait may end beside with a result; where the job is then is told by a look. */
const ENDS: readonly ErrorCode[] = ['JOB_FAILED', 'JOB_CANCELLED', 'JOB_UNKNOWN', 'WAIT_TIMEOUT'];

/** 200 with the end, or 202 with where the job is when the time is over. */
async function wait(desk: Desk, request: Request, response: Response): Promise<void> {
  const timeout = accepted(response, readWait(request.query));
  const first = timeout && (await jobFor(desk, request, response, 'read'));
  if (!first) return;
  if (first.job.hasEnded || timeout.value === 0) return sendSight(response, first);
  const leave = enter(desk, request, response);
  if (!leave) return;
  try {
    await untilEnd(desk, first, timeout.value, response);
  } finally {
    leave();
  }
  if (response.destroyed) return;
  const { id } = first.job;
  const sight = (await desk.jobs.find(id)) ?? (await desk.jobs.find(id)); // One that moves from one place to another may be missed once.
  if (!(await mayStillRead(desk, request, first.contract))) return refuseKey(response);
  if (sight) sendSight(response, sight);
  else refuseJob(response);
}

/** Resolves when the job has ended, the time is over, or the client has left. */
async function untilEnd(
  { platform }: Desk,
  { job, contract }: Sight,
  deadline: number,
  response: Response,
): Promise<void> {
  const left = new AbortController();
  response.once('close', () => left.abort());
  try {
    await platform.jobs.waitFor(job.id, { contract, deadline, signal: left.signal });
  } catch (error) {
    if (!left.signal.aborted && !(isMillraceError(error) && ENDS.includes(error.code))) throw error;
  }
}

/** What lets the request go; undefined when its client has left already, or there was no room and it has been answered. */
export function enter(desk: Desk, request: Request, response: Response): (() => void) | undefined {
  if (response.destroyed) return undefined; // Its close has been told, and would not be again.
  const leave = desk.room.enter(keyOf(request).id);
  if (!leave)
    refuse(response, 'TOO_MANY_WAITS', {
      detail: 'So many requests of this API key wait for jobs already. Let one of them end first.',
      retryAfterS: RETRY_AFTER_S,
    });
  return leave;
}

/** The job and what came of it. */
export function endOf({ job, result }: Sight): EndedJob {
  return job.state === 'completed' ? { ...job, result } : job;
}

function sendSight(response: Response, sight: Sight): void {
  send(response, sight.job.hasEnded ? 200 : 202, endOf(sight));
}

function send(response: Response, status: number, body: unknown): void {
  response.status(status).set('Cache-Control', 'no-store').json(body);
}
