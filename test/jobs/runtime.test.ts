/** The jobs of a process as a whole: how they drain and close. */
import { Worker } from 'bullmq';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { handle } from '../../src/jobs/handler.ts';
import { schedule } from '../../src/jobs/schedules/schedule.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate, untilAborted } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { ownedRuntimes } from '../support/runtimes.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const runtimeOf = ownedRuntimes();
const contract = contractOf('whole.job', { attempts: 1 });
afterEach(() => {
  vi.restoreAllMocks();
});

const everySecond = schedule(contract, {}, { cron: '* * * * * *' });

describe('close()', () => {
  test('while work() writes its schedules ends that too: nothing begins any more', async () => {
    const server = own(await startRedis());
    const { runtime, connections } = runtimeOf({ url: server.url });
    await connections.commands().ping();
    let ran = 0;
    const working = failureOf(
      runtime.work({ handlers: [handle(contract, () => void ran++)], schedules: [everySecond] }),
      'CLOSED',
    );
    await runtime.close();
    await working;
    expect(await runtime.alive()).toBeUndefined();
    expect(ran).toBe(0);
  });

  test('keeps to drainFor on a server that is frozen, with schedules and jobs that run', async () => {
    const server = own(await startRedis());
    const { runtime } = runtimeOf({ url: server.url });
    let running = 0;
    await runtime.work({
      drainFor: '2s',
      handlers: [
        handle(contract, async (_input, { signal }) => {
          running++;
          await untilAborted(signal);
        }),
      ],
      schedules: [everySecond],
    });
    await runtime.jobs.enqueueMany(
      contract,
      Array.from({ length: 5 }, () => ({})),
    );
    await eventually(() => expect(running).toBeGreaterThan(4));
    server.freeze();
    const { ms } = await timed(runtime.close());
    expect(ms).toBeLessThan(2_600);
    server.thaw();
  });
});

test('drain() ends the workers, and leaves the rest to be used', async () => {
  const server = own(await startRedis());
  const { runtime } = runtimeOf({ url: server.url });
  const { opened, open } = gate();
  const handlers = [handle(contract, () => opened)];
  const worker = await runtime.work({ handlers, schedules: [schedule(contract, {}, { every: '1d' })] });
  const { id } = await runtime.jobs.enqueue(contract, {});
  await eventually(() => expect(worker.active).toBe(1));
  const drained = runtime.drain();
  expect(runtime.drain()).toBe(drained);
  open();
  await drained;
  expect((await runtime.jobs.get(id))?.state).toBe('completed');
  const { id: next } = await runtime.jobs.enqueue(contract, {});
  expect(await runtime.jobs.cancel(next)).toEqual({ status: 'cancelled' });
  expect(await runtime.deadLetters.count()).toBe(0);
  expect(await runtime.schedules.list()).toHaveLength(1);
  await failureOf(runtime.work({ handlers }), 'CLOSED');
});

test('a silent worker is told of once', async () => {
  const server = own(await startRedis());
  const { runtime } = runtimeOf({ url: server.url });
  const told: string[] = [];
  vi.spyOn(Worker.prototype, 'run').mockResolvedValue(undefined); // No worker ever runs.
  await runtime.work({
    silentFor: '200ms',
    onSilent: (reason) => told.push(reason),
    handlers: [handle(contract, () => undefined)],
  });
  await runtime.jobs.enqueue(contract, {});
  await eventually(() => expect(told).not.toEqual([]));
  expect(told).toHaveLength(1);
});
