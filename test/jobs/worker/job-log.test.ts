/** A handler's log and progress: in the worker's log, and kept with the job under a cap. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { KeptLog } from '../../../src/jobs/worker/job-log.ts';
import { Progress } from '../../../src/jobs/worker/progress.ts';
import { silentLogger } from '../../../src/log.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { ownedJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('the log of a job', () => {
  test('goes to the log of the worker with the id of the job, and is kept with the job', async () => {
    const lines = collectLog();
    const { jobs, work } = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('log.write', { attempts: 2 });
    work({
      handlers: [
        handle(contract, (_input, { log, job }) => {
          log.debug('not kept');
          log.info({ to: 'a@b.c', cause: new Error('inner'), big: 7n }, 'sent');
          log.error(new Error('broken'));
          if (job.attempt === 1) throw new Error('again');
        }),
      ],
    });
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    const said = lines.all().filter(({ jobId, msg }) => jobId === id && ['not kept', 'sent', 'broken'].includes(msg));
    expect(said).toHaveLength(6);
    expect(said[1]).toMatchObject({ jobId: id, job: 'log.write', queue: 'log', attempt: 1, to: 'a@b.c', level: 30 });
    const info = await jobs.get(id);
    expect(info?.log).toHaveLength(4);
    expect(info?.log[0]).toMatch(/^\d{4}-.*Z info sent \{"to":"a@b.c","cause":"inner","big":"7"\}$/);
    expect(info?.log[1]).toMatch(/ error Error: broken/);
    expect(info?.history[0]?.log).toEqual([info?.log[0], expect.stringContaining('Error: broken')]);
  });

  test('is kept while the handler still runs', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('log.early');
    const { opened, open } = gate();
    work({
      handlers: [
        handle(contract, async (_input, { log }) => {
          log.info('begun');
          await opened;
        }),
      ],
    });
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect((await jobs.get(id))?.log).toHaveLength(1));
    expect((await jobs.get(id))?.state).toBe('active');
    open();
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
  });

  test('keeps the first lines of an attempt and says that there were more; its record has the last ones', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('log.flood', { attempts: 1 });
    work({
      handlers: [
        handle(contract, (_input, { log }) => {
          for (let line = 1; line <= 1_000; line++) log.info(`line ${line} ${'x'.repeat(600)}`);
          throw new Error('boom');
        }),
      ],
    });
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('failed'));
    const info = await jobs.get(id);
    expect(info?.log).toHaveLength(201);
    expect(info?.log[199]).toContain('info line 200 ');
    expect(info?.log[200]).toContain('only the first 200 lines of an attempt are kept');
    expect(Math.max(...(info?.log ?? []).map(({ length }) => length))).toBe(500);
    expect(info?.history[0]?.log).toHaveLength(20);
    expect(info?.history[0]?.log.at(-1)).toContain('info line 1000 ');
  });

  test('of a job that is removed on completion leaves nothing behind, and the line that was said last still reaches the worker', async () => {
    const lines = collectLog();
    const { jobs, work } = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('log.gone', { retention: { count: 0 } });
    const { opened, open } = gate();
    const late = gate();
    work({
      handlers: [
        handle(contract, (_input, { log, progress }) => {
          log.info('in time');
          void (async () => {
            await opened;
            log.info('too late');
            progress(99);
            late.open();
          })();
        }),
      ],
    });
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect(await jobs.get(id)).toBeUndefined());
    open();
    await late.opened;
    expect(
      lines
        .all()
        .filter(({ jobId }) => jobId === id)
        .map(({ msg }) => msg),
    ).toContain('too late');
    const keys = await server.ask((redis) => redis.keys(`*${id}*`));
    expect(keys).toEqual([]);
  });

  test('takes fields that have no JSON form', () => {
    const kept = new KeptLog(
      () => silentLogger,
      systemClock,
      () => undefined,
    );
    const ring: Record<string, unknown> = {};
    ring['ring'] = ring;
    kept.warn(ring, 'odd');
    kept.warn(undefined as never);
    expect(kept.take()).toEqual([
      expect.stringMatching(/ warn odd \[fields that have no JSON form\]$/),
      expect.stringMatching(/ warn $/),
    ]);
    expect(kept.take()).toEqual([]);
  });
});

describe('the progress of a job', () => {
  test('is written a few times a second, the last one always', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('progress.often');
    work({
      handlers: [
        handle(contract, async (_input, { progress }) => {
          for (let step = 1; step <= 1_000; step++) {
            progress(step);
            if (step % 100 === 0) await systemClock.sleep(20);
          }
          progress({ done: true });
        }),
      ],
    });
    const before = await progressEvents();
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect((await jobs.get(id))?.progress).toEqual({ done: true });
    expect((await progressEvents()) - before).toBeLessThan(20);
  });

  test('does not pile up behind a write that hangs', async () => {
    const written: Array<number | object> = [];
    const first = gate();
    const progress = new Progress(
      async (value) => {
        written.push(value);
        if (written.length === 1) await first.opened;
      },
      { ...systemClock, monotonicMs: () => written.length * 1_000 },
    );
    for (let step = 1; step <= 50; step++) progress.set(step);
    expect(written).toEqual([1]);
    first.open();
    await progress.close();
    expect(written).toEqual([1, 50]);
    progress.set(51);
    await progress.close();
    expect(written).toEqual([1, 50]);
  });
});

/** Progress events of all queues. */
async function progressEvents(): Promise<number> {
  return server.ask(async (redis) => {
    const streams = await redis.keys('*:progress:events');
    const events = await Promise.all(streams.map((stream) => redis.xrange(stream, '-', '+')));
    return events.flat().filter(([, fields]) => fields.includes('progress')).length;
  });
}
