/** The book of contracts: what is told of them, for how long, and by whom. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { ContractBook, contractSecrets } from '../../src/jobs/contract-book.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { JobsRuntime } from '../../src/jobs/runtime.ts';
import { silentLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import type { Schema } from '../../src/schema.ts';
import { createVirtualClock } from '../../src/testing/virtual-clock.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { ownedJobs } from '../support/jobs.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** A version of a contract. */
function of(version: number, secrets: string[]): ReturnType<typeof contractOf> {
  return contractOf('pay.card', { version, secrets });
}

describe('contracts', () => {
  test('are listed with their policy, the JSON Schema of their input, and what is secret', async () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    expect(await jobs.contracts()).toEqual([]);
    const input = z.object({ to: z.email(), code: z.string().default('none') });
    const send = defineJob({ name: 'mail.send', input, attempts: 3, timeout: '30s', secrets: ['code'], priority: 2 });
    await jobs.register([send, defineJob({ name: 'mail.clean', input: z.null(), timeout: false, queue: 'night' })]);
    const [clean, sent] = await jobs.contracts();
    expect(clean).toEqual({
      name: 'mail.clean',
      queue: 'night',
      version: 1,
      attempts: 5,
      inputSchema: { $schema: expect.any(String), type: 'null' },
      secrets: [],
      seenAt: expect.any(Number),
    });
    expect(sent).toMatchObject({ name: 'mail.send', attempts: 3, timeoutMs: 30_000, priority: 2, secrets: ['code'] });
    expect(sent?.inputSchema).toMatchObject({
      type: 'object',
      properties: { to: { type: 'string', format: 'email' }, code: { default: 'none' } },
      required: ['to'],
    });
    expect(sent?.seenAt).toBeGreaterThan(systemClock.wallMs() - 60_000);
  });

  test('have no JSON Schema where it cannot be made, or is too large; what zod cannot express is any value', async () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const plain: Schema = { '~standard': { version: 1, vendor: 'plain', validate: (value) => ({ value }) } };
    const unable = {
      throws: () => {
        throw new TypeError('not in this library');
      },
    };
    const failing = {
      '~standard': { ...plain['~standard'], jsonSchema: { input: unable.throws, output: unable.throws } },
    };
    const large = z.enum(Array.from({ length: 6_000 }, (_item, index) => `choice-${index}-${index}`));
    const odd = z.object({ a: z.custom<number>(), b: z.coerce.date() });
    await jobs.register([
      defineJob({ name: 's.plain', input: plain }),
      defineJob({ name: 's.failing', input: failing }),
      defineJob({ name: 's.large', input: large }),
      defineJob({ name: 's.odd', input: odd }),
    ]);
    const schemas = (await jobs.contracts()).map(({ name, inputSchema }) => [name, inputSchema?.['properties']]);
    expect(schemas).toEqual([
      ['s.failing', undefined],
      ['s.large', undefined],
      ['s.odd', { a: {}, b: {} }],
      ['s.plain', undefined],
    ]);
  });

  test('of two versions are two, the newest first; of one version the last that was told counts', async () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    await jobs.register([of(1, ['number']), of(2, ['card.number'])]);
    await jobs.register([of(2, ['card.number', 'card.code'])]);
    expect((await jobs.contracts()).map(({ version, secrets }) => [version, secrets])).toEqual([
      [2, ['card.number', 'card.code']],
      [1, ['number']],
    ]);
    await jobs.contractBook.register([of(2, [])], false); // As a worker of the former release does, once an hour.
    expect((await jobs.contracts())[0]?.secrets).toEqual(['card.number', 'card.code']);
    expect(await jobs.contractBook.secrets()).toEqual(new Map([['pay.card', ['number', 'card.number', 'card.code']]]));
  });

  test('are forgotten when nobody told them for 30 days, or when there are more than 500', async () => {
    const { jobs, connections, prefix } = jobsOf({ redis: { url: server.url } });
    await jobs.register([contractOf('old.job'), contractOf('young.job')]);
    const seen = `${prefix}:contracts:{book}:seen`;
    await connections.commands().zincrby(seen, -30 * 86_400_000 - 1_000, 'old old.job 1');
    await connections.commands().zincrby(seen, -29 * 86_400_000, 'young young.job 1');
    await jobs.register([]);
    expect(await jobs.contracts()).toHaveLength(2);
    await jobs.register([contractOf('new.job')]);
    expect((await jobs.contracts()).map(({ name }) => name)).toEqual(['new.job', 'young.job']);
    await jobs.register(Array.from({ length: 500 }, (_item, index) => contractOf(`many.job-${index}`)));
    const names = (await jobs.contracts()).map(({ name }) => name);
    expect(names).toHaveLength(500);
    expect(names).not.toContain('young.job');
    for (const part of ['facts', 'schemas']) {
      expect(await connections.commands().hlen(`${prefix}:contracts:{book}:${part}`)).toBe(500);
    }
  });

  test('that are forgotten leave what is secret in inputs, of each version', async () => {
    const { jobs, connections, prefix } = jobsOf({ redis: { url: server.url } });
    await jobs.register([of(1, ['number']), of(2, ['card.number']), contractOf('open.job')]);
    await connections.commands().zadd(`${prefix}:contracts:{book}:seen`, 5, 'pay pay.card 1', 5, 'pay pay.card 2');
    await jobs.register([contractOf('new.job')]);
    expect((await jobs.contracts()).map(({ name }) => name)).toEqual(['new.job', 'open.job']);
    const secrets = await contractSecrets({ redis: connections, prefix });
    expect([...secrets.keys()]).toEqual(['pay.card']);
    expect(secrets.get('pay.card')?.toSorted()).toEqual(['card.number', 'number']);
    await jobs.register([of(1, [])]); // Its newest word is that nothing is.
    expect(await jobs.contractBook.secrets()).toEqual(new Map([['pay.card', ['card.number']]]));
  });

  test('that are none are refused', async () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const handler = handle(contractOf('no.contract'), async () => undefined);
    await expect(jobs.register([handler as never])).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });
});

