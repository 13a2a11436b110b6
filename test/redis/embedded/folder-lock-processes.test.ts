import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hold, tryHold } from '../../../src/redis/embedded/folder-lock.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { ownedByTest } from '../../support/owned.ts';

const PROCESSES = 8;
const ROUNDS = 20;
const root = temporaryFolder();
const own = ownedByTest();
let folders = 0;

function newFolder(): string {
  const folder = join(root, String((folders += 1)));
  mkdirSync(folder);
  return folder;
}

test('among processes that contend, and some that are killed while they hold, exactly one holds at a time', async () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'counter'), '0');
  const contenders = Array.from({ length: PROCESSES }, () =>
    own(startChild('lock-contender', [folder, String(ROUNDS)])),
  );
  const victims = Array.from({ length: 3 }, () => own(startChild('lock-contender', [folder, '1', 'hold'])));
  for (const victim of victims) {
    victim.says('holding').then(
      () => victim.signal('SIGKILL'),
      () => undefined, // The contenders would then wait in vain, which the test sees.
    );
  }
  expect(await Promise.all(contenders.map(({ ended }) => ended))).toEqual(contenders.map(() => 0));
  expect(await Promise.all(victims.map(({ ended }) => ended))).toEqual(victims.map(() => 'SIGKILL'));
  expect(contenders.flatMap((one) => one.lines()).filter((line) => line === 'NOT ALONE')).toEqual([]);
  expect(readFileSync(join(folder, 'counter'), 'utf8')).toBe(String(PROCESSES * ROUNDS));
  const last = await hold(folder, 'owner', { withinMs: 1_000 });
  const left = readdirSync(folder).filter((file) => file.startsWith('owner'));
  expect(left, 'one generation and no drafts').toHaveLength(1);
  await last.release();
});

test('a holder that is killed is replaced as soon as it is gone', async () => {
  const folder = newFolder();
  const victim = own(startChild('lock-contender', [folder, '1', 'hold']));
  await victim.says('holding');
  const before = await tryHold(folder, 'owner');
  expect(before).toMatchObject({ holder: { pid: victim.pid } });
  victim.signal('SIGKILL');
  const taken = await eventually(async () => {
    const next = await tryHold(folder, 'owner');
    if (!('hold' in next)) throw new Error('still held');
    return next;
  }, 2_000);
  await taken.hold.release();
});

test('a holder that is frozen keeps the folder', async () => {
  const folder = newFolder();
  const frozen = own(startChild('lock-contender', [folder, '1', 'hold']));
  await frozen.says('holding');
  frozen.signal('SIGSTOP');
  expect(await tryHold(folder, 'owner')).toMatchObject({ holder: { pid: frozen.pid } });
});
