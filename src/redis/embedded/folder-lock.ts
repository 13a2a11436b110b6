/**
 * One holder per folder, among processes of one machine; a holder that was killed is replaced.
 *
 * Files `NAME.1`, `NAME.2`, ... in the folder are generations; the highest one is the holder's. Each is created whole and
 * only if it is not there yet (link), so of any number of contenders one wins a generation. A file is never deleted before a
 * higher one exists, and a winner looks again for a higher one before it believes itself: therefore nobody can win a
 * generation that is over. (That look is one readdir of a small folder, which the kernel answers at one moment.)
 * A holder that lets go empties its file, which needs no space on a full disk; a file that says nothing holds nothing.
 *
 *   (free) --link NAME.1--> held --hold.release()--> emptied --link NAME.2--> held ...
 *                            held --holder dies----------------link NAME.2--> held ...
 *
 * Somebody may remove the files under a holder, and another process then begins with NAME.1 again. So a holder
 * touches its file only while that carries its own id; the other one's word is never overwritten.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, truncate, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { isRunning, startOf } from './process-identity.ts';

/** Who holds a folder. */
export interface Holder<Note = unknown> {
  /** Of this one hold. */
  id: string;
  pid: number;
  /** When that process started, as the system counts, so that a later process with the same pid is not taken for it. */
  startedAt: string;
  host: string;
  /** What the holder wants others to know. */
  note?: Note | undefined;
}

/** The right to the folder. */
export interface Hold<Note> {
  /** Tells others something, such as where the server listens. @throws MillraceError FOLDER_BUSY when the hold was taken away. */
  tell(note: Note): Promise<void>;
  /** Lets go. Safe to call twice. */
  release(): Promise<void>;
}

/**
 * The hold when the folder is free, else who holds it.
 *
 * @example
 * const taken = await tryHold('/var/lib/app', 'owner');
 * if ('hold' in taken) await taken.hold.release(); else console.log('held by', taken.holder.pid);
 */
export async function tryHold<Note>(
  folder: string,
  name: string,
): Promise<{ hold: Hold<Note> } | { holder: Holder<Note> }> {
  for (;;) {
    await mkdir(folder, { recursive: true });
    const latest = await latestGeneration(folder, name);
    const holder = latest === 0 ? undefined : await readHolder<Note>(generationFile(folder, name, latest));
    if (holder && isAlive(holder)) return { holder };
    const own: Holder<Note> = { id: randomUUID(), pid: process.pid, startedAt: startOf(process.pid), host: hostname() };
    const generation = latest + 1;
    const file = generationFile(folder, name, generation);
    if (!(await create(file, own))) continue;
    if ((await latestGeneration(folder, name)) === generation) {
      await removeClutter(folder, name, generation);
      return { hold: holdOf(folder, file, own) };
    }
    await unlink(file).catch(ignoreMissing); // The holder of a higher one may have been quicker.
  }
}

/**
 * Waits for the hold.
 * @throws MillraceError FOLDER_BUSY when another process has not let go in time.
 */
export async function hold<Note>(
  folder: string,
  name: string,
  options: { withinMs: number; onWait?: (holder: Holder) => void },
): Promise<Hold<Note>> {
  const start = systemClock.monotonicMs();
  let isWaiting = false;
  for (;;) {
    const taken = await tryHold<Note>(folder, name);
    if ('hold' in taken) return taken.hold;
    if (!isWaiting) options.onWait?.(taken.holder);
    isWaiting = true;
    if (systemClock.monotonicMs() - start > options.withinMs) {
      throw busy(folder, name, taken.holder, `has not let go of it in ${formatMs(options.withinMs)}`);
    }
    await systemClock.sleep(100);
  }
}

/** The error for a holder that does not do what it should; it names the files to remove if the holder is gone. */
export function busy(folder: string, name: string, { pid, host }: Holder, does: string): MillraceError {
  const elsewhere =
    host === hostname() ? '' : ' (another machine or container, so whether it runs cannot be seen here)';
  return new MillraceError(
    'FOLDER_BUSY',
    `process ${pid} on ${host}${elsewhere} holds ${folder} and ${does}. End that process; if it is gone, remove ${join(folder, name)}.*`,
    { folder, pid, host },
  );
}

function holdOf<Note>(folder: string, file: string, own: Holder<Note>): Hold<Note> {
  const isOwn = async (): Promise<boolean> => (await readHolder(file))?.id === own.id;
  return {
    async tell(note) {
      if (!(await isOwn()))
        throw new MillraceError('FOLDER_BUSY', `the hold on ${folder} was taken away: ${file} was removed`, { folder });
      const draft = draftOf(file);
      try {
        await writeFile(draft, JSON.stringify({ ...own, note }));
        await rename(draft, file);
      } finally {
        await unlink(draft).catch(ignoreMissing); // Left only where the disk is full.
      }
    },
    async release() {
      if (await isOwn()) await truncate(file).catch(ignoreMissing);
    },
  };
}

async function latestGeneration(folder: string, name: string): Promise<number> {
  return Math.max(0, ...(await readdir(folder)).map((file) => generationOf(file, name) ?? 0));
}

/** Whether the file is this process's now: false when somebody else has created it. */
async function create(file: string, holder: Holder): Promise<boolean> {
  const draft = draftOf(file);
  try {
    await writeFile(draft, JSON.stringify(holder));
    await link(draft, file);
    return true;
  } catch (error) {
    // EEXIST: another one was quicker. ENOENT: it has won, and has removed this draft with the clutter.
    if (['EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  } finally {
    await unlink(draft).catch(ignoreMissing);
  }
}

/** Removes generations that are over, and drafts of processes that were killed; one of a living contender is written anew. */
async function removeClutter(folder: string, name: string, own: number): Promise<void> {
  for (const file of await readdir(folder)) {
    const isOver = (generationOf(file, name) ?? own) < own || file.startsWith(`${name}.draft-`);
    // Best effort: clutter that stays, such as another user's, means nothing to anybody.
    if (isOver) await unlink(join(folder, file)).catch(() => undefined);
  }
}

async function readHolder<Note>(file: string): Promise<Holder<Note> | undefined> {
  const text = await readFile(file, 'utf8').catch(ignoreMissing);
  try {
    const holder = JSON.parse(text ?? '') as Holder<Note> | null;
    return typeof holder?.pid === 'number' && typeof holder.host === 'string' ? holder : undefined;
  } catch {
    return undefined; // Let go, or cut short when the machine lost its power: nobody holds it.
  }
}

function isAlive(holder: Holder): boolean {
  // Of another machine or container nothing can be known, so its word stands until somebody removes the file.
  if (holder.host !== hostname()) return true;
  return isRunning(holder.pid, holder.startedAt);
}

function generationFile(folder: string, name: string, generation: number): string {
  return join(folder, `${name}.${generation}`);
}

function generationOf(file: string, name: string): number | undefined {
  const ending = file.startsWith(`${name}.`) ? file.slice(name.length + 1) : '';
  return /^\d{1,15}$/.test(ending) ? Number(ending) : undefined;
}

function draftOf(file: string): string {
  return file.replace(/\d+$/, `draft-${randomUUID()}`);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
