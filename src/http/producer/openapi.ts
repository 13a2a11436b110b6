/** The OpenAPI 3.1 document of the API, made of its contracts: each has operations of its own, so that clients have types for its input. */
import type { JobContract } from '../../jobs/contract.ts';
import { exampleFor } from './example.ts';
import { jsonSchemaOf, placedAt, type JsonSchema } from './json-schema.ts';
import { headers, ref, refusals, SCHEMAS, SHARED_HEADERS, sharedResponses, sharedSchemas } from './openapi-parts.ts';
import { MOST_IN_BATCH } from './request.ts';

/** What the document says of itself. */
export interface OpenApiOptions {
  /** Default `Jobs`. */
  title?: string | undefined;
  /** Of your contracts. Default `1.0.0`. */
  version?: string | undefined;
  /** Where the API is mounted, such as `/api`. Default `/`. */
  url?: string | undefined;
}

/** An OpenAPI document, as JSON. */
export interface OpenApiDocument {
  openapi: string;
  jsonSchemaDialect: string;
  info: { title: string; version: string; description: string };
  servers: Array<{ url: string }>;
  security: Array<Record<string, string[]>>;
  paths: Record<string, Record<string, unknown>>;
  components: Record<string, Record<string, unknown>>;
}

/**
 * The document, for whoever wants it as a file.
 *
 * @example
 * writeFileSync('openapi.json', JSON.stringify(producerOpenApi([sendEmail], { title: 'Shop', url: 'https://jobs.example.com' })));
 */
export function producerOpenApi(contracts: readonly JobContract[], options: OpenApiOptions = {}): OpenApiDocument {
  const { title = 'Jobs', version = '1.0.0', url = '/' } = options;
  const names = operationNames(contracts);
  const ofContracts = contracts.flatMap((contract) => contractPaths(contract, names.get(contract.name) ?? ''));
  return {
    openapi: '3.1.1',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title,
      version,
      description:
        'Enqueues jobs, tells where they are, waits for them and cancels them. Refusals are problem documents (RFC 9457); `code` is for programs.',
    },
    servers: [{ url }],
    security: [{ apiKey: [] }],
    paths: { ...catalogue(), ...Object.fromEntries(ofContracts), ...jobPaths() },
    components: {
      schemas: { ...sharedSchemas(), ...Object.fromEntries(contracts.flatMap(schemasOf)) },
      headers: SHARED_HEADERS,
      responses: sharedResponses(),
      parameters: {
        JobId: { name: 'id', in: 'path', required: true, schema: { type: 'string', maxLength: 200 } },
        IdempotencyKey: {
          name: 'Idempotency-Key',
          in: 'header',
          description:
            'The same request, sent again with the same key within a day, is answered as it was the first time.',
          schema: { type: 'string', maxLength: 255 },
          example: '6f1c2a1e-0b5e-4a59-a1f8-33a1c1f3d2aa',
        },
      },
      securitySchemes: {
        apiKey: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'mr_<id>_<secret>',
          description: 'Made by `millrace keys create`.',
        },
      },
    },
  };
}

const LIMITS = headers('RateLimit', 'RateLimit-Policy');

function json(description: string, schema: JsonSchema, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { description, headers: { ...LIMITS, ...more }, content: { 'application/json': { schema } } };
}

function catalogue(): OpenApiDocument['paths'] {
  return {
    '/v1/contracts': {
      get: {
        operationId: 'listContracts',
        summary: 'The contracts that this API key reaches',
        tags: ['contracts'],
        responses: { 200: json('By name.', ref('Contracts')), ...refusals() },
      },
    },
    '/v1/contracts/{contract}': {
      get: {
        operationId: 'getContract',
        summary: 'One contract',
        tags: ['contracts'],
        parameters: [{ name: 'contract', in: 'path', required: true, schema: { type: 'string' } }],
        responses: { 200: json('The contract.', ref('Contract')), ...refusals(404) },
      },
    },
  };
}

