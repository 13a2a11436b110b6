/** A handler that blocks the event loop: fetching stops until it is calm, and the block is logged with its length. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

function blockFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state), 20_000);
const contract = contractOf('block.loop');
const handlers = [
  handle(contract, ({ ms, waits }) => {
    blockFor(Number(ms));
    if (waits) return new Promise((resolve) => setTimeout(resolve, 500));
    return undefined;
  }),
];

test('a block that endangers leases stops the fetching, is logged with its length, and fetching comes back', async () => {
  const lines = collectLog();
  const all = jobsOf({ redis: { url: server.url }, log: lines.log });
  const worker = all.work({ lease: '2s', handlers });
  const { id } = await all.jobs.enqueue(contract, { ms: 1_000 });
  await isIn(all, id, 'completed');
  await eventually(async () => expect(await worker.ready()).toBe('queue block takes no jobs for now'));
  const told = lines.warnings().map(({ msg }) => msg);
  expect(told[0]).toMatch(/^the event loop was blocked for (?:\d+ ms|1(?:\.\d)? s)$/);
  expect(Number(lines.warnings()[0]?.['blockedMs'])).toBeGreaterThan(900);
  expect(told[1]).toContain('no more jobs are taken until the event loop is calm');
  // One may have been asked for already, when the block began.
  const [, second] = await all.jobs.enqueueMany(contract, [{ ms: 0 }, { ms: 0 }]);
  await isIn(all, second?.id ?? '', 'completed');
  expect(await worker.ready()).toBeUndefined();
});

test('a short block is logged and stops nothing', async () => {
  const lines = collectLog();
  const all = jobsOf({ redis: { url: server.url }, log: lines.log });
  const worker = all.work({ lease: '30s', handlers });
  const { id } = await all.jobs.enqueue(contract, { ms: 800 });
  await isIn(all, id, 'completed');
  await eventually(() => expect(lines.warnings()).toHaveLength(1));
  expect(lines.warnings()[0]?.msg).toContain('the event loop was blocked for');
  expect(await worker.ready()).toBeUndefined();
});

test('a worker that stops while it keeps calm stays stopped', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  const worker = all.work({ lease: '2s', handlers });
  const { id } = await all.jobs.enqueue(contract, { ms: 1_000, waits: true });
  await eventually(async () => expect(await worker.ready()).toBe('queue block takes no jobs for now'), 20_000);
  await worker.stop();
  await isIn(all, id, 'completed');
  expect(await worker.ready()).toBe('draining');
});