describe('a worker', () => {
  test('tells the contracts of its handlers when it starts', async () => {
    const { jobs, connections, prefix } = jobsOf({ redis: { url: server.url } });
    const runtime = new JobsRuntime({
      connections,
      prefix,
      log: silentLogger,
      registry: createMetrics(),
      modules: {} as never,
      options: {},
      deadLetters: {},
      version: 'test',
    });
    await runtime.work({ handlers: [handle(contractOf('told.job', { secrets: ['pin'] }), async () => undefined)] });
    await eventually(async () =>
      expect(await jobs.contracts()).toMatchObject([{ name: 'told.job', secrets: ['pin'] }]),
    );
    await runtime.close();
  });

  test('tells them again once an hour; after a failure, of which it warns once, it tries each minute', async () => {
    const { connections, prefix } = jobsOf({ redis: { url: server.url } });
    const redis = connections.commands();
    const clock = createVirtualClock();
    const { log, warnings } = collectLog();
    const book = new ContractBook({ connections, prefix, log, clock });
    const seen = `${prefix}:contracts:{book}:seen`;
    await redis.set(seen, 'in the way');
    const stop = book.keep([contractOf('kept.job')]);
    await eventually(() => expect(warnings()).toHaveLength(1));
    await eventually(async () => {
      await clock.advance('1m');
      expect(await redis.type(seen)).toBe('string');
    });
    await redis.del(seen);
    await eventually(async () => {
      await clock.advance('1m');
      expect(await book.list()).toMatchObject([{ name: 'kept.job' }]);
    });
    await redis.zadd(seen, 5, 'kept kept.job 1');
    await eventually(async () => {
      await clock.advance('1h');
      expect((await book.list())[0]?.seenAt).toBeGreaterThan(5);
    });
    stop();
    await redis.zadd(seen, 5, 'kept kept.job 1');
    await clock.advance('2h');
    expect((await book.list())[0]?.seenAt).toBe(5);
    expect(warnings()).toHaveLength(1);
  });
});