function contractPaths(contract: JobContract, operation: string): Array<[string, Record<string, unknown>]> {
  const { name } = contract;
  const job = {
    type: 'object',
    properties: { input: ref(`${name}.input`), options: ref('EnqueueOptions') },
    required: ['input'],
    additionalProperties: false,
  };
  const jobs = { type: 'array', items: job, minItems: 1, maxItems: MOST_IN_BATCH };
  const batch = { type: 'object', properties: { jobs }, required: ['jobs'], additionalProperties: false };
  const found = exampleFor(contract.input);
  const example = found && { input: found.value };
  const post = (
    operationId: string,
    summary: string,
    schema: JsonSchema,
    shown: unknown,
    result: JsonSchema,
    places: JsonSchema,
  ) => ({
    operationId,
    summary,
    tags: [name],
    parameters: [{ $ref: '#/components/parameters/IdempotencyKey' }],
    requestBody: {
      required: true,
      content: { 'application/json': { schema, ...(shown !== undefined && { example: shown }) } },
    },
    responses: {
      200: json('Nothing new: a job with the key was there.', result, {
        ...places,
        ...headers('Idempotency-Replayed'),
      }),
      201: json('Enqueued.', result, { ...places, ...headers('Idempotency-Replayed') }),
      ...refusals(403, 404, 409, 422),
    },
  });
  return [
    [
      `/v1/contracts/${name}/jobs`,
      { post: post(`enqueue${operation}`, `Enqueue ${name}`, job, example, ref('Enqueued'), headers('Location')) },
    ],
    [
      `/v1/contracts/${name}/jobs/batch`,
      {
        post: post(
          `enqueueMany${operation}`,
          `Enqueue many of ${name}`,
          batch,
          example && { jobs: [example] },
          ref('EnqueuedMany'),
          {},
        ),
      },
    ],
  ];
}

function jobPaths(): OpenApiDocument['paths'] {
  const parameters = [{ $ref: '#/components/parameters/JobId' }];
  const tags = ['jobs'];
  const timeout = {
    name: 'timeout',
    in: 'query',
    description: "Up to 60 s, such as '30s', or in milliseconds. Default 30s.",
    schema: { type: 'string' },
    example: '10s',
  };
  return {
    '/v1/jobs/{id}': {
      get: {
        operationId: 'getJob',
        summary: 'Where a job is',
        tags,
        parameters,
        responses: { 200: json('The job.', ref('Job')), ...refusals(403, 404) },
      },
    },
    '/v1/jobs/{id}/result': {
      get: {
        operationId: 'getJobResult',
        summary: 'What came of a job that has ended',
        tags,
        parameters,
        responses: { 200: json('Its end.', ref('EndedJob')), ...refusals(403, 404, 409) },
      },
    },
    '/v1/jobs/{id}/wait': {
      get: {
        operationId: 'waitForJob',
        summary: 'Wait for the end of a job',
        tags,
        parameters: [...parameters, timeout],
        responses: {
          200: json('Its end.', ref('EndedJob')),
          202: json('It has not ended in time; ask again.', ref('Job')),
          ...refusals(403, 404),
        },
      },
    },
    '/v1/jobs/{id}/events': {
      get: {
        operationId: 'watchJob',
        summary: 'Follow a job by Server-Sent Events',
        description:
          'Events `state` (a Job) at once and with each change, then `end` (an EndedJob) or `gone`, and the stream ends.',
        tags,
        parameters,
        responses: {
          200: {
            description: 'A stream of events.',
            headers: LIMITS,
            content: { 'text/event-stream': { schema: { type: 'string' } } },
          },
          ...refusals(403, 404),
        },
      },
    },
    '/v1/jobs/{id}/cancel': {
      post: {
        operationId: 'cancelJob',
        summary: 'Cancel a job',
        tags,
        parameters,
        requestBody: {
          required: false,
          content: { 'application/json': { schema: ref('CancelOrder'), example: { reason: 'ordered twice' } } },
        },
        responses: {
          200: json('It does not run, and will not.', ref('Cancellation')),
          202: json('It still ran at the deadline; its worker is told again.', ref('Cancellation')),
          ...refusals(403, 404, 409),
        },
      },
    },
  };
}

function schemasOf({ name, input, output }: JobContract): Array<[string, JsonSchema]> {
  const entries: Array<[string, JsonSchema]> = [[`${name}.input`, schemaAt(`${name}.input`, jsonSchemaOf(input))]];
  if (output) entries.push([`${name}.output`, schemaAt(`${name}.output`, jsonSchemaOf(output))]);
  return entries;
}

function schemaAt(name: string, schema: JsonSchema | undefined): JsonSchema {
  if (schema) return placedAt(schema, `${SCHEMAS}/${name}`);
  return { description: 'Any JSON; what it must be is checked by the server, whose schema cannot be told.' };
}

/** `email.send` is `EmailSend`; where two names agree in that, the second has a number. */
function operationNames(contracts: readonly JobContract[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  const taken = new Set<string>();
  for (const { name } of contracts) {
    const base = name.replaceAll(/(?:^|[^a-z\d]+)([a-z\d])/gi, (_match, first: string) => first.toUpperCase());
    const plain = base.replaceAll(/\W|_/g, '');
    let operation = plain;
    for (let number = 2; taken.has(operation) || taken.has(`Many${operation}`); number++)
      operation = `${plain}${number}`;
    taken.add(operation).add(`Many${operation}`);
    names.set(name, operation);
  }
  return names;
}
