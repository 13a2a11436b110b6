/** Requests and answers: one handles each, whoever waits is told in time, and late answers go nowhere. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createMetrics } from '../../src/metrics/registry.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate, untilAborted } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedPubSub, upTo, type OwnedPubSub } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const pubsubOf = ownedPubSub();
const fresh = (options?: Parameters<typeof pubsubOf>[1]): OwnedPubSub => pubsubOf({ url: server.url }, options);

const double = defineTopic({
  name: 'double.*',
  schema: z.strictObject({ n: z.number() }),
  reply: z.strictObject({ twice: z.number() }),
  maxBytes: 200,
});

describe('a request', () => {
  test('is answered, typed, by whoever serves its topic', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const serving = other.serve(double, ({ values: [who], data }) => ({ twice: data.n * (who === 'a' ? 2 : -2) }));
    await serving.ready();
    expect(serving.isLive).toBe(true);
    expect(await pubsub.request(double.at('a'), { n: 21 })).toEqual({ twice: 42 });
    const all = await Promise.all(upTo(200).map((n) => pubsub.request(double.at('b'), { n })));
    expect(all).toEqual(upTo(200).map((n) => ({ twice: -2 * n })));
  });

  test('that two processes could answer is handled by one of them', async () => {
    const [{ pubsub }, ...others] = [fresh(), fresh(), fresh(), fresh()];
    const handled: number[] = [];
    for (const { pubsub: one } of others) {
      await one
        .serve(double, ({ data: { n } }) => {
          handled.push(n);
          return { twice: n * 2 };
        })
        .ready();
    }
    await Promise.all(upTo(100).map((n) => pubsub.request(double.at('x'), { n })));
    expect(handled.toSorted((left, right) => left - right)).toEqual(upTo(100));
  });

  test('waits for a free handler, here or in another process', async () => {
    const [{ pubsub }, { pubsub: busy }, { pubsub: idle }] = [fresh(), fresh(), fresh()];
    const { opened, open } = gate();
    let begun = 0;
    const hold = async (): Promise<{ twice: number }> => {
      begun++;
      return opened.then(() => ({ twice: 0 }));
    };
    await busy.serve(double, hold, { concurrency: 1 }).ready();
    const first = pubsub.request(double.at('x'), { n: 1 });
    await eventually(() => expect(begun).toBe(1));
    await idle.serve(double, ({ data: { n } }) => ({ twice: n })).ready();
    expect(await pubsub.request(double.at('x'), { n: 5 })).toEqual({ twice: 5 });
    open();
    expect(await first).toEqual({ twice: 0 });
    expect(begun).toBe(1);
  });

  test('that nobody serves fails at once', async () => {
    const { pubsub } = fresh();
    const { value, ms } = await timed(failureOf(pubsub.request(double.at('x'), { n: 1 }), 'NO_RESPONDER'));
    expect(value.message).toBe('double.*: nobody serves it now');
    expect(ms).toBeLessThan(2_000);
    const serving = pubsub.serve(double, () => ({ twice: 0 }));
    await serving.ready();
    await pubsub.request(double.at('x'), { n: 1 });
    await serving.close();
    await eventually(() => failureOf(pubsub.request(double.at('x'), { n: 1 }), 'NO_RESPONDER'));
    await failureOf(serving.ready(), 'CLOSED');
  });

  test('that is not answered by its deadline fails then; the handler is told, and its late answer is dropped', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const reasons: unknown[] = [];
    const { opened, open } = gate();
    await other
      .serve(double, async ({ data: { n } }, { signal }) => {
        if (n === 1) await untilAborted(signal).catch((error: unknown) => reasons.push(error));
        await opened;
        return { twice: n };
      })
      .ready();
    const { ms } = await timed(
      failureOf(pubsub.request(double.at('x'), { n: 1 }, { timeout: 300 }), 'REQUEST_TIMEOUT'),
    );
    expect(ms).toBeGreaterThanOrEqual(299);
    expect(ms).toBeLessThan(1_000);
    await eventually(() => expect(reasons).toMatchObject([{ code: 'REQUEST_TIMEOUT' }]));
    open();
    expect(await pubsub.request(double.at('x'), { n: 2 })).toEqual({ twice: 2 });
  });

  test('that nobody begins in time is not begun', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const { opened, open } = gate();
    const begun: number[] = [];
    const handler = async ({ data: { n } }: { data: { n: number } }): Promise<{ twice: number }> => {
      begun.push(n);
      await opened;
      return { twice: n };
    };
    await other.serve(double, handler, { concurrency: 1 }).ready();
    const first = pubsub.request(double.at('x'), { n: 1 });
    await eventually(() => expect(begun).toEqual([1]));
    await failureOf(pubsub.request(double.at('x'), { n: 2 }, { timeout: 100 }), 'REQUEST_TIMEOUT');
    open();
    await first;
    expect(await pubsub.request(double.at('x'), { n: 3 })).toEqual({ twice: 3 });
    expect(begun).toEqual([1, 3]);
  });

  test('whose handler throws, or answers what it may not, fails with what it said', async () => {
    const { pubsub } = fresh();
    await pubsub
      .serve(double, ({ data: { n } }) => {
        if (n === 1) throw Object.assign(new TypeError('no such number'), { code: 'E_NUMBER' });
        return (n === 2 ? { twice: 'two' } : { twice: 1, filler: 'x'.repeat(300) }) as never;
      })
      .ready();
    const error = await failureOf(pubsub.request(double.at('x'), { n: 1 }), 'REQUEST_FAILED');
    expect(error.message).toBe('double.*: its handler failed: no such number');
    expect(error.facts).toMatchObject({ handlerError: 'TypeError', handlerCode: 'E_NUMBER', topic: 'double.*' });
    const wrong = await failureOf(pubsub.request(double.at('x'), { n: 2 }), 'REQUEST_FAILED');
    expect(wrong.facts).toMatchObject({ handlerCode: 'INPUT_INVALID' });
    await failureOf(pubsub.request(double.at('x'), { n: 3 }), 'REQUEST_FAILED');
    await failureOf(pubsub.request(double.at('x'), { n: 'x' as never }), 'INPUT_INVALID');
  });

  test('ends with its signal, and with stop()', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const serving = other.serve(double, (_request, { signal }) => untilAborted(signal));
    await serving.ready();
    const ending = new AbortController();
    const reason = new Error('not wanted any more');
    const aborted = pubsub.request(double.at('x'), { n: 1 }, { signal: ending.signal });
    const stopped = failureOf(pubsub.request(double.at('x'), { n: 2 }), 'CLOSED');
    ending.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await expect(pubsub.request(double.at('x'), { n: 1 }, { signal: ending.signal })).rejects.toBe(reason);
    await pubsub.stop();
    await stopped;
    await failureOf(pubsub.request(double.at('x'), { n: 1 }), 'CLOSED');
  });

  test('that cannot be sent says why', async () => {
    const proxy = own(await startProxy(server.port));
    const { pubsub } = pubsubOf({ url: proxy.url }, { deadline: '200ms' });
    await failureOf(pubsub.request(double.at('x'), { n: 1 }), 'NO_RESPONDER');
    proxy.freeze();
    await failureOf(pubsub.request(double.at('x'), { n: 1 }), 'REDIS_TIMEOUT');
    await failureOf(pubsub.publish(double.at('x'), { n: 1 }), 'REDIS_TIMEOUT');
    const { pubsub: deaf } = pubsubOf({ url: proxy.url });
    const error = await failureOf(deaf.request(double.at('x'), { n: 1 }, { timeout: 100 }), 'REQUEST_TIMEOUT');
    expect(error.message).toContain('not sent within 100 ms');
    expect(error.facts).toMatchObject({ isSent: false });
  });
});

test('what is no request, no answer, or an answer to nobody changes nothing', async () => {
  const metrics = createMetrics();
  const { pubsub, connections } = fresh({ metrics });
  await pubsub.serve(double, ({ data: { n } }) => ({ twice: n })).ready();
  await pubsub.request(double.at('x'), { n: 1 });
  const redis = connections.commands();
  const inboxes = (await redis.pubsub('CHANNELS', '*inbox')) as string[];
  expect(inboxes).toHaveLength(1);
  for (const text of ['', '\n\n', 'x\nok\n{}', '{', `${'x'.repeat(10_000)}\nok\n1`]) {
    await redis.publish(inboxes[0] ?? '', text);
    await redis.publish('millrace:pubsub:{double.*}:requests', text);
    await redis.publish('millrace:pubsub:{double.*}:requests', `double.x\n- - -\n${text}`);
  }
  const lost = '{"i":"lost","o":"no}such{process","t":1,"w":1000}';
  await redis.publish('millrace:pubsub:{double.*}:requests', `double.x\n- - -\n${lost}\n{"n":1}`);
  expect(await pubsub.request(double.at('x'), { n: 3 })).toEqual({ twice: 3 });
  const told = await metrics.render();
  expect(told).toContain('millrace_pubsub_requests_total{topic="double.*",outcome="answered"} 2');
  expect(told).toContain('millrace_pubsub_request_seconds_count{topic="double.*"} 2');
});
