/** What run() does with its members: all of them start or none, and stop() ends within its bound. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { MillraceError } from '../../src/errors.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import type { Host, Member, Running } from '../../src/streams/member.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { createScene, failureOf, many, notes } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const scene = () => createScene(own, { url: server.url });

/** A member that notes what is done with it. */
function member(name: string, more: Partial<Running> & { start?: (host: Host) => Promise<void> } = {}) {
  const did: string[] = [];
  const { start = async () => undefined, ...running } = more;
  const definition: Member = {
    kind: 'thing',
    name,
    async start(host) {
      did.push('start');
      await start(host);
      return {
        active: 2,
        ready: () => undefined,
        pause: () => did.push('pause'),
        resume: () => did.push('resume'),
        stop: async (withinMs) => void did.push(withinMs > 0 ? 'stop' : 'stop at once'),
        ...running,
      };
    },
  };
  return { definition, did };
}

test('members are started with what the process lends them, and stopped once', async () => {
  const { streams, connections, prefix } = scene();
  let lent: Host | undefined;
  const [one, two] = [member('one', { start: async (host) => void (lent = host) }), member('two')];
  const worker = await streams.run([one.definition, two.definition]);
  expect(lent).toMatchObject({ connections, prefix, modules: {} });
  expect([worker.active, worker.members.length, worker.consumers, worker.ready()]).toEqual([4, 2, [], undefined]);
  worker.pause();
  worker.resume();
  await Promise.all([worker.stop(), worker.stop(), streams.stop()]);
  expect(one.did).toEqual(['start', 'pause', 'resume', 'stop']);
  expect(two.did).toEqual(one.did);
  expect(worker.ready()).toBe('draining');
  expect(await failureOf(streams.run([one.definition]))).toMatchObject({ code: 'CLOSED' });
});

test('when one cannot start, those that have are stopped', async () => {
  const { streams } = scene();
  const refusal = new MillraceError('REDIS_FORBIDDEN', 'no', {});
  const [one, two] = [member('one'), member('two', { start: () => Promise.reject(refusal) })];
  await expect(streams.run([one.definition, two.definition])).rejects.toBe(refusal);
  expect(one.did).toEqual(['start', 'stop']);
});

test('why they cannot work now is told by name', async () => {
  const { streams } = scene();
  const worker = await streams.run([member('one', { ready: () => 'no lease' }).definition, member('two').definition]);
  expect(worker.ready()).toBe('thing one: no lease');
});

test('stop() while a member starts stops it once it has started', async () => {
  const { streams } = scene();
  const starting = gate();
  const slow = member('slow', { start: () => starting.opened });
  const running = streams.run([slow.definition]);
  const stopping = streams.stop();
  starting.open();
  await Promise.all([running, stopping]);
  expect(slow.did).toEqual(['start', 'stop']);
});

test('stop() while Redis was never there ends at once, and says nothing of it', async () => {
  const lines = collectLog();
  const redis = { url: `redis://127.0.0.1:${await freePort()}` };
  const { streams } = createScene(own, redis, { log: lines.log });
  const running = streams.run([consume(notes(), { group: 'g' }, () => undefined)]);
  await systemClock.sleep(100); // It waits for Redis.
  const { ms } = await timed(streams.stop());
  expect(ms).toBeLessThan(1_000);
  expect((await running).ready()).toBe('draining');
  expect(lines.warnings().filter(({ msg }) => msg.includes('could not be stopped'))).toEqual([]);
});

test('a member that never stops is not waited for', async () => {
  const { streams } = scene();
  const never = member('never', { stop: () => new Promise(() => undefined) });
  const worker = await streams.run([never.definition], { drainFor: 50 });
  const startMs = systemClock.monotonicMs();
  await worker.stop();
  expect(systemClock.monotonicMs() - startMs).toBeLessThan(4_000);
});

test.each([
  ['no list', undefined, {}, 'consumers: expected what consume() and its like give'],
  ['what is no member', [{ name: 'x' }], {}, 'got {"name":"x"}'],
  ['the same one twice', 'twice', {}, 'thing one is there twice'],
  ['a duration that no timer takes', [], { drainFor: '25d' }, 'drainFor: expected at most 24 days'],
  ['a duration that is none', [], { drainFor: 'soon' }, 'drainFor: expected a number'],
])('%s is refused', async (_what, members, options, says) => {
  const { streams } = scene();
  const given = members === 'twice' ? [member('one').definition, member('one').definition] : members;
  const failure = await failureOf(streams.run(given as never, options as never));
  expect(failure.code).toBe('OPTIONS_INVALID');
  expect(failure.message).toContain(says);
});

test('consumers of two groups of one stream run side by side', async () => {
  const { streams } = scene();
  const contract = notes({ groups: ['billing', 'search'] });
  const seen: Record<string, number[]> = { billing: [], search: [] };
  const worker = await streams.run(
    ['billing', 'search'].map((group) => consume(contract, { group }, ({ n }) => void seen[group]?.push(n))),
  );
  await streams.publishMany(contract, many(20));
  await eventually(() => expect([seen['billing']?.length, seen['search']?.length]).toEqual([20, 20]));
  expect(worker.consumers.map(({ stream, group }) => [stream, group])).toEqual([
    [contract.name, 'billing'],
    [contract.name, 'search'],
  ]);
  expect(worker.ready()).toBeUndefined();
  await worker.stop();
  await eventually(async () => {
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 0, pending: 0 });
  });
});
