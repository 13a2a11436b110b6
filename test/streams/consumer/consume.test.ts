/** A consumer of entries one by one: what it is given, how often, and what becomes of it. */
import { runInNewContext } from 'node:vm';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { MillraceError } from '../../../src/errors.ts';
import { postpone, unrecoverable } from '../../../src/jobs/handler.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { consume, consumeBatch } from '../../../src/streams/consumer/consume.ts';
import { defineStream } from '../../../src/streams/contract.ts';
import type { EntryFacts } from '../../../src/streams/context.ts';
import { eventually } from '../../support/eventually.ts';
import { gate, never, untilAborted } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { add, anyStream, consumers, groupKeys, ownedProcesses, pending, QUICK } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
let server: TestServer;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const stream = anyStream();

function onServer(keys = groupKeys()) {
  return { redis: { url: server.url }, keys };
}

describe('what is given', () => {
  test('entries that were there before the group, and those that come, each once', async () => {
    const on = onServer();
    await add(redis, on.keys, 1, 2);
    const seen: unknown[] = [];
    await start([consume(stream, QUICK, (data) => void seen.push(data))], on);
    await eventually(() => expect(seen).toEqual([1, 2]));
    await add(redis, on.keys, 3);
    await eventually(() => expect(seen).toEqual([1, 2, 3]));
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
  });

  test('a group that begins at $ is given what comes after it', async () => {
    const on = onServer();
    await add(redis, on.keys, 1);
    const seen: unknown[] = [];
    await start([consume(stream, { ...QUICK, startAt: '$' }, (data) => void seen.push(data))], on);
    await add(redis, on.keys, 2);
    await eventually(() => expect(seen).toEqual([2]));
  });

  test('facts, a log, a signal and the modules, also when they are taken apart', async () => {
    const on = onServer();
    const id = await redis.xadd(on.keys.entries, '*', 'data', '{"n":"7"}', 'headers', '{"trace":"t1"}');
    const typed = defineStream({ name: 's', schema: z.object({ n: z.coerce.number() }) });
    const { opened, open } = gate<{ data: { n: number }; entry: EntryFacts; rest: unknown }>();
    const definition = consume(typed, QUICK, (data, { entry, signal, log, ...rest }) => {
      log.info('here');
      open({ data, entry, rest: { aborted: signal.aborted, ...rest } });
    });
    const { lines } = await start([definition], on);
    const { data, entry } = await opened;
    expect(data).toEqual({ n: 7 });
    expect(entry).toMatchObject({
      id,
      stream: 's',
      group: 'g',
      attempt: 1,
      attempts: 5,
      redriven: 0,
      headers: { trace: 't1' },
    });
    expect(entry.publishedAt).toBe(Number.parseInt(String(id), 10));
    expect(lines.told().find(({ msg }) => msg === 'here')).toMatchObject({ entry: id, stream: 's' });
  });

  test('several consumers share the entries; each is one’s only', async () => {
    const on = onServer();
    const seen: Array<[who: string, data: unknown]> = [];
    const { opened: bothHave, open } = gate();
    const of = (who: string) =>
      consume(stream, { ...QUICK, concurrency: 2, prefetch: 4 }, async (data) => {
        seen.push([who, data]);
        if (new Set(seen.map(([each]) => each)).size === 2) open();
        await bothHave;
      });
    await start([of('a')], on);
    await start([of('b')], on);
    await add(redis, on.keys, ...Array.from({ length: 100 }, (_, n) => n));
    await eventually(() => expect(seen).toHaveLength(100));
    expect(new Set(seen.map(([, data]) => data)).size).toBe(100);
  });

  test('what is for another group is acknowledged unseen, and what was redriven for this one has its first id', async () => {
    const on = onServer();
    const seen: EntryFacts[] = [];
    await redis.xadd(on.keys.entries, '*', 'data', '1', 'only', 'other', 'origin', '1-1', 'redriven', '1');
    await redis.xadd(on.keys.entries, '*', 'data', '2', 'only', 'g', 'origin', '5-1', 'redriven', '2');
    await start([consume(stream, QUICK, (_data, { entry }) => void seen.push(entry))], on);
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
    await eventually(() => expect(seen).toMatchObject([{ id: '5-1', redriven: 2, publishedAt: 5 }]));
  });

  test('never more at once than it has slots, and never fewer while entries wait', async () => {
    const on = onServer();
    const gates = Array.from({ length: 9 }, () => gate());
    let running = 0;
    const begun: number[] = [];
    const { consumer } = await start(
      [
        consume(stream, { ...QUICK, concurrency: 3 }, async (data) => {
          begun.push(data as number);
          running++;
          await gates[data as number]?.opened;
          running--;
        }),
      ],
      on,
    );
    await add(redis, on.keys, ...gates.keys());
    for (const [at, { open }] of gates.entries()) {
      await eventually(() => expect(begun).toHaveLength(Math.min(at + 3, 9)));
      expect(running).toBe(Math.min(3, 9 - at));
      expect(consumer.active).toBe(running);
      open();
    }
    await eventually(() => expect(consumer.inFlight).toBe(0));
  });
});

