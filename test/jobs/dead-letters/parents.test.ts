/** A child that becomes a dead letter changes nothing for its parent: BullMQ alone decides when the child fails. */
import { FlowProducer, type JobsOptions } from 'bullmq';
import { describe, expect, test } from 'vitest';
import { startForFile } from '../../contract/topologies.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

const PARENT = 'mail';
const CHILD = 'mail.part';

/** All that a child could change. */
async function parentOf(all: Graves): Promise<unknown> {
  const open = all.queues.get(PARENT);
  const key = open.key('parent');
  const parent = await open.queue.getJob('parent');
  const { client } = all.queues;
  return {
    state: await open.queue.getJobState('parent'),
    deferredFailure: parent?.deferredFailure,
    ignored: await client.hgetall(`${key}:failed`),
    unsuccessful: await client.zrange(`${key}:unsuccessful`, '0', '-1'),
    pending: await client.scard(`${key}:dependencies`),
    waits: await client.lrange(open.key('wait'), 0, -1),
  };
}

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();

  /** A parent with two children, of which `bad` has failed. */
  async function family(policy: JobsOptions): Promise<Graves> {
    const all = own(new Graves(running().redis));
    all.queues.register(PARENT);
    all.queues.register(CHILD);
    const prefix = all.queues.keys.queuePrefix(PARENT);
    const flows = new FlowProducer({ connection: all.connections.commands(), prefix, skipWaitingForReady: true });
    await flows.add({
      name: 'parent',
      queueName: PARENT,
      opts: { jobId: 'parent' },
      children: ['bad', 'good'].map((id) => ({
        name: 'child',
        queueName: CHILD,
        prefix,
        opts: { jobId: id, attempts: 1, ...policy },
      })),
    });
    await flows.close();
    await all.failNext(CHILD, new Error('broken'));
    expect((await all.states(CHILD)).failed).toEqual(['bad']);
    return all;
  }

  test.each([
    ['failParentOnFailure', 'waiting', 'waiting'],
    ['continueParentOnFailure', 'waiting', 'waiting'],
    ['ignoreDependencyOnFailure', 'waiting-children', 'waiting'],
    ['removeDependencyOnFailure', 'waiting-children', 'waiting'],
  ] as const)('%s: the parent is %s, and %s once the other child is done', async (policy, state, finalState) => {
    const all = await family({ [policy]: true });
    const before = await parentOf(all);
    expect(before).toMatchObject({ state, pending: 1 });
    expect(await all.mover.moved(CHILD, 'bad')).toBe('moved');
    expect(await parentOf(all)).toEqual(before);
    expect(await all.completeNext(CHILD)).toBe('good');
    expect(await parentOf(all)).toMatchObject({ state: finalState, pending: 0, waits: ['parent'] });
    // The parent has its answer: the child comes back as a job of its own.
    expect(await all.letters.redrive('bad~0')).toMatchObject({ redriven: 1 });
    expect(await all.completeNext(CHILD)).toBe('bad');
    expect(await parentOf(all)).toMatchObject({ state: finalState, pending: 0, waits: ['parent'] });
  });

  describe('no policy', () => {
    test('the parent waits on, and runs once the child was redriven and has succeeded', async () => {
      const all = await family({});
      const before = await parentOf(all);
      expect(before).toMatchObject({ state: 'waiting-children', pending: 2 });
      expect(await all.mover.moved(CHILD, 'bad')).toBe('moved');
      expect(await parentOf(all)).toEqual(before);
      expect(await all.completeNext(CHILD)).toBe('good');
      expect(await parentOf(all)).toMatchObject({ state: 'waiting-children', pending: 1, waits: [] });
      expect(await all.letters.redrive('bad~0')).toMatchObject({ redriven: 1 });
      expect(await parentOf(all)).toMatchObject({ state: 'waiting-children', pending: 1, waits: [] });
      await all.failNext(CHILD, new Error('again'));
      expect(await all.mover.moved(CHILD, 'bad')).toBe('moved');
      expect(await parentOf(all)).toMatchObject({ state: 'waiting-children', pending: 1, waits: [] });
      expect(await all.letters.redrive('bad~1')).toMatchObject({ redriven: 1 });
      expect(await all.completeNext(CHILD)).toBe('bad');
      expect(await parentOf(all)).toMatchObject({ state: 'waiting', pending: 0, waits: ['parent'] });
    });

    test('the parent goes on without a child whose letter is discarded', async () => {
      const all = await family({});
      await all.completeNext(CHILD);
      await all.mover.moved(CHILD, 'bad');
      expect(await all.letters.discard('bad~0')).toMatchObject({ discarded: 1 });
      expect(await parentOf(all)).toMatchObject({ state: 'waiting', pending: 0, waits: ['parent'] });
    });

    test('a child whose parent was removed comes back alone', async () => {
      const all = await family({});
      await all.mover.moved(CHILD, 'bad');
      await all.queues.get(PARENT).queue.remove('parent', { removeChildren: false });
      expect(await all.letters.redrive('bad~0')).toMatchObject({ redriven: 1 });
      expect((await all.states(CHILD)).waiting.toSorted()).toEqual(['bad', 'good']);
    });
  });

  test('a parent that fails because of its child is a dead letter of that reason', async () => {
    const all = await family({ failParentOnFailure: true });
    await all.mover.moved(CHILD, 'bad');
    const childKey = all.queues.get(CHILD).key('bad');
    await all.failNext(PARENT, new Error(`child ${childKey} failed`));
    expect(await all.mover.moved(PARENT, 'parent')).toBe('moved');
    expect(await all.letters.get('parent~0')).toMatchObject({ reason: 'child' });
    expect(await all.completeNext(CHILD)).toBe('good');
    expect(await all.states(PARENT)).toEqual({ failed: [], waiting: [], dead: ['parent~0'] });
  });
});
