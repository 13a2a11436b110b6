/** Enqueues one job, or many of one contract. */
import type { Request, Response, Router } from 'express';
import { isMillraceError, type MillraceError } from '../../errors.ts';
import type { JobContract } from '../../jobs/contract.ts';
import type { EnqueueOptions } from '../../jobs/enqueue-options.ts';
import type { Enqueued } from '../../jobs/producer.ts';
import { accepted, contractFor, keyOf, type Desk } from './desk.ts';
import type { Answer } from './idempotency.ts';
import { faultsBelow, isAway, refuse, type ProblemCode, type ProblemFacts } from './problem.ts';
import { readBatch, readIdempotencyKey, readJob, type JobRequest, type Read } from './request.ts';

/** What is answered, or refused. */
type Outcome = { answer: Answer } | { problem: ProblemCode; facts: ProblemFacts };

export function addEnqueue(router: Router, desk: Desk): void {
  router.post('/v1/contracts/:contract/jobs', (request, response) =>
    serve(desk, request, response, readJob, enqueueOne),
  );
  router.post('/v1/contracts/:contract/jobs/batch', (request, response) =>
    serve(desk, request, response, readBatch, enqueueMany),
  );
}

/** What an enqueue is made with. */
interface Work {
  desk: Desk;
  contract: JobContract;
  /** Of the caller. */
  apiKey: string;
  /** Where the API is mounted. */
  baseUrl: string;
  /** Of the header. */
  requestKey: string | undefined;
}

/** Once for each idempotency key. */
async function serve<T>(
  desk: Desk,
  request: Request,
  response: Response,
  readBody: (body: unknown) => Read<T>,
  enqueue: (work: Work, asked: T) => Promise<Outcome>,
): Promise<void> {
  const contract = contractFor(desk, request, response, 'enqueue');
  const key = contract && accepted(response, readIdempotencyKey(request.get('idempotency-key')));
  const asked = key && accepted(response, readBody(request.body));
  if (!asked) return;
  const { id: apiKey } = keyOf(request);
  const work: Work = { desk, contract, apiKey, baseUrl: request.baseUrl, requestKey: key.value };
  if (key.value === undefined) return send(response, await enqueue(work, asked.value));
  const claimed = await desk.requests.claim(apiKey, key.value, [request.path, request.body]);
  switch (claimed.status) {
    case 'answered':
      response.set('Idempotency-Replayed', 'true');
      return send(response, { answer: claimed.answer });
    case 'busy': {
      const detail = 'A request with this idempotency key is under way. Send it again to learn its answer.';
      return refuse(response, 'REQUEST_UNDER_WAY', { detail, retryAfterS: claimed.retryAfterS });
    }
    case 'other': {
      const detail = 'This idempotency key came before with another path or body. Give each request a key of its own.';
      return refuse(response, 'IDEMPOTENCY_KEY_REUSED', { detail });
    }
    case 'claimed':
      break;
  }
  let outcome: Outcome;
  try {
    outcome = await enqueue(work, asked.value);
  } catch (error) {
    await claimed.claim.unknown();
    throw error;
  }
  await ('answer' in outcome ? claimed.claim.answered(outcome.answer) : claimed.claim.undone());
  send(response, outcome);
}

async function enqueueOne({ desk, ...work }: Work, { input, options }: JobRequest): Promise<Outcome> {
  const refused = refuseKey(work.contract, options, 'options');
  if (refused) return refused;
  try {
    const key = jobKey(work, options, work.requestKey && `one/${work.requestKey}`);
    const enqueued = await desk.platform.jobs.enqueue(work.contract, input, { ...options, ...key.options });
    const told = toldOf(enqueued, key.isOfRequest);
    const location = `${work.baseUrl}/v1/jobs/${encodeURIComponent(told.id)}`;
    return { answer: { status: isNew(told) ? 201 : 200, body: told, location } };
  } catch (error) {
    return refusalOf(error, 'input', work.contract);
  }
}