describe('an entry that fails', () => {
  test('is tried again after its wait while others go on, and leaves nothing behind', async () => {
    const on = onServer();
    const seen: Array<[data: unknown, attempt: number]> = [];
    const run = (data: unknown, { entry }: { entry: EntryFacts }): void => {
      seen.push([data, entry.attempt]);
      if (data === 'bad' && entry.attempt < 3) throw new Error('no');
    };
    await start([consume(stream, { ...QUICK, concurrency: 1, backoff: '100ms' }, run)], on);
    await add(redis, on.keys, 'bad', 'a', 'b');
    await eventually(() => expect(seen).toHaveLength(5));
    expect(seen).toEqual([
      ['bad', 1],
      ['a', 1],
      ['b', 1],
      ['bad', 2],
      ['bad', 3],
    ]);
    await eventually(async () => {
      expect(await pending(redis, on.keys)).toEqual({});
      expect(await redis.exists(on.keys.attempts, on.keys.retries)).toBe(0);
    });
  });

  test.each([
    ['its attempts', 'attempts', 3, () => new Error('no')],
    ['a handler that says so', 'unrecoverable', 1, () => unrecoverable('gone')],
  ] as const)('is a dead letter after %s', async (_why, reason, made, error) => {
    const on = onServer();
    const id = await redis.xadd(on.keys.entries, '*', 'data', '{"n":1}', 'headers', '{"a":"b"}', 'key', 'k1');
    let calls = 0;
    const { lines } = await start(
      [
        consume(stream, { ...QUICK, attempts: 3, backoff: 1 }, () => {
          calls++;
          throw error();
        }),
      ],
      on,
    );
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
    const [[, fields] = ['', []]] = await redis.xrange(on.keys.dead, '-', '+');
    const letter = Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1]]] : [])));
    expect(letter).toMatchObject({ id, entry: id, data: '{"n":1}', headers: '{"a":"b"}', key: 'k1', reason });
    expect(Number(letter['attempts'])).toBe(made);
    expect(JSON.parse(letter['error'] ?? '')).toMatchObject({ message: made === 3 ? 'no' : 'gone' });
    expect(letter['fingerprint']).toMatch(/^[\da-f]{16}$/);
    expect(calls).toBe(made);
    expect(await pending(redis, on.keys)).toEqual({});
    expect(lines.warnings().at(-1)).toMatchObject({ reason, msg: 'an entry is a dead letter now' });
  });

  test('because it is not what the schema wants is a dead letter at once, and no handler sees it', async () => {
    const on = onServer();
    const typed = defineStream({ name: 's', schema: z.object({ n: z.number() }) });
    const seen: unknown[] = [];
    await redis.xadd(on.keys.entries, '*', 'data', '{"n":"x"}');
    await redis.xadd(on.keys.entries, '*', 'data', 'no json');
    await redis.xadd(on.keys.entries, '*', 'foreign', 'field');
    await redis.xadd(on.keys.entries, '*', 'data', '{"n":1}');
    await start([consume(typed, QUICK, (data) => void seen.push(data))], on);
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(3));
    await eventually(() => expect(seen).toEqual([{ n: 1 }]));
    const letters = await redis.xrange(on.keys.dead, '-', '+');
    expect(letters.map(([, fields]) => fields[fields.indexOf('reason') + 1])).toEqual(['input', 'input', 'input']);
  });

  test('because it asks to come later uses up no attempt', async () => {
    const on = onServer();
    const attempts: number[] = [];
    await start(
      [
        consume(stream, { ...QUICK, attempts: 1 }, (_data, { entry }) => {
          attempts.push(entry.attempt);
          if (attempts.length < 4) throw postpone(10);
        }),
      ],
      on,
    );
    await add(redis, on.keys, 1);
    await eventually(() => expect(attempts).toEqual([1, 1, 1, 1]));
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
    expect(await redis.exists(on.keys.dead, on.keys.attempts)).toBe(0);
  });

  test('a schema that answers with a promise is waited for', async () => {
    const on = onServer();
    const slow = defineStream({ name: 's', schema: z.number().refine(async (n) => n > 1) });
    const seen: unknown[] = [];
    await start([consume(slow, QUICK, (data) => void seen.push(data))], on);
    await add(redis, on.keys, 1, 2);
    await eventually(() => expect(seen).toEqual([2]));
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
  });
});

