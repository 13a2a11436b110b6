/**
 * One holder per folder, among processes of one machine; a holder that was killed is replaced.
 *
 * Files `NAME.1`, `NAME.2`, ... in the folder are generations; the highest one is the holder's. Each is created whole and
 * only if it is not there yet (link), so of any number of contenders one wins a generation. A file is never deleted before a
 * higher one exists, and a winner looks again for a higher one before it believes itself: therefore nobody can win a
 * generation that is over. A holder that lets go says so in its file.
 *
 *   (free) --link NAME.1--> held --hold.release()--> released --link NAME.2--> held ...
 *                            held --holder dies-----------------link NAME.2--> held ...
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { isRunning, startOf } from './process-identity.ts';

/** Who holds a folder. */
export interface Holder<Note = unknown> {
  pid: number;
  /** When that process started, as the system counts, so that a later process with the same pid is not taken for it. */
  startedAt: string;
  host: string;
  /** Set once the holder has let go. */
  isReleased: boolean;
  /** What the holder wants others to know. */
  note: Note | undefined;
}

/** The right to the folder. */
export interface Hold<Note> {
  /** Tells others something, such as where the server listens. */
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
  await mkdir(folder, { recursive: true });
  for (;;) {
    const latest = await latestGeneration(folder, name);
    const holder = latest === 0 ? undefined : await readHolder<Note>(generationFile(folder, name, latest));
    if (holder && isAlive(holder)) return { holder };
    const own = latest + 1;
    if (!(await create(folder, name, own))) continue;
    if ((await latestGeneration(folder, name)) === own) {
      await removeOlder(folder, name, own);
      return { hold: holdOf(folder, name, own) };
    }
    await unlink(generationFile(folder, name, own));
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
      const { pid, host } = taken.holder;
      throw new MillraceError(
        'FOLDER_BUSY',
        `${folder} is held by process ${pid} on ${host}, which has not let go in ${formatMs(options.withinMs)}. If that process is gone, remove ${join(folder, name)}.*`,
        { folder, pid, host },
      );
    }
    await systemClock.sleep(100);
  }
}

/** Who holds the folder now, if anybody does. */
export async function currentHolder<Note>(folder: string, name: string): Promise<Holder<Note> | undefined> {
  const latest = await latestGeneration(folder, name).catch(() => 0); // No folder: nobody holds it.
  const holder = latest === 0 ? undefined : await readHolder<Note>(generationFile(folder, name, latest));
  return holder && isAlive(holder) ? holder : undefined;
}

function holdOf<Note>(folder: string, name: string, generation: number): Hold<Note> {
  const file = generationFile(folder, name, generation);
  let isReleased = false;
  return {
    tell: (note) => replace(file, { ...self(), note }),
    async release() {
      if (isReleased) return;
      isReleased = true;
      await replace(file, { ...self(), isReleased: true });
    },
  };
}

async function latestGeneration(folder: string, name: string): Promise<number> {
  const generations = (await readdir(folder)).map((file) =>
    file.startsWith(`${name}.`) ? Number(file.slice(name.length + 1)) : Number.NaN,
  );
  return Math.max(0, ...generations.filter(Number.isSafeInteger));
}

async function create(folder: string, name: string, generation: number): Promise<boolean> {
  const draft = join(folder, `${name}.draft-${randomUUID()}`);
  await writeFile(draft, JSON.stringify(self()));
  try {
    await link(draft, generationFile(folder, name, generation));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await unlink(draft);
  }
}

async function removeOlder(folder: string, name: string, own: number): Promise<void> {
  for (const file of await readdir(folder)) {
    const generation = file.startsWith(`${name}.`) ? Number(file.slice(name.length + 1)) : Number.NaN;
    if (generation < own) await unlink(join(folder, file)).catch(ignoreMissing);
  }
}

async function readHolder<Note>(file: string): Promise<Holder<Note> | undefined> {
  const text = await readFile(file, 'utf8').catch(ignoreMissing);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Holder<Note>;
  } catch {
    return undefined; // A disk that filled up left half a file: nobody can be proven to hold it.
  }
}

async function replace(file: string, holder: Holder): Promise<void> {
  const draft = `${file}.draft-${randomUUID()}`;
  await writeFile(draft, JSON.stringify(holder));
  await rename(draft, file);
}

function isAlive(holder: Holder): boolean {
  if (holder.isReleased) return false;
  // Of another machine or container nothing can be known, so its word stands until somebody removes the file.
  if (holder.host !== hostname()) return true;
  return isRunning(holder.pid, holder.startedAt);
}

function self(): Holder<never> {
  return { pid: process.pid, startedAt: startOf(process.pid), host: hostname(), isReleased: false, note: undefined };
}

function generationFile(folder: string, name: string, generation: number): string {
  return join(folder, `${name}.${generation}`);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
