/** Write-behind with processes that are killed or paused at any moment: nothing that was accepted is lost, and nothing overtakes. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { PATIENCE_MS } from './pool.ts';
import { isLong } from './scene.ts';
import type { WriteBehindProcess } from './write-behind-process.ts';

const own = ownedByTest();
const ROUNDS = isLong ? 60 : 2;
const PROCESSES = 3;
const KEYS = 8;
/** They write while others start, too: the short form is as fast as makes each key change within a save. */
const PAUSE_MS = isLong ? 3 : 6;

interface Running {
  child: Child;
  /** The lines of its journal that begin with the word, without it. */
  noted: (word: string) => string[][];
}

/** Two servers, and processes that write to one and save into the other. */
async function setRows(refusesOlder: boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-behind-'));
  const redis = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const database = own(await startRedis());
  const prefix = `f-${randomUUID()}`;
  const all: Running[] = [];
  own({
    async stop() {
      await Promise.all(all.map(({ child }) => child.stop()));
      await rm(folder, { recursive: true, force: true });
    },
  });
  const start = async (writes: boolean): Promise<Running> => {
    const journal = join(folder, `${all.length}.journal`);
    const keys = writes ? Array.from({ length: KEYS }, (_, n) => `p${all.length}-k${n}`) : [];
    const options: WriteBehindProcess = {
      redis: redis.url,
      database: database.url,
      prefix,
      journal,
      keys,
      pauseMs: PAUSE_MS,
      refusesOlder,
    };
    const child = startChild('../faults/write-behind-process', [JSON.stringify(options)]);
    const noted = (word: string): string[][] =>
      readFileSync(journal, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => line.split(' '))
        .flatMap(([first, ...rest]) => (first === word ? [rest] : []));
    const running = { child, noted };
    all.push(running);
    await child.says('ready', PATIENCE_MS);
    return running;
  };
  return { redis, database, prefix, all, start };
}

/** Resolves when more was saved and accepted, so that each blow meets work that is under way. */
async function goesOn(database: TestServer, running: readonly Running[]): Promise<void> {
  const saves = () => database.ask((redis) => redis.llen('saves'));
  const accepted = (): number => running.reduce((sum, { noted }) => sum + noted('accepted').length, 0);
  const [savedBefore, acceptedBefore] = [await saves(), accepted()];
  const more = 5 + Math.random() * 60;
  await eventually(async () => {
    if ((await saves()) < savedBefore + more || accepted() < acceptedBefore + more)
      throw new Error(`no more is saved; they say:\n${running.map(({ child }) => child.err()).join('\n')}`);
  }, PATIENCE_MS);
}

/** Waits until nothing is pending, then holds what was accepted against what the database has. */
async function settle({ redis, database, prefix, all }: Awaited<ReturnType<typeof setRows>>) {
  await eventually(async () => {
    expect(await redis.ask((client) => client.xlen(`${prefix}:cache:{store/rows}:changes`))).toBe(0);
  }, PATIENCE_MS);
  const rows = await database.ask((client) => client.hgetall('rows'));
  const saves = (await database.ask((client) => client.lrange('saves', 0, -1))).map((line) => line.split(' '));
  const accepted = all.flatMap(({ noted }) => noted('accepted'));
  const latest = new Map<string, string[]>();
  for (const line of accepted) latest.set(line[0] ?? '', line);
  const lost = [...latest.values()].filter(([key, n, version]) => {
    // A later one may have been accepted without an answer.
    return Number(rows[`version:${key}`] ?? 0) < Number(version) || Number(rows[`value:${key}`] ?? 0) < Number(n);
  });
  const newest = new Map<string, number>();
  const overtaken = saves.filter(([key = '', version]) => {
    const before = newest.get(key) ?? 0;
    newest.set(key, Math.max(before, Number(version)));
    return Number(version) < before;
  });
  const repeated = saves.length - new Set(saves.map((line) => line.join(' '))).size;
  const refused = await database.ask((client) => client.llen('refused'));
  const stale = all.flatMap(({ noted }) => noted('stale'));
  const dead = await redis.ask((client) => client.xlen(`${prefix}:cache:{store/rows}:dead`));
  return { accepted: accepted.length, lost, overtaken, repeated, refused, stale, dead, saves: saves.length };
}

/** Ends those that write, and has one that only saves bring the rest home. */
async function quiet(rows: Awaited<ReturnType<typeof setRows>>, living: readonly Running[]): Promise<void> {
  await rows.start(false);
  for (const { child } of living) child.signal('SIGTERM');
  for (const { child } of living) expect(await child.ended).toBe(0);
}

test(`${ROUNDS} rounds of kill -9 lose no accepted change, and none is overtaken by an older one of its key`, async () => {
  const rows = await setRows(false);
  const living = await Promise.all(Array.from({ length: PROCESSES }, () => rows.start(true)));
  for (let round = 0; round < ROUNDS; round++) {
    await goesOn(rows.database, living);
    // Every other time the one that saves, in the middle of it where there is one.
    const saver = living.find(({ noted }) => noted('saving').length > noted('saved').length);
    const victim = (round % 2 === 0 ? saver : undefined) ?? living[Math.floor(Math.random() * living.length)];
    victim?.child.signal('SIGKILL');
    expect(await victim?.child.ended).toBe('SIGKILL');
    living[living.indexOf(victim as Running)] = await rows.start(true);
  }
  await goesOn(rows.database, living);
  await quiet(rows, living);
  const { lost, overtaken, stale, dead, ...counts } = await settle(rows);
  if (isLong) console.log(counts);
  expect({ lost, overtaken, stale, dead }).toEqual({ lost: [], overtaken: [], stale: [], dead: 0 });
  // A batch that was under way at a kill may come twice; others may not.
  expect(counts.repeated).toBeLessThanOrEqual(ROUNDS * 20);
}, 1_800_000);

test('a process that is paused past its lease in the middle of a save changes nothing that its successor did', async () => {
  const rows = await setRows(true);
  const [first, second] = [await rows.start(true), await rows.start(true)];
  for (let round = 0; round < (isLong ? 20 : 1); round++) {
    await goesOn(rows.database, [first, second]);
    const isSaving = ({ noted }: Running): boolean => noted('saving').length > noted('saved').length;
    const paused = await eventually(() => {
      const saver = [first, second].find(isSaving);
      if (saver) return saver;
      throw new Error('nobody saves');
    }, PATIENCE_MS);
    paused.child.signal('SIGSTOP');
    const other = paused === first ? second : first;
    await goesOn(rows.database, [other]);
    paused.child.signal('SIGCONT');
  }
  await quiet(rows, [first, second]);
  const { lost, overtaken, stale, dead, accepted } = await settle(rows);
  expect({ lost, overtaken, stale, dead }).toEqual({ lost: [], overtaken: [], stale: [], dead: 0 });
  expect(accepted).toBeGreaterThan(50);
}, 600_000);

test('a Redis that is killed and comes back has every accepted change', async () => {
  const rows = await setRows(false);
  const living = [await rows.start(true), await rows.start(true)];
  for (let round = 0; round < (isLong ? 20 : 1); round++) {
    await goesOn(rows.database, living);
    await rows.redis.kill();
    await rows.redis.startAgain();
  }
  await goesOn(rows.database, living);
  await quiet(rows, living);
  const { lost, overtaken, dead, accepted } = await settle(rows);
  expect({ lost, overtaken, dead }).toEqual({ lost: [], overtaken: [], dead: 0 });
  expect(accepted).toBeGreaterThan(50);
}, 600_000);