describe('a handler that takes too long', () => {
  test('is told by its signal, and its entry is tried again when it gives up', async () => {
    const on = onServer();
    const reasons: unknown[] = [];
    let calls = 0;
    await start(
      [
        consume(stream, { ...QUICK, timeout: '60ms' }, async (_data, { signal }) => {
          if (++calls > 1) return;
          await untilAborted(signal).catch((error: unknown) => {
            reasons.push((error as { code: string }).code);
            throw error;
          });
        }),
      ],
      on,
    );
    await add(redis, on.keys, 1);
    await eventually(() => expect(calls).toBe(2));
    expect(reasons).toEqual(['JOB_TIMEOUT']);
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
  });

  test('and never ends loses its slot after the grace, and the others go on', async () => {
    const on = onServer();
    const seen: unknown[] = [];
    await start(
      [
        consume(stream, { ...QUICK, concurrency: 1, timeout: '50ms', attempts: 2 }, (data) => {
          seen.push(data);
          return data === 'hang' ? never() : undefined;
        }),
      ],
      on,
    );
    await add(redis, on.keys, 'hang', 'after');
    await eventually(() => expect(seen).toContain('after'));
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
    expect(seen.filter((data) => data === 'hang')).toHaveLength(2);
  });

  test('is not given to another consumer meanwhile, however long it takes', async () => {
    const on = onServer();
    const { opened, open } = gate();
    const calls: string[] = [];
    const of = (who: string) =>
      consume(stream, { ...QUICK, lease: '500ms' }, async () => {
        calls.push(who);
        await opened;
      });
    await start([of('a')], on);
    await add(redis, on.keys, 1);
    await eventually(() => expect(calls).toEqual(['a']));
    await start([of('b')], on);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(calls).toEqual(['a']);
    open();
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
  });
});

test('entries are counted by how they ended, and handlers timed', async () => {
  const on = onServer();
  const metrics = createMetrics();
  const definition = consume(stream, { ...QUICK, attempts: 2 }, (data) => {
    if (data === 'bad') throw new Error('no');
  });
  await start([definition], { ...on, metrics });
  await add(redis, on.keys, 'a', 'b', 'bad');
  const dead = 'millrace_streams_entries_total{stream="s",group="g",outcome="dead"} 1';
  const text = await eventually(async () => {
    const rendered = await metrics.render();
    expect(rendered).toContain(dead);
    return rendered;
  });
  expect(text).toContain('millrace_streams_entries_total{stream="s",group="g",outcome="done"} 2');
  expect(text).toContain('millrace_streams_entries_total{stream="s",group="g",outcome="retried"} 1');
  expect(text).toContain('millrace_streams_handler_seconds_count{stream="s",group="g"} 4');
});

