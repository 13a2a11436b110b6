/** The OpenAPI document: it keeps the rules of OpenAPI 3.1, a client made of it can do everything, and inputs made of its schemas are taken. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { producerOpenApi } from '../../src/http/index.ts';
import { jsonSchemaOf } from '../../src/http/producer/json-schema.ts';
import { defineJob, type JobContract } from '../../src/jobs/contract.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { echo, handlers, slow, startApi, tree, warmUp, type Api } from './producer-app.ts';
import { clientOf, inlined, lookUp, type Client } from './producer-client.ts';

type Json = Record<string, unknown>;

const mixed = defineJob({
  name: 'mixed.all-kinds',
  input: z.strictObject({
    kind: z.enum(['small', 'large']),
    tags: z.array(z.string().max(5)).min(1).max(3),
    size: z.number().min(0.5).max(10).nullable(),
    shape: z.discriminatedUnion('is', [
      z.object({ is: z.literal('box'), wide: z.int().positive() }),
      z.object({ is: z.literal('ball'), round: z.boolean() }),
    ]),
    at: z.record(z.string(), z.int()).optional(),
  }),
});
const unknowable = defineJob({
  name: 'mixed.all_kinds',
  input: { '~standard': { version: 1, vendor: 'own', validate: (value: unknown) => ({ value }) } },
});
const contracts = [echo, slow, tree, mixed, unknowable] as unknown as readonly JobContract[];

let server: TestServer;
let api: Api;
let document: Json;
let client: Client;
const { handlers: all } = handlers();
beforeAll(async () => {
  server = await startRedis();
  api = await startApi(server.url, { contracts, title: 'Shop & <jobs>' });
  await api.platform.work({ handlers: all });
  await warmUp(api);
  document = (await api.ask('GET', '/openapi.json', undefined, { key: '' })).body;
  client = clientOf(document, new URL(api.url).origin, api.key);
});
afterAll(async () => {
  await api?.stop();
  await server?.stop();
});

/** Every object in the document, with its place. */
function* objectsIn(value: unknown, place = '#'): Generator<[string, Json]> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield [place, value as Json];
  for (const [key, inner] of Object.entries(value)) yield* objectsIn(inner, `${place}/${key}`);
}

const operations = (): Array<{ path: string; method: string; operation: Json }> =>
  Object.entries(document['paths'] as Record<string, Record<string, Json>>).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );

