/** The parts of the OpenAPI document that are the same for all contracts: schemas, headers, refusals. */
import { ACTS } from './scopes.ts';
import { JOB_STATES } from './job-sight.ts';
import type { JsonSchema } from './json-schema.ts';
import { PROBLEMS, type ProblemCode } from './problem.ts';
import { bodySchemas } from './request.ts';

/** Where schemas stand. */
export const SCHEMAS = '#/components/schemas';

export const ref = (name: string): JsonSchema => ({ $ref: `${SCHEMAS}/${name}` });

const time: JsonSchema = { type: 'string', format: 'date-time' };
const object = (properties: Record<string, JsonSchema>, required: readonly string[]): JsonSchema => ({
  type: 'object',
  properties,
  required,
});

const jobProperties: Record<string, JsonSchema> = {
  id: { type: 'string' },
  contract: { type: 'string' },
  version: { type: 'integer' },
  state: { enum: [...JOB_STATES] },
  hasEnded: { type: 'boolean', description: 'Whether it will change no more by itself.' },
  progress: { description: 'What the handler told last: a number or an object.' },
  attempts: object({ made: { type: 'integer' }, most: { type: 'integer' } }, ['made', 'most']),
  enqueuedAt: time,
  startedAt: time,
  endedAt: time,
  reason: { type: 'string', description: 'Why it was cancelled, or how the latest attempt failed.' },
};
const jobRequired = ['id', 'contract', 'version', 'state', 'hasEnded', 'attempts', 'enqueuedAt'];
const enqueuedStatus: JsonSchema = {
  enum: ['added', 'duplicate', 'replaced', 'rescheduled'],
  description: '`duplicate`: a job with the key is there, and its id is given.',
};

/** Schemas that every document has. */
export function sharedSchemas(): Record<string, JsonSchema> {
  const { enqueueOptions, cancel } = bodySchemas();
  return {
    Job: object(jobProperties, jobRequired),
    EndedJob: object(
      { ...jobProperties, result: { description: 'What the handler returned, of a completed job.' } },
      jobRequired,
    ),
    Enqueued: object({ id: { type: 'string' }, status: enqueuedStatus }, ['id', 'status']),
    EnqueuedMany: object({ jobs: { type: 'array', items: ref('Enqueued') } }, ['jobs']),
    EnqueueOptions: enqueueOptions,
    CancelOrder: cancel,
    Cancellation: object({ id: { type: 'string' }, status: { enum: ['cancelled', 'requested'] } }, ['id', 'status']),
    Contract: object(
      {
        name: { type: 'string' },
        queue: { type: 'string' },
        version: { type: 'integer' },
        acts: { type: 'array', items: { enum: [...ACTS] } },
        limits: object(
          {
            attempts: { type: 'integer' },
            timeoutMs: { type: 'integer' },
            expiresInMs: { type: 'integer' },
            batch: { type: 'integer' },
          },
          ['attempts', 'batch'],
        ),
        priority: { type: 'integer' },
        unique: object({ onConflict: { type: 'string' }, forMs: { type: 'integer' } }, ['onConflict']),
        input: { type: 'object', description: 'JSON Schema of the input.' },
        output: { type: 'object', description: 'JSON Schema of what the handler returns.' },
      },
      ['name', 'queue', 'version', 'acts', 'limits'],
    ),
    Contracts: object({ contracts: { type: 'array', items: ref('Contract') } }, ['contracts']),
    Problem: {
      ...object(
        {
          type: { type: 'string', format: 'uri' },
          title: { type: 'string' },
          status: { type: 'integer' },
          detail: { type: 'string' },
          code: {
            type: 'string',
            description: `For programs: ${Object.keys(PROBLEMS).join(', ')}, or an error code of Millrace.`,
          },
          errors: {
            type: 'array',
            items: object({ path: { type: 'string' }, reason: { type: 'string' } }, ['path', 'reason']),
            description: 'What is wrong, place by place.',
          },
        },
        ['type', 'title', 'status', 'detail', 'code'],
      ),
      description: 'A problem document (RFC 9457).',
    },
  };
}

const seconds: JsonSchema = { type: 'integer', description: 'Seconds.' };

/** Headers of responses, by name. */
export const SHARED_HEADERS = {
  'Retry-After': { description: 'When to come again.', schema: seconds },
  RateLimit: { description: 'What is left of each limit.', schema: { type: 'string' } },
  'RateLimit-Policy': { description: 'The limits of this API key.', schema: { type: 'string' } },
  'Idempotency-Replayed': {
    description: 'This is the answer to an earlier request with the same key.',
    schema: { enum: ['true'] },
  },
  Location: { description: 'Where the job is.', schema: { type: 'string', format: 'uri-reference' } },
} as const satisfies Record<string, unknown>;

/** References to some of the headers. */
export function headers(...names: Array<keyof typeof SHARED_HEADERS>): Record<string, JsonSchema> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** What is said of a refusal, by its status. */
const REFUSALS: Readonly<Record<number, string>> = {
  400: 'Not a request that this operation takes.',
  401: 'No API key, or one that is not good.',
  403: 'The API key lacks the scope.',
  404: 'Not there, or not to be seen with this API key.',
  409: 'Not now: the job has ended or has not, or the same request is under way.',
  413: 'Too large.',
  415: 'Not JSON.',
  422: 'The input does not match its schema, or the idempotency key was used for another request.',
  429: 'A limit is used up.',
  500: 'A failure of ours; it was logged.',
  503: 'Redis cannot be reached; nothing is known to have been changed.',
};

/** Each refusal, with its codes. */
export function sharedResponses(): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(REFUSALS).map(([status, description]) => [
      `Problem${status}`,
      {
        description,
        headers: {
          ...(status === '401' && { 'WWW-Authenticate': { schema: { type: 'string' } } }),
          ...(['409', '429', '503'].includes(status) && headers('Retry-After')),
        },
        content: { 'application/problem+json': { schema: ref('Problem'), examples: problemExamples(Number(status)) } },
      },
    ]),
  );
}

/** References to the refusals of these statuses, beside those that any operation may meet. */
export function refusals(...statuses: number[]): Record<string, JsonSchema> {
  const all = [...new Set([400, 401, 413, 415, 429, 500, 503, ...statuses])].toSorted((one, other) => one - other);
  return Object.fromEntries(all.map((status) => [status, { $ref: `#/components/responses/Problem${status}` }]));
}

function problemExamples(status: number): Record<string, unknown> {
  const codes = (Object.keys(PROBLEMS) as ProblemCode[]).filter((code) => PROBLEMS[code].status === status);
  return Object.fromEntries(
    codes.map((code) => [
      code,
      {
        value: {
          type: `urn:millrace:problem:${code.toLowerCase().replaceAll('_', '-')}`,
          title: PROBLEMS[code].title,
          status,
          detail: `${PROBLEMS[code].title}.`,
          code,
        },
      },
    ]),
  );
}
