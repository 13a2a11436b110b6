import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hold, tryHold, type Hold, type Holder } from '../../../src/redis/embedded/folder-lock.ts';
import { startOf } from '../../../src/redis/embedded/process-identity.ts';
import { temporaryFolder } from '../../support/folders.ts';

const root = temporaryFolder();
let folders = 0;

function newFolder(): string {
  const folder = join(root, String((folders += 1)));
  mkdirSync(folder);
  return folder;
}

async function mustHold(folder: string): Promise<Hold<string>> {
  const taken = await tryHold<string>(folder, 'owner');
  if ('hold' in taken) return taken.hold;
  throw new Error(`held by process ${taken.holder.pid}`);
}

async function mustBeHeld(folder: string): Promise<Holder<string>> {
  const taken = await tryHold<string>(folder, 'owner');
  if ('holder' in taken) return taken.holder;
  throw new Error('the folder was free');
}

/** The word of a holder that looks alive, with what the test changes. */
function holder(changes: Partial<Holder> = {}): string {
  return JSON.stringify({
    id: 'of-the-test',
    pid: process.pid,
    startedAt: startOf(process.pid),
    host: hostname(),
    ...changes,
  });
}

/** A pid that was used and is free now. */
function deadPid(): number {
  return Number(execFileSync('/bin/sh', ['-c', 'echo $$'], { encoding: 'utf8' }));
}

describe('a folder', () => {
  test('has one holder at a time, and is free again after release', async () => {
    const folder = newFolder();
    const first = await mustHold(folder);
    expect(await mustBeHeld(folder)).toMatchObject({ pid: process.pid, host: hostname() });
    await first.release();
    await first.release();
    const second = await mustHold(folder);
    await first.release();
    expect((await mustBeHeld(folder)).pid, 'an old hold takes nothing from the new one').toBe(process.pid);
    await second.release();
  });

  test('is made if it is not there', async () => {
    const held = await mustHold(join(newFolder(), 'a', 'b'));
    await held.release();
  });

  test('tells others what its holder said last', async () => {
    const folder = newFolder();
    const held = await mustHold(folder);
    expect((await mustBeHeld(folder)).note).toBeUndefined();
    await held.tell('port 1');
    await held.tell('port 2');
    expect((await mustBeHeld(folder)).note).toBe('port 2');
    await held.release();
  });

  test('keeps holds of different names apart', async () => {
    const folder = newFolder();
    const one = await mustHold(folder);
    const other = await tryHold(folder, 'owner.lock');
    expect('hold' in other).toBe(true);
    await one.release();
  });

  test('holds one file for each name, and no drafts', async () => {
    const folder = newFolder();
    for (let round = 0; round < 5; round++) {
      const held = await mustHold(folder);
      await held.tell('a note');
      await held.release();
    }
    expect(readdirSync(folder)).toEqual(['owner.5']);
  });
});

describe('a holder that is gone', () => {
  test.each([
    ['was killed', () => holder({ pid: deadPid() })],
    ['was killed, and another process has its pid now', () => holder({ startedAt: '1' })],
    ['let go', () => ''],
    ['left half a file', () => holder().slice(0, 20)],
    ['left a file that is no word of a holder', () => '{}'],
    ['left a file with a number', () => '5'],
  ])('%s: the next one takes the folder', async (_what, text) => {
    const folder = newFolder();
    writeFileSync(join(folder, 'owner.7'), text());
    const held = await mustHold(folder);
    expect(readdirSync(folder)).toEqual(['owner.8']);
    await held.release();
  });

  test('left drafts: the next one removes them', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'owner.draft-1'), '');
    writeFileSync(join(folder, 'owner.3'), holder({ pid: deadPid() }));
    writeFileSync(join(folder, 'owner.txt'), 'of somebody else');
    const held = await mustHold(folder);
    expect(readdirSync(folder)).toEqual(['owner.4', 'owner.txt']);
    await held.release();
  });
});