describe('the document', () => {
  test('is of OpenAPI 3.1, in the dialect of JSON Schema that it names', () => {
    expect(document).toMatchObject({
      openapi: '3.1.1',
      jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
      info: { title: 'Shop & <jobs>', version: '1.0.0' },
      servers: [{ url: '/api' }],
    });
    const types = ['array', 'boolean', 'integer', 'null', 'number', 'object', 'string'];
    for (const [place, one] of objectsIn(document['components'])) {
      if (!place.includes('/schemas/') || place.endsWith('/properties')) continue;
      expect(one, place).not.toHaveProperty('nullable');
      expect(one, place).not.toHaveProperty('$schema');
      const { type, exclusiveMinimum } = one;
      expect(typeof type === 'string' ? types : [type], place).toContain(type);
      expect(['number', 'undefined'], place).toContain(typeof exclusiveMinimum);
    }
  });

  test('has no reference that leads nowhere or out of it, also of schemas that refer to themselves', () => {
    const refs = [...objectsIn(document)].flatMap(([, { $ref }]) => (typeof $ref === 'string' ? [$ref] : []));
    for (const one of refs) expect(lookUp(document, one), one).toBeTypeOf('object');
    expect(refs.some((one) => one.startsWith('#/components/schemas/reports.tree.input/'))).toBe(true);
  });

  test('has names, parameters and responses as OpenAPI wants them', () => {
    for (const part of Object.values(document['components'] as Record<string, Json>))
      for (const name of Object.keys(part)) expect(name).toMatch(/^[\w.-]+$/);
    const ids = operations().map(({ operation }) => String(operation['operationId']));
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[a-z][A-Za-z\d]*$/);
    const forms = operations().map(({ path, method }) => `${method} ${path.replaceAll(/\{\w+\}/g, '{}')}`);
    expect(new Set(forms).size, 'no two paths are one').toBe(forms.length);
    for (const { path, operation } of operations()) {
      const parameters = (inlined(document, operation['parameters'] ?? []) as Json[]).filter(
        (one) => one['in'] === 'path',
      );
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      expect(parameters.map(({ name, required }) => [name, required])).toEqual(inPath.map((name) => [name, true]));
      const responses = inlined(document, operation['responses']) as Record<string, Json>;
      for (const [status, response] of Object.entries(responses)) {
        expect(status).toMatch(/^[2-5]\d\d$/);
        expect(response['description'], `${path} ${status}`).toBeTypeOf('string');
      }
    }
  });

  test('tells of every refusal that any operation can meet', () => {
    for (const { path, operation } of operations())
      expect(Object.keys(operation['responses'] as Json), path).toEqual(
        expect.arrayContaining(['400', '401', '413', '415', '429', '500', '503']),
      );
  });

  test('is made once, however its mount is spelled', async () => {
    expect(jsonSchemaOf(echo.input)).toBe(jsonSchemaOf(echo.input));
    const spelled = await fetch(new URL('/aPi/openapi.json', api.url), { headers: { connection: 'close' } });
    expect(await spelled.json()).toEqual({ ...document, servers: [{ url: '/aPi' }] });
  });

  test('shows an example of each input that is one', async () => {
    const examples = operations().flatMap(({ path, operation }) => {
      const content = (operation['requestBody'] as Json | undefined)?.['content'] as Record<string, Json> | undefined;
      const example = content?.['application/json']?.['example'] as { input?: unknown } | undefined;
      const contract = contracts.find(({ name }) => path === `/v1/contracts/${name}/jobs`);
      return contract && example ? [{ contract, input: example.input }] : [];
    });
    expect(examples.map(({ contract }) => contract.name)).toEqual([
      'api.echo',
      'api.slow',
      'reports.tree',
      'mixed.all-kinds',
    ]);
    for (const { contract, input } of examples)
      expect(await contract.input['~standard'].validate(input)).not.toHaveProperty('issues');
  });

  test('can be had as a file, for any address', () => {
    const url = 'https://jobs.example.com';
    expect(producerOpenApi(contracts, { url, title: 'Shop & <jobs>' })).toEqual({ ...document, servers: [{ url }] });
  });

  test('is a page that loads nothing and escapes everything', async () => {
    const page = await api.ask('GET', '/docs', undefined, { key: '' });
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-/);
    expect(page.text).toContain('<h1>Shop &amp; &lt;jobs&gt;</h1>');
    expect(page.text).toContain('/v1/contracts/mixed.all-kinds/jobs');
    expect(page.text).not.toMatch(/<script|https?:\/\/(?!json-schema|example)|\sstyle=/);
    const none = await startApi(server.url, { docs: false });
    const statuses = await Promise.all(
      ['/docs', '/openapi.json'].map(async (path) => (await none.ask('GET', path)).status),
    );
    await none.stop();
    expect(statuses).toEqual([404, 404]);
  });
});

