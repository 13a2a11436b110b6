/** Enqueueing on each topology. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle, type ChildResults } from '../../src/jobs/handler.ts';
import type { Topology } from '../../src/redis/address.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startForFile } from './topologies.ts';

const input = z.object({ to: z.string() });
const mail = defineJob({ name: 'mail.send', input, output: z.string() });
const bulk = defineJob({ name: 'mail.bulk', queue: 'mail.bulk', input });
const invoice = defineJob({ name: 'invoice.print', input });
const newest = defineJob({ name: 'mail.newest', input, unique: { key: ({ to }) => to, onConflict: 'replace' } });
const moved = defineJob({ name: 'mail.moved', input, unique: { key: ({ to }) => to, onConflict: 'reschedule' } });

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const jobsOf = ownedJobs();

  test('a job is enqueued, found, counted, cancelled', async () => {
    const { jobs } = jobsOf({ redis: topologyOf().redis });
    const { id, status } = await jobs.enqueue(mail, { to: 'a' });
    expect(status).toBe('added');
    await jobs.enqueue(invoice, { to: 'a' }, { delay: '1h' });
    expect(await jobs.get(id)).toMatchObject({ state: 'waiting', input: { to: 'a' } });
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 1 });
    expect(await jobs.queues()).toEqual(['invoice', 'mail']);
    expect(await jobs.cancel(id)).toEqual({ status: 'cancelled' });
    expect(await jobs.get(id)).toMatchObject({ state: 'cancelled' });
  });

  test('keys are kept: duplicate, replaced, rescheduled', async () => {
    const { jobs } = jobsOf({ redis: topologyOf().redis });
    const statuses: string[] = [];
    for (const contract of [newest, moved]) {
      for (let round = 0; round < 2; round++) {
        statuses.push((await jobs.enqueue(contract, { to: 'a' }, { delay: '1h' })).status);
      }
    }
    for (let round = 0; round < 2; round++) {
      statuses.push((await jobs.enqueue(mail, { to: 'a' }, { idempotencyKey: 'a' })).status);
    }
    expect(statuses).toEqual(['added', 'replaced', 'added', 'rescheduled', 'added', 'duplicate']);
  });

  test('jobs are searched in all queues with their secrets masked, and run now', async () => {
    const { jobs } = jobsOf({ redis: topologyOf().redis });
    const secret = defineJob({ name: 'invoice.secret', input, secrets: ['to'] });
    await jobs.register([mail, secret]);
    const { id } = await jobs.enqueue(mail, { to: 'ann' });
    const { id: later } = await jobs.enqueue(secret, { to: 'ann' }, { delay: '1h' });
    expect(await jobs.search({ text: '"ann"' })).toMatchObject({ jobs: [{ id, queue: 'mail' }], isWhole: true });
    const page = await jobs.search({}, { limit: 1 });
    const rest = await jobs.search({}, { cursor: page.cursor });
    expect([...page.jobs, ...rest.jobs].map(({ inputText }) => inputText).toSorted()).toEqual([
      '{"to":"[secret]"}',
      '{"to":"ann"}',
    ]);
    expect((await jobs.contracts()).map(({ name }) => name)).toEqual(['invoice.secret', 'mail.send']);
    expect(await jobs.retry(later)).toEqual({ status: 'promoted' });
  });

  test('many are added in order', async () => {
    const { jobs } = jobsOf({ redis: topologyOf().redis });
    const results = await jobs.enqueueMany(
      mail,
      Array.from({ length: 1_200 }, (_, index) => ({ to: `${index}` })),
      {
        deadline: '20s',
      },
    );
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 1_200 });
    expect(await jobs.get(results[1_100]?.id ?? '')).toMatchObject({ input: { to: '1100' } });
  });

  test('a result is waited for, and a flow of one family runs', async () => {
    const { jobs, work } = jobsOf({ redis: topologyOf().redis });
    const seen: ChildResults[] = [];
    work({
      handlers: [
        handle(mail, ({ to }) => `sent to ${to}`),
        handle(bulk, async (_input, { children }) => void seen.push(await children())),
      ],
    });
    expect(await jobs.enqueueAndWait(mail, { to: 'a' })).toBe('sent to a');
    const { id } = await jobs.enqueue(mail, { to: 'later' }, { delay: 300 });
    expect(await jobs.waitFor(id)).toBe('sent to later');
    expect(await jobs.waitFor(id, { contract: mail })).toBe('sent to later');
    await failureOf(jobs.waitFor('nobody'), 'JOB_UNKNOWN');
    const { children } = await jobs.enqueueFlow(flow(bulk, { to: 'all' }, { children: [flow(mail, { to: 'b' })] }));
    await eventually(() => expect(seen).toHaveLength(1));
    expect(seen[0]?.results).toEqual({ [children[0]?.id ?? '']: 'sent to b' });
  });

  test('a flow over two families is refused where it could not be added as a whole', async () => {
    const { jobs } = jobsOf({ redis: topologyOf().redis });
    const mixed = jobs.enqueueFlow(flow(mail, { to: 'a' }, { children: [flow(invoice, { to: 'a' })] }));
    const outcome = await (topology === 'cluster' ? failureOf(mixed, 'FLOW_SLOTS_DIFFER') : mixed);
    const expected = topology === 'cluster' ? { facts: { queues: ['mail', 'invoice'] } } : { children: [{}] };
    expect(outcome).toMatchObject(expected);
    const added = topology === 'cluster' ? 0 : 1;
    expect(await jobs.counts('invoice')).toMatchObject({ waiting: added });
    expect(await jobs.counts('mail')).toMatchObject({ 'waiting-children': added });
  });

  test('an enqueue outlasts a failover, and is one job', { timeout: 90_000 }, async () => {
    const { jobs, connections, prefix } = jobsOf({
      redis: topologyOf().redis,
      options: { enqueueDeadline: '60s' },
    });
    await jobs.enqueue(mail, { to: 'before' });
    const done = topologyOf().failOver(`${prefix}:jobs:{mail}:mail:wait`);
    const during = await Promise.all(Array.from({ length: 20 }, (_, index) => jobs.enqueue(mail, { to: `${index}` })));
    await done;
    const after = await jobs.enqueue(mail, { to: 'after' });
    expect(new Set(during.map(({ id }) => id)).size).toBe(20);
    expect(await jobs.get(after.id)).toMatchObject({ state: 'waiting' });
    const { waiting } = await eventually(() => jobs.counts('mail'));
    // A replica that takes over may lack what was just acknowledged; none may be there twice.
    expect(waiting).toBeLessThanOrEqual(22);
    expect(waiting).toBeGreaterThanOrEqual(topology === 'standalone' ? 22 : 1);
    expect(connections.outage()).toBeUndefined();
  });
});