describe('a holder of another host', () => {
  test('is respected, whatever its pid means here', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'owner.1'), holder({ host: 'elsewhere', pid: deadPid() }));
    expect((await mustBeHeld(folder)).host).toBe('elsewhere');
  });

  test('is named by the error, with the files to remove', async () => {
    const folder = newFolder();
    const pid = deadPid();
    writeFileSync(join(folder, 'owner.1'), holder({ host: 'elsewhere', pid }));
    const waited: Holder[] = [];
    const held = hold(folder, 'owner', { withinMs: 150, onWait: (one) => waited.push(one) });
    await expect(held).rejects.toMatchObject({ code: 'FOLDER_BUSY', facts: { folder, pid, host: 'elsewhere' } });
    await expect(held).rejects.toThrow(
      `process ${pid} on elsewhere (another machine or container, so whether it runs cannot be seen here) holds ${folder} and has not let go of it in 150 ms. End that process; if it is gone, remove ${folder}/owner.*`,
    );
    expect(waited, 'whoever waits is told once').toHaveLength(1);
  });
});

test('hold() waits until the holder lets go', async () => {
  const folder = newFolder();
  const first = await mustHold(folder);
  const waiting = hold(folder, 'owner', { withinMs: 10_000, onWait: () => void first.release() });
  await (await waiting).release();
});

describe('when somebody has removed the files under a holder', () => {
  test('its release leaves the new holder alone', async () => {
    const folder = newFolder();
    const robbed = await mustHold(folder);
    rmSync(join(folder, 'owner.1'));
    const next = await mustHold(folder);
    await robbed.release();
    await mustBeHeld(folder);
    await next.release();
    await (await mustHold(folder)).release();
  });

  test('its word is refused, and the new holder keeps the folder', async () => {
    const folder = newFolder();
    for (let round = 0; round < 3; round++) await (await mustHold(folder)).release();
    const robbed = await mustHold(folder);
    rmSync(join(folder, 'owner.4'));
    const next = await mustHold(folder);
    await next.tell('mine');
    await expect(robbed.tell('theirs')).rejects.toMatchObject({ code: 'FOLDER_BUSY' });
    await robbed.release();
    expect(readdirSync(folder)).toEqual(['owner.1']);
    expect((await mustBeHeld(folder)).note).toBe('mine');
    await next.release();
  });
});

test('among many contenders of one process exactly one holds at a time', async () => {
  const folder = newFolder();
  let inside = 0;
  let turns = 0;
  const contend = async (): Promise<void> => {
    for (let round = 0; round < 15; round++) {
      const taken = await tryHold(folder, 'owner');
      if (!('hold' in taken)) continue;
      expect((inside += 1)).toBe(1);
      await taken.hold.tell(round);
      turns += 1;
      inside -= 1;
      await taken.hold.release();
    }
  };
  await Promise.all(Array.from({ length: 12 }, contend));
  expect(turns).toBeGreaterThan(0);
  const left = readdirSync(folder);
  expect(left).toHaveLength(1);
  expect(readFileSync(join(folder, left[0] ?? ''), 'utf8')).toBe('');
});

test('whatever lies in the folder, at most one of many wins it, and none while a holder lives', async () => {
  const dead = deadPid();
  const content = fc.constantFrom(
    { text: holder(), isAlive: true },
    { text: holder({ host: 'elsewhere' }), isAlive: true },
    { text: holder({ pid: dead }), isAlive: false },
    { text: holder({ startedAt: '1' }), isAlive: false },
    { text: holder().slice(0, 30), isAlive: false },
    { text: '', isAlive: false },
  );
  const files = fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 12 }), content), { selector: ([number]) => number });
  await fc.assert(
    fc.asyncProperty(files, fc.integer({ min: 1, max: 6 }), async (present, contenders) => {
      const folder = newFolder();
      for (const [number, { text }] of present) writeFileSync(join(folder, `owner.${number}`), text);
      const [highest, top] = present.toSorted(([left], [right]) => right - left)[0] ?? [0, undefined];
      const taken = await Promise.all(Array.from({ length: contenders }, () => tryHold(folder, 'owner')));
      const won = taken.flatMap((one) => ('hold' in one ? [one.hold] : []));
      const isHeld = top?.isAlive === true;
      expect(won).toHaveLength(isHeld ? 0 : 1);
      const before = present.map(([number]) => `owner.${number}`).toSorted();
      expect(readdirSync(folder)).toEqual(isHeld ? before : [`owner.${highest + 1}`]);
      await won[0]?.release();
    }),
    { numRuns: 60 },
  );
});