describe('a client made of the document', () => {
  test('drives every operation, and each answer is as the document says', async () => {
    const called = new Set<string>();
    const use: Client = new Proxy(client, {
      get: (target, name) => (called.add(String(name)), target[String(name)]),
    });
    const input = { text: 'hi' };
    expect((await use['listContracts']?.())?.body['contracts']).toHaveLength(contracts.length);
    expect((await use['getContract']?.({ params: { contract: 'api.echo' } }))?.status).toBe(200);
    const first = await use['enqueueApiEcho']?.({ body: { input }, headers: { 'Idempotency-Key': 'c-1' } });
    const params = { id: String(first?.body['id']) };
    expect((await use['waitForJob']?.({ params, query: { timeout: '30s' } }))?.body).toMatchObject({
      result: { said: 'hi' },
    });
    expect((await use['getJobResult']?.({ params }))?.status).toBe(200);
    expect((await use['getJob']?.({ params }))?.body).toMatchObject({ state: 'completed' });
    expect((await use['watchJob']?.({ params }))?.text).toContain('event: end');
    const refused = await use['cancelJob']?.({ params, body: { reason: 'late' } });
    expect([refused?.status, refused?.type]).toEqual([409, 'application/problem+json']);
    const many = await use['enqueueManyApiEcho']?.({
      body: { jobs: [{ input, options: { delay: '1h' } }, { input: { text: 5 } }] },
    });
    expect([many?.status, many?.body['code']]).toEqual([422, 'INPUT_INVALID']);
    const delayed = await use['enqueueApiSlow']?.({ body: { input: { id: 'c' }, options: { delay: 3_600_000 } } });
    expect((await use['cancelJob']?.({ params: { id: String(delayed?.body['id']) } }))?.body).toMatchObject({
      status: 'cancelled',
    });
    expect((await use['waitForJob']?.({ params, query: { timeout: 'x' } }))?.status).toBe(400);
    for (const name of Object.keys(client).filter((one) => one.startsWith('enqueue') && !called.has(one))) {
      const answer = await use[name]?.({ body: {} });
      expect(answer?.status, name).toBeOneOf([400, 422]);
    }
    expect([...called].toSorted()).toEqual(Object.keys(client).toSorted());
  });
});

