/** Who works on the same jobs at the same time does it once. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { startForFile } from '../../contract/topologies.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();
  const ids = Array.from({ length: 120 }, (_, index) => `j${String(index).padStart(3, '0')}`);

  test('three movers make one letter of each job', async () => {
    const moved: string[] = [];
    const prefix = randomUUID();
    const movers = [0, 1, 2].map(() =>
      own(new Graves(running().redis, { prefix, onMoved: ({ jobId }) => moved.push(jobId) })),
    );
    const [first] = movers as [Graves];
    for (const id of ids) await first.fail({ id });
    // One in order, one backwards, one from the middle: their batches overlap and break one another.
    const orders = [ids, ids.toReversed(), [...ids.slice(60), ...ids.slice(0, 60)]];
    const outcomes = await Promise.all(
      movers.map((graves, index) => Promise.all((orders[index] ?? []).map((id) => graves.mover.moved('mail', id)))),
    );
    expect(outcomes.flat().filter((outcome) => outcome === 'moved')).toHaveLength(ids.length);
    expect(moved.toSorted()).toEqual(ids);
    const { failed, dead } = await first.states();
    expect({ failed, dead: dead.toSorted() }).toEqual({ failed: [], dead: ids.map((id) => `${id}~0`) });
  });

  test('three who redrive, and one who discards, neither double nor lose a job', async () => {
    const prefix = randomUUID();
    const all = [0, 1, 2, 3].map(() => own(new Graves(running().redis, { prefix })));
    const [first, , , last] = all as [Graves, Graves, Graves, Graves];
    for (const id of ids) await first.fail({ id });
    await Promise.all(ids.map((id) => first.mover.moved('mail', id)));
    const redrives = all.slice(0, 3).map(({ letters }) => letters.redrive({ queue: 'mail' }));
    const discard = last.letters.discard({ queue: 'mail' }, { limit: 40 });
    const redriven = (await Promise.all(redrives)).reduce((sum, result) => sum + result.redriven, 0);
    const { discarded } = await discard;
    const { failed, waiting, dead } = await first.states();
    expect(failed).toEqual([]);
    expect(waiting).toHaveLength(redriven);
    expect(new Set(waiting).size, 'no job twice').toBe(waiting.length);
    expect(redriven + discarded + dead.length).toBe(ids.length);
    // Letters that all of them let go of because the others were at them, if any, are still there.
    await first.letters.redrive({ queue: 'mail' });
    expect((await first.states()).waiting).toHaveLength(ids.length - discarded);
  });

  test('a job that an operator retries while it is moved is either retried or dead', async () => {
    const prefix = randomUUID();
    const movers = own(new Graves(running().redis, { prefix }));
    const operator = own(new Graves(running().redis, { prefix }));
    for (const id of ids.slice(0, 40)) await movers.fail({ id });
    const { queue } = operator.queues.get('mail');
    const retried = ids.slice(0, 40).map(async (id) => (await queue.getJob(id))?.retry('failed').catch(() => 'late'));
    await Promise.all([...ids.slice(0, 40).map((id) => movers.mover.moved('mail', id)), ...retried]);
    const { failed, waiting, dead } = await movers.states();
    expect([...failed, ...waiting, ...dead.map((id) => id.replace('~0', ''))].toSorted()).toEqual(ids.slice(0, 40));
  });
});