async function enqueueMany({ desk, ...work }: Work, jobs: JobRequest[]): Promise<Outcome> {
  for (const [index, { options }] of jobs.entries()) {
    const refused = refuseKey(work.contract, options, `jobs[${index}].options`);
    if (refused) return refused;
  }
  const { contract, requestKey } = work;
  const keys = jobs.map(({ options }, index) => jobKey(work, options, requestKey && `many/${index}/${requestKey}`));
  try {
    const inputs = jobs.map(({ input }) => input);
    const enqueued = await desk.platform.jobs.enqueueMany(contract, inputs, (_input, index) => ({
      ...jobs[index]?.options,
      ...keys[index]?.options,
    }));
    const told = enqueued.map((one, index) => toldOf(one, keys[index]?.isOfRequest ?? false));
    return { answer: { status: told.some(isNew) ? 201 : 200, body: { jobs: told } } };
  } catch (error) {
    const index = isMillraceError(error) ? Number(error.facts['index']) : 0;
    return refusalOf(error, `jobs[${index}].input`, contract);
  }
}

/**
 * The key by which jobs are one: in a name space of the API key, so that those of two never meet. That of the request begins with its kind,
 * so that no header makes that of one job into that of a batch's.
 */
function jobKey(
  { apiKey, contract }: Pick<Work, 'apiKey' | 'contract'>,
  { idempotencyKey }: EnqueueOptions,
  requestKey: string | undefined,
): { options: EnqueueOptions; isOfRequest: boolean } {
  if (idempotencyKey !== undefined)
    return { options: { idempotencyKey: `api/${apiKey}/${idempotencyKey}` }, isOfRequest: false };
  if (requestKey === undefined || contract.unique) return { options: {}, isOfRequest: false };
  return { options: { idempotencyKey: `api-request/${apiKey}/${requestKey}` }, isOfRequest: true };
}

/** A job can have one key only. */
function refuseKey(contract: JobContract, { idempotencyKey }: EnqueueOptions, place: string): Outcome | undefined {
  if (idempotencyKey === undefined || !contract.unique) return undefined;
  const errors = [
    { path: `${place}.idempotencyKey`, reason: 'the contract has a unique key already; a job can have one of them' },
  ];
  return { problem: 'REQUEST_INVALID', facts: { detail: `${contract.name} takes no idempotencyKey.`, errors } };
}

/** A job that is there by the key of this very request is the one that it added the first time. */
function toldOf({ id, status }: Enqueued, isOfRequest: boolean): Enqueued {
  return { id, status: isOfRequest && status === 'duplicate' ? 'added' : status };
}

function isNew({ status }: Enqueued): boolean {
  return status === 'added' || status === 'replaced';
}

/** What is wrong with the input. @throws all else */
function refusalOf(error: unknown, place: string, contract: JobContract): Outcome {
  if (!isMillraceError(error) || isAway(error)) throw error;
  const facts = inputFaults(error, place, contract);
  if (facts) return { problem: 'INPUT_INVALID', facts };
  if (error.code === 'PAYLOAD_TOO_LARGE') return { problem: 'PAYLOAD_TOO_LARGE', facts: { detail: error.message } };
  throw error;
}

function inputFaults(error: MillraceError, place: string, { name, unique }: JobContract): ProblemFacts | undefined {
  if (error.code === 'INPUT_INVALID')
    return {
      detail: `The input does not match the schema of ${name}; nothing was enqueued.`,
      errors: faultsBelow(error, place),
    };
  // Options are checked before; what is left is a unique key that this input does not give. Why, may quote the input.
  if (error.code === 'OPTIONS_INVALID' && unique)
    return {
      detail: `${name} makes a unique key of the input, and can make none of this one; nothing was enqueued.`,
      errors: [{ path: place, reason: 'gives no unique key' }],
    };
  return undefined;
}

function send(response: Response, outcome: Outcome): void {
  if ('problem' in outcome) return refuse(response, outcome.problem, outcome.facts);
  const { status, body, location } = outcome.answer;
  if (location !== undefined) response.location(location);
  response.status(status).set('Cache-Control', 'no-store').json(body);
}