/** Values that a schema takes. */
function valuesOf(schema: Json, depth = 0): fc.Arbitrary<unknown> {
  const { $ref, anyOf, oneOf, enum: choices, const: only } = schema;
  if (typeof $ref === 'string') return valuesOf(lookUp(document, $ref) as Json, depth + 1);
  if (only !== undefined) return fc.constant(only);
  if (Array.isArray(choices)) return fc.constantFrom(...(choices as unknown[]));
  const branches = (anyOf ?? oneOf) as Json[] | undefined;
  if (branches) return fc.oneof(...branches.map((one) => valuesOf(one, depth + 1)));
  switch (schema['type']) {
    case 'string':
      return fc.string({
        minLength: Number(schema['minLength'] ?? 0),
        maxLength: Math.min(20, Number(schema['maxLength'] ?? 20)),
      });
    case 'integer': {
      const min = Math.max(-1_000, Number(schema['minimum'] ?? Number(schema['exclusiveMinimum'] ?? -1_001) + 1));
      return fc.integer({ min, max: Math.min(1_000, Number(schema['maximum'] ?? 1_000)) });
    }
    case 'number':
      return fc.double({ min: Number(schema['minimum'] ?? -1e6), max: Number(schema['maximum'] ?? 1e6), noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array': {
      const most = depth > 4 ? 0 : Math.min(3, Number(schema['maxItems'] ?? 3));
      const minLength = Number(schema['minItems'] ?? 0);
      return fc.array(valuesOf((schema['items'] ?? {}) as Json, depth + 1), {
        minLength,
        maxLength: Math.max(minLength, most),
      });
    }
    case 'object': {
      const properties = (schema['properties'] ?? {}) as Record<string, Json>;
      const required = (schema['required'] ?? []) as string[];
      const shown = Object.entries(properties).filter(([name]) => required.includes(name) || depth < 4);
      const known = fc.record(Object.fromEntries(shown.map(([name, one]) => [name, valuesOf(one, depth + 1)])), {
        requiredKeys: required,
        noNullPrototype: true,
      });
      const rest = schema['additionalProperties'];
      if (typeof rest !== 'object' || rest === null || shown.length > 0) return known;
      return fc.dictionary(fc.string({ minLength: 1, maxLength: 5 }), valuesOf(rest as Json, depth + 1), {
        maxKeys: 3,
        noNullPrototype: true,
      });
    }
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

/** The value with something else somewhere in it. */
function mutated(value: unknown, other: unknown, path: readonly number[]): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof value !== 'object' || value === null) return other;
  const keys = [...Object.keys(value), 'added'];
  const key = keys[step % keys.length] ?? 'added';
  if (other === undefined && rest.length === 0) {
    return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
  }
  const inner = mutated((value as Json)[key], other, rest);
  if (Array.isArray(value)) return [...(value as unknown[]), inner];
  return { ...value, [key]: inner };
}

const send = (contract: JobContract, body: unknown) => api.ask('POST', `/v1/contracts/${contract.name}/jobs`, body);
const isGood = async (contract: JobContract, input: unknown): Promise<boolean> =>
  (await contract.input['~standard'].validate(JSON.parse(JSON.stringify(input)))).issues === undefined;

describe('inputs made of the document', () => {
  const kept = async (): Promise<number> => {
    const counts = await Promise.all(
      [...new Set(contracts.map(({ queue }) => queue))].map((queue) => api.platform.jobs.counts(queue)),
    );
    return counts.reduce((sum, { delayed }) => sum + delayed, 0);
  };
  test.each(contracts.slice(0, 4).map((contract) => [contract.name, contract] as const))(
    '%s takes them, and refuses what is none with 422, adding nothing',
    async (name, contract) => {
      const schema = ((document['components'] as Json)['schemas'] as Record<string, Json>)[`${name}.input`] as Json;
      const values = valuesOf(schema);
      const before = await kept();
      let added = 0;
      const outcomes = new Set<number>();
      await fc.assert(
        fc.asyncProperty(
          values,
          fc.option(fc.jsonValue({ maxDepth: 1 }), { nil: undefined }),
          fc.array(fc.nat(9), { maxLength: 3 }),
          async (input, other, path) => {
            const good = await send(contract, { input, options: { delay: '1h' } });
            expect(good.status, `${JSON.stringify(input)} ${good.text}`).toBeOneOf([200, 201]);
            added += Number(good.status === 201);
            const bad = mutated(input, other, path);
            if (bad === undefined) return;
            const { status, headers, text } = await send(contract, { input: bad, options: { delay: '1h' } });
            const isTaken = await isGood(contract, bad);
            expect(status, text).toBeOneOf(isTaken ? [200, 201] : [422]);
            const kind = isTaken ? 'json' : 'problem+json';
            expect(headers.get('content-type')).toBe(`application/${kind}; charset=utf-8`);
            added += Number(status === 201);
            outcomes.add(status);
          },
        ),
        { numRuns: 25 },
      );
      expect(outcomes).toContain(422);
      expect(await kept()).toBe(before + added);
    },
  );

  test('bodies and queries of any kind are refused or taken, and never a failure of ours', async () => {
    const before = await kept();
    const text = fc.oneof(
      fc.json(),
      fc.string(),
      fc.constantFrom('{"__proto__":{"input":1}}', '{"input":{},"options":null}', '[]', 'null', '"', '\u0000'),
    );
    const paths = fc.constantFrom(
      '/v1/contracts/api.echo/jobs',
      '/v1/contracts/api.echo/jobs/batch',
      '/v1/contracts/toString/jobs',
      '/v1/contracts/__proto__/jobs',
      '/v1/jobs/meta/cancel',
      '/v1/jobs/wait/cancel',
      '/v1/jobs/..%2F..%2Fmeta/cancel',
      '/v1/jobs/%00/cancel',
      '/v1/jobs/a:lock/cancel',
    );
    await fc.assert(
      fc.asyncProperty(paths, text, async (path, body) => {
        const { status, headers } = await api.ask('POST', path, body === '' ? undefined : body);
        expect(status).toBeGreaterThanOrEqual(400);
        expect(status).toBeLessThan(500);
        expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      }),
      { numRuns: 120 },
    );
    expect(await kept()).toBe(before);
    for (const id of ['meta', 'wait', 'events', 'id', 'delayed', '%00', 'a%3Alock', '..', '%2F'])
      await eventually(async () => expect((await api.ask('GET', `/v1/jobs/${id}`)).status).toBeOneOf([400, 404]));
  });
});
