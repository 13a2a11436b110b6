/** What every operation of the API works with, and who calls it. */
import type { IncomingMessage } from 'node:http';
import type { Request, Response } from 'express';
import type { JobContract } from '../../jobs/contract.ts';
import type { ApiKey, ApiKeys } from './api-keys.ts';
import type { ProducerPlatform } from './asking.ts';
import type { Requests } from './idempotency.ts';
import type { JobFinder, Sight } from './job-sight.ts';
import type { JobWatch } from './job-watch.ts';
import { refuse } from './problem.ts';
import type { Read } from './request.ts';
import { actsOn, isAllowed, type Act } from './scopes.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** What the operations share. */
export interface Desk {
  readonly platform: ProducerPlatform;
  /** By name. */
  readonly contracts: ReadonlyMap<string, JobContract>;
  readonly keys: ApiKeys;
  readonly requests: Requests;
  readonly jobs: JobFinder;
  readonly watch: JobWatch;
  readonly room: WaitingRoom;
}

/** A caller that was let in. */
export interface Caller {
  readonly key: ApiKey;
  readonly token: string;
}

const callers = new WeakMap<IncomingMessage, Caller>();

/** Remembers who calls. */
export function letIn(request: IncomingMessage, caller: Caller): void {
  callers.set(request, caller);
}

/** Who calls; undefined for who was not let in. */
export function callerIn(request: IncomingMessage): Caller | undefined {
  return callers.get(request);
}

/** The contract of the path, if the caller may do this with it; else the request has been answered. */
export function contractFor(desk: Desk, request: Request, response: Response, act: Act): JobContract | undefined {
  const name = String(request.params['contract']);
  const contract = desk.contracts.get(name);
  const { scopes } = keyOf(request);
  if (contract && isAllowed(scopes, act, name)) return contract;
  if (contract && actsOn(scopes, name).length > 0) refuseAct(response, act, name);
  else refuse(response, 'CONTRACT_UNKNOWN', { detail: 'No contract of that name can be reached with this API key.' });
  return undefined;
}

/** The job of the path, likewise. */
export async function jobFor(desk: Desk, request: Request, response: Response, act: Act): Promise<Sight | undefined> {
  const sight = await desk.jobs.find(String(request.params['id']));
  const { scopes } = keyOf(request);
  const name = sight?.contract.name ?? '';
  if (sight && isAllowed(scopes, act, name)) return sight;
  if (sight && actsOn(scopes, name).length > 0) refuseAct(response, act, name);
  else refuseJob(response);
  return undefined;
}

/** Answers for a job that is not there, or is not the caller's to see: the two are not told apart. */
export function refuseJob(response: Response): void {
  refuse(response, 'JOB_UNKNOWN', {
    detail: 'No job of that id can be reached with this API key. Jobs that have ended are kept for a while only.',
  });
}

/**
 * Whether the caller's key is still good for reading it: for what is answered long after it was asked.
 *
 * @throws MillraceError when Redis cannot be asked
 */
export async function mayStillRead(desk: Desk, request: IncomingMessage, { name }: JobContract): Promise<boolean> {
  const caller = callerIn(request);
  const key = caller && (await desk.keys.check(caller.token));
  return key !== undefined && isAllowed(key.scopes, 'read', name);
}

/** Answers who comes with a key that is not good. */
export function refuseKey(response: Response): void {
  refuse(response, 'KEY_REFUSED', { detail: 'The API key is unknown, was revoked, or has expired.' });
}

/** What was read; undefined when it was refused. */
export function accepted<T>(response: Response, read: Read<T>): { value: T } | undefined {
  if ('value' in read) return read;
  const detail = read.faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
  refuse(response, 'REQUEST_INVALID', { detail, errors: read.faults });
  return undefined;
}

/** The key of a caller that was let in. */
export function keyOf(request: IncomingMessage): ApiKey {
  return (callers.get(request) as Caller).key;
}

function refuseAct(response: Response, act: Act, contract: string): void {
  refuse(response, 'SCOPE_MISSING', { detail: `This API key lacks the scope ${act}:${contract}.` });
}