test('what is skipped or was deleted is not counted as done, and after its stop it has nothing in flight', async () => {
  const on = onServer();
  const metrics = createMetrics();
  const hold = gate();
  const definition = consume(stream, { ...QUICK, lease: '500ms' }, () => hold.opened);
  const { consumer } = await start([definition], { ...on, metrics });
  await redis.hset(on.keys.attempts, '7-1', '1 0');
  await redis.xadd(on.keys.entries, '7-1', 'data', '1', 'only', 'other', 'origin', '1-1', 'redriven', '1');
  await add(redis, on.keys, 'held');
  const inFlight = 'millrace_streams_in_flight{stream="s",group="g"}';
  await eventually(async () => expect(await metrics.render()).toContain(`${inFlight} 1`));
  hold.open();
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
  await consumer.stop(1_000);
  const text = await metrics.render();
  expect(text).toContain('millrace_streams_entries_total{stream="s",group="g",outcome="skipped"} 1');
  expect(text).toContain('millrace_streams_entries_total{stream="s",group="g",outcome="done"} 1');
  expect(text).toContain(`${inFlight} 0`);
  expect(await redis.exists(on.keys.attempts)).toBe(0);
});

test('a schema that answers with a promise of another realm is waited for', async () => {
  const on = onServer();
  const Foreign = runInNewContext('Promise') as PromiseConstructor;
  const validate = (value: unknown) =>
    Foreign.resolve(value === 'bad' ? { issues: [{ message: 'no' }] } : { value: `parsed ${String(value)}` });
  const foreign = defineStream({
    name: 's',
    schema: { '~standard': { version: 1, vendor: 'test', validate } } as never,
  });
  const seen: unknown[] = [];
  await start([consume(foreign, QUICK, (data) => void seen.push(data))], on);
  await add(redis, on.keys, 'bad', 'good');
  await eventually(() => expect(seen).toEqual(['parsed good']));
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
});

test('a postponement by no duration is a failed attempt', async () => {
  const on = onServer();
  const attempts: number[] = [];
  const definition = consume(stream, { ...QUICK, lease: '60s' }, (_data, { entry }) => {
    attempts.push(entry.attempt);
    if (entry.attempt < 3) throw new MillraceError('JOB_POSTPONED', 'later', { delayMs: 'soon' });
  });
  await start([definition], on);
  await add(redis, on.keys, 1);
  await eventually(() => expect(attempts).toEqual([1, 2, 3]));
});

test('what is longer than any timer is refused', () => {
  const says = 'expected at most 24 days';
  expect(() => consume(stream, { group: 'g', grace: '25d' }, never)).toThrow(`grace: ${says}`);
  expect(() => consumeBatch(stream, { group: 'g', batch: { within: '25d' } }, never)).toThrow(`within: ${says}`);
});

test('two that stop at once leave no consumer behind', async () => {
  const on = onServer();
  let seen = 0;
  const definition = consume(stream, QUICK, () => void seen++);
  const { running } = await start([definition, definition], on);
  await add(redis, on.keys, 1, 2, 3);
  await eventually(async () => expect([seen, await pending(redis, on.keys)]).toEqual([3, {}]));
  await Promise.all(running.map((consumer) => consumer.stop(1_000)));
  expect(await consumers(redis, on.keys)).toEqual([]);
  expect(await redis.exists(on.keys.members)).toBe(0);
});

test('a handler that is quicker than its acknowledgements is not left without entries', async () => {
  const on = onServer();
  const seen: unknown[] = [];
  await start([consume(stream, { ...QUICK, lease: '60s', prefetch: 5 }, (data) => void seen.push(data))], on);
  await add(redis, on.keys, ...Array.from({ length: 3_000 }, (_, n) => n));
  await eventually(() => expect(seen).toHaveLength(3_000));
});

test('a retry is not missed though its put-back takes longer than its wait', async () => {
  const on = onServer();
  const attempts: number[] = [];
  await redis.script('FLUSH');
  const definition = consume(stream, { ...QUICK, lease: '60s', backoff: 0 }, (_data, { entry }) => {
    attempts.push(entry.attempt);
    if (entry.attempt < 5) throw new Error('no');
  });
  await start([definition], on);
  await add(redis, on.keys, 1);
  await eventually(() => expect(attempts).toEqual([1, 2, 3, 4, 5]));
});
