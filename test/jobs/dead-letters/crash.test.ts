/** A process that is killed between any two steps leaves the job or its letter, never both and never none. */
import { describe, expect, test } from 'vitest';
import { Reconciler } from '../../../src/jobs/dead-letters/reconciler.ts';
import { STEPS, type Step } from '../../../src/jobs/transactions.ts';
import { startForFile } from '../../contract/topologies.ts';
import { startChild } from '../../support/child.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

const ONE = ['j0'];
const BATCH = ['j0', 'j1', 'j2', 'j3', 'j4'];

/** Where it was killed, and how much must have happened by then; at `sent` nobody knows. */
const HAPPENED: Readonly<Record<Step, readonly number[]>> = {
  begun: [0],
  read: [0],
  ready: [0],
  sent: [0, 1],
  done: [1],
};

/** All are on one side. */
function expectWhole(
  ids: readonly string[],
  step: Step,
  { before, after }: Record<'before' | 'after', string[]>,
): void {
  const found = [...before, ...after].map((id) => id.split('~', 1)[0] ?? '');
  expect(found.toSorted(), `${step}: all are there, and once`).toEqual([...ids]);
  expect(HAPPENED[step], `${step}: all or nothing`).toContain(after.length / ids.length);
}

describe.each([
  ['standalone', [ONE, BATCH]],
  ['cluster', [BATCH]],
] as const)('on %s', (topology, sizes) => {
  const running = startForFile(topology);
  const own = ownedByTest();

  /** Those that one process was at when it was killed: at each step one, and at `sent` in the very moment of it. */
  async function killed(act: 'move' | 'redrive', ids: readonly string[]): Promise<{ step: Step; all: Graves }[]> {
    const steps: Step[] = [...STEPS.filter((step) => step !== 'sent'), 'sent'];
    const scenes = await Promise.all(
      steps.map(async (step) => {
        const all = own(new Graves(running().redis));
        for (const id of ids) await all.fail({ id });
        if (act === 'redrive') await Promise.all(ids.map((id) => all.mover.moved('mail', id)));
        return { step, all };
      }),
    );
    const plans = scenes.map(({ step, all }) => `${step}=${all.prefix}`);
    const child = own(startChild('grave-digger', [JSON.stringify(running().redis), act, ids.join(','), ...plans]));
    expect(await child.ended, child.err()).toBe('SIGKILL');
    return scenes;
  }

  describe.each(sizes.map((ids) => ({ jobs: ids.length, ids })))('$jobs at once', ({ ids }) => {
    test('a move that is killed at any step is finished by the reconciler', async () => {
      await Promise.all(
        (await killed('move', ids)).map(async ({ step, all }) => {
          const after = await all.states();
          expectWhole(ids, step, { before: after.failed, after: after.dead });
          const { queues, mover, transactions } = all;
          await new Reconciler({ queues, mover, transactions, afterMs: -1_000 }).round();
          const { failed, waiting, dead } = await all.states();
          expect({ failed, waiting }).toEqual({ failed: [], waiting: [] });
          expect(dead.toSorted()).toEqual(ids.map((id) => `${id}~0`));
        }),
      );
    });

    test('a redrive that is killed at any step gives the job back or leaves its letter', async () => {
      await Promise.all(
        (await killed('redrive', ids)).map(async ({ step, all }) => {
          const after = await all.states();
          expectWhole(ids, step, { before: after.dead, after: after.waiting });
          expect(await all.letters.redrive({ queue: 'mail' })).toMatchObject({ redriven: after.dead.length });
          const { failed, waiting, dead } = await all.states();
          expect({ failed, dead }).toEqual({ failed: [], dead: [] });
          expect(waiting.toSorted()).toEqual([...ids]);
        }),
      );
    });
  });
});
